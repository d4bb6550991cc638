"""What programs lose: the same computation with more and more snapshots a second."""
from instruments import Metrics, manage, percentile, started_cluster

# Each of `runs` takes so many microseconds.
PROGRAM = """
import time

def arithmetic():
    value = 1
    for number in range(60000):
        value = (value * 1103515245 + number) & 0x3fffffff

def objects():
    table = {}
    for number in range(4000):
        table[number & 255] = [number, str(number)]

def measure(work, runs):
    times = []
    for _ in range(runs):
        began = time.ticks_us()
        work()
        times.append(time.ticks_diff(time.ticks_us(), began))
    print(*times)
"""
# How old a running world's dirty pages may get. The first stands for "no snapshots": one in ten seconds.
DIRTY_AGES_US = {"off (one in 10 s)": 10000000, "10/s": 100000, "100/s": 10000, "1,000/s": 1000}


def measure_language(results, quick):
    runs = 20 if quick else 60
    with started_cluster(3) as cluster:
        cluster.execute(PROGRAM)
        for work in ("arithmetic", "objects"):
            off = None
            for name, age_us in DIRTY_AGES_US.items():
                host = cluster.wait_host()
                manage(cluster, host, f"dirty-age {age_us}")
                before = Metrics(cluster, host)
                times = [int(word) * 1000 for word in cluster.execute(f"measure({work}, {runs})\n").split()]
                epochs = Metrics(cluster, host).grown(before, "world_freezes")
                middle = percentile(times, 50)
                off = off or middle
                results.add(f"program '{work}', snapshots {name}", runs, middle, percentile(times, 99), reference=off, formula="snapshots off",
                            aim50={"100/s": 1.1}.get(name), note=f"{epochs / (sum(times) / 1e9):.0f} epochs a second")
