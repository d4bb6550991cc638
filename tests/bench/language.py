"""What programs lose: MicroPython's own tests/perf_bench with more and more snapshots a second."""
import glob
import math
import os
import re

from instruments import Metrics, manage, require_host, started_cluster
from lab import ROOT
from linux import available, measure_on_linux

SOURCES = os.path.join(ROOT, "build", "third-party", "micropython", "tests", "perf_bench")
# They need files, or native code emitted at run time: the world has neither.
LEFT_OUT = r"core_import_mpy|viper_"
QUICK_ONES = r"bm_nqueens|bm_float|core_str|misc_pystone"
PARAMETERS = "1000, 1000"  # what perf_bench takes for a fast machine: 0.1 s to 4 s each here

# A long search dirties nearly nothing: the stack of its thread, once an epoch at most. In the form of perf_bench.
SEARCH = """
haystack = bytes(4 << 20)
bm_params = {(1, 1): (12,)}
def bm_setup(params):
    def run():
        for _ in range(params[0]):
            haystack.find(b"\\x01")
    return run, lambda: (params[0], haystack.find(b"\\x01"))
"""

# How old a running world's dirty pages may get. The first stands for "no snapshots": one in ten seconds.
DIRTY_AGES_US = {"off (one in 10 s)": 10000000, "10/s": 100000, "100/s": 10000, "1,000/s": 1000}


def benchmarks(quick):
    """Sources by name, each complete but for the call of bm_run."""
    def read(name):
        with open(os.path.join(SOURCES, name)) as file:
            return file.read()
    names = sorted(os.path.basename(path) for path in glob.glob(os.path.join(SOURCES, "*_*.py")))
    chosen = [name for name in names if not re.match(LEFT_OUT, name) and (not quick or re.match(QUICK_ONES, name))]
    sources = {name.removesuffix(".py"): read(name) for name in chosen}
    return {name: source + "\n" + read("benchrun.py") for name, source in {**sources, "search": SEARCH}.items()}


def call(runs):
    return f"\nfor _ in range({runs}):\n    bm_run({PARAMETERS})\n"


def parse(name, printed):
    """The best of some runs in ns, and what the benchmark computed."""
    lines = [line.split(None, 2) for line in printed.splitlines() if re.match(r"\d+ \d+ ", line)]
    if not lines:
        raise AssertionError(f"{name} printed no time: {printed[-300:]}")
    return min(int(line[0]) for line in lines) * 1000, lines[0][2]


def losses(times, others):
    """How many times as long each program of perf_bench takes. The search is ours and has rows of its own."""
    return {name: times[name] / others[name] for name in times if name != "search"}


def geometric_mean(ratios):
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def measure_language(results, quick):
    """All rates take turns with each benchmark, so that what else the machine does disturbs them alike."""
    times = {rate: {} for rate in DIRTY_AGES_US}
    epochs = dict.fromkeys(DIRTY_AGES_US, 0)
    computed = {}
    sources, runs = benchmarks(quick), 1 if quick else 2
    with started_cluster(3) as cluster:
        for name, source in sources.items():
            cluster.execute(source)
            for rate, age_us in DIRTY_AGES_US.items():
                host = cluster.wait_host()
                manage(cluster, host, f"dirty-age {age_us}")
                before = Metrics(cluster, host)
                times[rate][name], result = parse(name, cluster.execute(call(runs), timeout_s=300))
                epochs[rate] += Metrics(cluster, host).grown(before, "world_freezes")
                require_host(cluster, host)  # another one would not know the age
                if computed.setdefault(name, result) != result:
                    raise AssertionError(f"{name} computed {result}, and {computed[name]} before")
    report(results, times, epochs, runs)
    results.series["programs"] = times
    if available():
        report_linux(results, times, computed, {name: source + call(runs) for name, source in sources.items()}, runs)
    else:
        print("perf_bench on Linux is not measured: build/bench/guest or build/bench/micropython is missing (make bench makes them)")
        results.meta["left_out"].append("perf_bench on Linux")


def report(results, times, epochs, runs):
    off = times["off (one in 10 s)"]
    for rate, these in times.items():
        if these is off:
            continue
        lost = losses(these, off)
        worst = max(lost, key=lost.get)
        spent = runs * sum(these.values()) / 1e9
        results.add(f"perf_bench, snapshots {rate}", runs * len(lost), geometric_mean(lost.values()), unit="of its time", reference=1,
                    formula="snapshots off", aim50={"100/s": 1.1}.get(rate),
                    note=f"geometric mean of {len(lost)} programs; worst {worst} {lost[worst]:.2f}; about {epochs[rate] / spent:.0f} epochs a second")
        results.add(f"a search that dirties nothing, snapshots {rate}", runs, these["search"], reference=off["search"], formula="snapshots off",
                    aim50=1.01)


def report_linux(results, times, computed, sources, runs):
    """Snapshots off on three nodes, against one Linux guest on the same machine."""
    off = times["off (one in 10 s)"]
    linux = {}
    for name, printed in measure_on_linux(sources).items():
        linux[name], result = parse(name, printed)
        if result.split() != computed[name].split():
            raise AssertionError(f"{name} computed {result} on Linux, and {computed[name]} in the world")
    times["Linux"] = linux
    lost = losses(off, linux)
    worst, best = max(lost, key=lost.get), min(lost, key=lost.get)
    results.add("perf_bench, snapshots off, against Linux", runs * len(lost), geometric_mean(lost.values()), unit="of its time", reference=1,
                formula="the same MicroPython on Linux", note=f"geometric mean; worst {worst} {lost[worst]:.2f}, best {best} {lost[best]:.2f}")
    results.add("a search that dirties nothing, against Linux", runs, off["search"], reference=linux["search"], formula="the same MicroPython on Linux")
