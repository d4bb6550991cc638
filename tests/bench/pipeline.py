"""From a write in the world to the opened gate: output latency, freeze, processor time, epochs a second, bytes of a delta."""
import time

import programs
from instruments import Metrics, ProcessorTime, mean_probes, percentile, probe_again, probe_all, require_host, started_cluster
from lab import Connection

# epochs(pages, count) closes `count` epochs, in each of which one byte of `pages` pages changed, one behind the other.
DIRTY = """
import eidolon, time
ground = bytearray(1001 * 4096)

def touch(pages, value):
    for at in range(0, pages * 4096, 4096):
        ground[at] = value

def epochs(pages, count):
    began = time.ticks_us()
    for number in range(count):
        touch(pages, number & 255)
        eidolon.commit()
    print(count * 1e6 / time.ticks_diff(time.ticks_us(), began))

def faults(pages, rounds):
    times = []
    for number in range(rounds):
        eidolon.commit()
        began = time.ticks_us()
        touch(pages, number & 255)
        half = time.ticks_us()
        touch(pages, number & 255)
        times.append(time.ticks_diff(half, began) - time.ticks_diff(time.ticks_us(), half))
    print(sorted(times)[rounds // 2])

touch(1001, 255)
eidolon.commit()
"""

# Each pattern changes something and closes an epoch, `count` times.
PATTERNS = {
    "key-value store": """
import random
table = {}
for number in range(2000):
    table[number] = "value %d" % number
def pattern(count):
    for number in range(count):
        for _ in range(20):
            table[random.randrange(2000)] = "value %d" % random.getrandbits(20)
        eidolon.commit()
""",
    "heap growth": """
grown = []
def pattern(count):
    grown.clear()
    for number in range(count):
        grown.append(bytearray(8192))
        eidolon.commit()
""",
    "garbage collection": """
import gc
kept = [[number, str(number)] for number in range(3000)]
def pattern(count):
    for number in range(count):
        junk = [[n] for n in range(500)]
        gc.collect()
        eidolon.commit()
""",
}


def commit_reference(probes):
    """R + F: a peer's round trip and one write with its flush. A node alone has only F."""
    return probes.get("echo", {"p50": 0})["p50"] + probes["write"]["p50"]


def echo_times(nodes, count):
    """A client's times for one byte in and one byte out, ns, of one cluster's life, and its probes."""
    with started_cluster(nodes) as cluster:
        before = probe_all(cluster)
        cluster.execute(programs.ECHO)
        host, port = cluster.address(programs.ECHO_PORT)
        connection = Connection(f"{host}:{port}")
        times = []
        for number in range(count + 20):
            began = time.monotonic_ns()
            connection.send(bytes([number & 255]))
            connection.read_exactly(1)
            times.append(time.monotonic_ns() - began)
        connection.close()
        return times[20:], probe_again(cluster, before)


def measure_latency(results, quick):
    """One byte in, one byte out, by one connection of a client on this host. A boot may fall into a slow minute: clusters of each size take turns."""
    sizes, boots, count = ((3, 1), 1, 200) if quick else ((3, 1, 5), 3, 350)
    lives = {nodes: [] for nodes in sizes}
    for _ in range(boots):
        for nodes in sizes:
            lives[nodes].append(echo_times(nodes, count))
    for nodes in sizes:
        times = [each for life, _ in lives[nodes] for each in life]
        medians = ", ".join(f"{percentile(life, 50) / 1e6:.2f}" for life, _ in lives[nodes])
        probes = results.probes[f"latency, {nodes} nodes"] = mean_probes([measured for _, measured in lives[nodes]])
        results.series[f"latency of one byte, {nodes} nodes"] = times
        results.add(f"output commit latency, {nodes} node{'s' if nodes > 1 else ''}", len(times), percentile(times, 50), percentile(times, 99),
                    reference=commit_reference(probes), formula="R + F" if nodes > 1 else "F", aim50=1.5, aim99=3,
                    note=f"p50 of each boot, ms: {medians}")


