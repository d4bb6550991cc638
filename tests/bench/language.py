"""What programs lose: the same computation with more and more snapshots a second beside it."""
from instruments import Metrics, percentile, started_cluster

# `beside(interval_ms)` has another thread close an epoch that often (0: never); each of `runs` takes so many microseconds.
PROGRAM = """
import eidolon, time, _thread
interval_ms = 0
ground = bytearray(4096)

def snapshots():
    while True:
        if interval_ms == 0:
            time.sleep_ms(20)
            continue
        ground[0] = (ground[0] + 1) & 255
        eidolon.commit()
        time.sleep_ms(interval_ms)

_thread.start_new_thread(snapshots, ())

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
INTERVALS_MS = {"by itself": 0, "10/s": 100, "100/s": 10, "1,000/s": 1}


def measure_language(results, quick):
    runs = 10 if quick else 40
    with started_cluster(3) as cluster:
        cluster.execute(PROGRAM)
        for work in ("arithmetic", "objects"):
            alone = None
            for name, interval_ms in INTERVALS_MS.items():
                cluster.execute(f"interval_ms = {interval_ms}\n")
                host = cluster.wait_host()
                before = Metrics(cluster, host)
                times = [int(word) * 1000 for word in cluster.execute(f"measure({work}, {runs})\n").split()]
                epochs = Metrics(cluster, host).grown(before, "world_freezes")
                middle = percentile(times, 50)
                alone = alone or middle
                results.add(f"program '{work}', snapshots {name}", runs, middle, percentile(times, 99), reference=alone, formula="by itself",
                            aim50={"100/s": 1.1}.get(name), note=f"{epochs / (sum(times) / 1e9):.0f} epochs a second")
