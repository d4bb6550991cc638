"""Large images: the stop at a freeze must not know of them; how long a stopped cluster takes to its first output."""
import subprocess
import time

import programs
from instruments import Metrics, percentile, probe_all, started_cluster
from lab import EIDOLON
from load import READ_BYTES
from pipeline import DIRTY, run_epochs

BESIDE_MIB = 128         # of a world: its program, and what measures; an eighth of the heap no single session may take
STOPS_A_MEAN = 100       # a histogram's p50 is too rough, and the mean of very many is what the host's scheduler did to one of them
FILL_MIB_A_SECOND = 1    # at the very least, on a busy machine


def large_cluster(mebibytes):
    """Three nodes with room for a world that holds so much data."""
    world = mebibytes * 8 // 7 + BESIDE_MIB
    return started_cluster(3, world_memory=world, memory=world + world // 8 + 192, disk=4 * world)


def fill(cluster, name, mebibytes):
    cluster.execute(programs.ballast(name, mebibytes), timeout_s=120 + mebibytes // FILL_MIB_A_SECOND)


def image_pages(cluster):
    return Metrics(cluster, cluster.wait_host()).values["world_present_pages"]


def mean_stop(cluster):
    return run_epochs(cluster, f"epochs(64, {STOPS_A_MEAN})")["freeze"].mean()


def measure_image_size(results, quick, long=False):
    """The same epochs with more and more memory behind them. The machine changes its speed within minutes, so another cluster, whose image stays small, takes
    turns; the smallest image in the first cluster says what the two differ by without that."""
    sizes = (8, 24) if quick else (8, 56, 248) + ((1000, 1600) if long else ())
    smallest, filled = None, 0
    with large_cluster(sizes[-1]) as cluster, large_cluster(sizes[0]) as other:
        results.probes["image size"] = probe_all(cluster, ("entry", "flush", "fault"))
        cluster.execute(DIRTY)
        other.execute(DIRTY)
        fill(other, "ballast", sizes[0])
        for size in sizes:
            fill(cluster, f"ballast{size}", size - filled)
            filled = size
            turns = [(mean_stop(cluster), mean_stop(other)) for _ in range(3 if quick else 11)]
            middle, beside = (percentile(stops, 50) for stops in zip(*turns))
            smallest = smallest or middle / beside
            results.add(f"stop at a freeze, 64 pages, {size} MiB of data", len(turns) * STOPS_A_MEAN, middle, reference=smallest * beside,
                        formula="with the smallest image", aim50=1.1 if size > sizes[0] else None, note=f"an image of {image_pages(cluster) // 256} MiB; the median of {len(turns)} means")


def measure_cold_start(results, quick, long=False):
    """A stopped cluster is started: until the world answers, with an image of some size and with a fresh one."""
    for mebibytes in (16,) if quick else (64, 1024) if long else (64,):
        with large_cluster(mebibytes) as cluster:
            fresh = restart_ns(cluster)
            fill(cluster, "ballast", mebibytes)
            full = restart_ns(cluster)
            probes = results.probes[f"cold start, {mebibytes} MiB"] = probe_all(cluster, ("open", "hash", "read"))
            pages = image_pages(cluster)
        reference = pages * (probes["open"]["p50"] + probes["read"]["p50"] * 4096 / READ_BYTES)
        results.add(f"cold start, {mebibytes} MiB of data", 1, full, reference=reference, formula="sequential read + pages * t_open", aim50=1.3,
                    note=f"{pages} pages; a fresh world took {fresh / 1e9:.2f} s, without which it is {(full - fresh) / reference:.2f} times the reference")


def restart_ns(cluster):
    cluster.stop()
    began = time.monotonic_ns()
    result = subprocess.run([EIDOLON, "start", cluster.directory, "--timeout", "900"], capture_output=True, text=True, timeout=1000)
    if result.returncode != 0:
        raise AssertionError(f"the cluster did not start again: {result.stdout}{result.stderr}")
    taken = time.monotonic_ns() - began
    cluster.wait_ok(600)
    return taken