def measure_epochs(results, quick):
    """Epochs of known size: the stop, processor time for a page, epochs a second, bytes of the delta."""
    with started_cluster(3, world_memory=128) as cluster:
        cluster.execute(DIRTY)
        for pages in (1, 16, 64, 256, 1000):
            count = max(30, (3000 if quick else 20000) // max(pages, 20))
            before = probe_all(cluster)
            facts = run_epochs(cluster, f"epochs({pages}, {count})")
            probes = results.probes[f"epochs of {pages} pages"] = probe_again(cluster, before)
            report_freeze(results, probes, pages, facts)
            if pages in (64, 1000):
                report_processor(results, probes, pages, facts)
                report_rate(results, pages, facts)
            if pages == 64:
                report_delta(results, "sparse: a byte in each of 64 pages", facts)
        report_fault(results, probes, cluster, quick)
        for name, source in PATTERNS.items():
            cluster.execute(source)
            facts = run_epochs(cluster, f"pattern({20 if quick else 100})")
            report_delta(results, name, facts)


def run_epochs(cluster, call):
    host = cluster.wait_host()
    standby = cluster.others(host)[0]
    before, standby_before = Metrics(cluster, host), Metrics(cluster, standby)
    used = ProcessorTime(cluster)
    printed = cluster.execute(f"{call}\n", timeout_s=300).split()
    share = used.share(host)
    after, standby_after = Metrics(cluster, host), Metrics(cluster, standby)
    require_host(cluster, host)
    epochs = after.grown(before, "world_freezes")
    return {
        "epochs": epochs,
        "pages": after.grown(before, "world_freeze_pages") / epochs,
        "bytes": after.grown(before, "world_delta_bytes") / epochs,
        "items": {name: after.grown(before, f"world_delta_{name}") / epochs for name in ("item_bytes", "pages", "runs", "changed_bytes")},
        "per_second": float(printed[-1]) if printed else None,
        "share": share,
        "apply": standby_after.times(standby_before, "world_apply"),
        "open": standby_after.times(standby_before, "world_open"),
        **{name: after.times(before, f"world_{name}") for name in ("freeze", "capture", "seal", "commit")},
    }


def around_freeze_ns(probes):
    """The stop begins with the entry into the kernel, a fault's way, and ends with the TLB's flush on the way back: neither is in the freeze's own time."""
    return probes["fault"]["p50"] + probes["flush"]["p50"]


def report_freeze(results, probes, pages, facts):
    around = around_freeze_ns(probes)
    reference = around + facts["pages"] * probes["entry"]["p50"]
    freeze = facts["freeze"]
    results.add(f"stop at a freeze, {pages} pages written", freeze.count, freeze.percentile(50) + around, freeze.percentile(99) + around,
                reference=reference, formula="fault + pages * t_pte + t_flush", aim50=2, aim99=4, note=f"{facts['pages']:.0f} dirty pages an epoch")
    results.series.setdefault("stop", []).append([facts["pages"], freeze.percentile(50) + around, freeze.percentile(99) + around, reference])
    commit = facts["commit"]
    results.add(f"freeze to commit, {pages} pages written", commit.count, commit.percentile(50), commit.percentile(99),
                reference=commit_reference(probes), formula="R + F")


def report_processor(results, probes, pages, facts):
    dirty = facts["pages"]
    page = {name: probes[name]["p50"] for name in ("compare", "hash", "seal", "open")}
    times = {name: facts[name] for name in ("capture", "seal", "open", "apply")}
    results.add(f"capture, a page of {pages}", times["capture"].count, times["capture"].percentile(50) / dirty, times["capture"].percentile(99) / dirty,
                reference=page["compare"] + page["hash"], formula="t_compare + t_hash", aim50=1.5)
    sealed_pages = facts["bytes"] / 4096
    results.add(f"seal, an epoch of {pages}", times["seal"].count, times["seal"].percentile(50), times["seal"].percentile(99),
                reference=sealed_pages * page["seal"], formula="delta bytes / 4096 * t_seal", note=f"{facts['bytes']:.0f} bytes")
    results.add(f"open on a standby, an epoch of {pages}", times["open"].count, times["open"].percentile(50), times["open"].percentile(99),
                reference=sealed_pages * page["open"], formula="delta bytes / 4096 * t_open")
    results.add(f"apply, a page of {pages}", times["apply"].count, times["apply"].percentile(50) / dirty, times["apply"].percentile(99) / dirty,
                reference=2 * page["hash"], formula="2 * t_hash", note="what stood there is verified, too; opening is a row of its own")


def report_rate(results, pages, facts):
    wanted = {64: 1000, 1000: 100}[pages]
    results.add(f"epochs per second, {pages} pages, one at a time", facts["epochs"], facts["per_second"], unit="1/s",
                note=f"aim {wanted}/s at <= 25 % of a core; the host took {facts['share'] * 100:.0f} % of one, the program's own work included")


def report_delta(results, name, facts):
    """Bytes of page items for what changed, of which the node keeps exact count."""
    items = facts["items"]
    results.add(f"delta bytes, {name}", facts["epochs"], items["item_bytes"], unit="bytes/epoch",
                reference=items["changed_bytes"] + 3 * items["runs"] + 6 * items["pages"], formula="changed + 3 a run + 6 a page", aim50=1.15,
                note=f"{items['changed_bytes']:.0f} bytes in {items['runs']:.0f} runs of {items['pages']:.0f} pages; header and record add "
                     f"{facts['bytes'] - items['item_bytes']:.0f} bytes; {facts['pages']:.0f} dirty pages an epoch")


def report_fault(results, probes, cluster, quick):
    pages = 64
    per_page = float(cluster.execute(f"faults({pages}, {20 if quick else 100})\n").split()[-1]) * 1000 / pages
    results.add("write fault, a page", pages, per_page, reference=probes["fault"]["p50"], formula="t_fault",
                note="the first write to a page less the second; with the shadow, if it had none")
