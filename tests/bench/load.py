"""Much at once: a world that dirties as fast as it can, what of it goes to the disks, and a blank node that catches up meanwhile."""
import contextlib
import os
import re
import subprocess
import threading
import time

import programs
from instruments import Metrics, percentile, probe_again, probe_all, require_host, started_cluster
from lab import ROOT, Connection, wait_until

MEBIBYTE = 1 << 20
# What the probes `bulk` and `stream` carry, and `read` (include/management.h).
BULK_BYTES = STREAM_BYTES = 768 * 1024
READ_BYTES = 256 * 1024

# pump(n) writes n MiB of whole pages, none like before, and waits for the last commit. The pages are chosen from 4 MiB.
PUMP = """
import eidolon, random, time
source = bytearray(2 * 65536)
for at in range(len(source)):
    source[at] = random.getrandbits(8)
source = memoryview(source)
ground = memoryview(bytearray(64 * 65536))

def pump(mebibytes):
    began = time.ticks_us()
    for number in range(mebibytes * 16):
        at = number % 64 * 65536
        shift = number * 4099 % 65536
        ground[at:at + 65536] = source[shift:shift + 65536]
    eidolon.commit()
    print(time.ticks_diff(time.ticks_us(), began))

pump(8)
"""


def disk_bytes(metrics):
    return sum(metrics.values[f"disk_{part}_bytes"] for part in ("log", "store", "vote"))


def measure_throughput(results, quick):
    """A world that writes whole pages as fast as it can: how long a MiB takes until it is committed."""
    mebibytes = 32 if quick else 256
    with started_cluster(3, world_memory=64) as cluster:
        probes = probe_all(cluster, ("seal", "compare", "hash", "memcpy", "stream", "bulk"))
        cluster.execute(PUMP, timeout_s=300)
        host = cluster.wait_host()
        cluster.wait_equal_digests()
        before = {node: Metrics(cluster, node) for node in cluster.nodes}
        taken_ns = float(cluster.execute(f"pump({mebibytes})\n", timeout_s=600).split()[-1]) * 1000
        cluster.wait_equal_digests()  # a standby that lags has not written everything yet
        after = {node: Metrics(cluster, node) for node in cluster.nodes}
        require_host(cluster, host)
        probes = results.probes["throughput"] = probe_again(cluster, probes)
    delta_bytes = after[host].grown(before[host], "world_delta_bytes")
    report_written(results, "whole pages at full speed", before, after, delta_bytes)
    peers = len(cluster.nodes) - 1
    parts = {"disk": probes["bulk"]["p50"] * MEBIBYTE / BULK_BYTES, "link to each peer": peers * probes["stream"]["p50"] * MEBIBYTE / STREAM_BYTES,
             "sealing": 256 * probes["seal"]["p50"]}
    slowest = max(parts, key=parts.get)
    results.add("throughput: a MiB written as fast as it can", 1, taken_ns / mebibytes, reference=parts[slowest],
                formula="slowest of disk, link, sealing", aim50=1.25,
                note=f"{mebibytes / taken_ns * 1e9:.1f} MiB/s over {mebibytes} MiB; {delta_bytes / mebibytes:.0f} bytes of delta for each; slowest is "
                     f"{slowest}; one processor does all of them in turn, which takes {sum(parts.values()) / 1e6:.0f} ms a MiB")


def report_written(results, name, before, after, delta_bytes):
    written = [disk_bytes(after[node]) - disk_bytes(before[node]) for node in after]
    results.add(f"bytes to disk, {name}", 1, sum(written) / len(written), unit="bytes", reference=delta_bytes, formula="delta bytes", aim50=2.5,
                note="log, page store and votes of one node, mean of three")


def measure_disk_bytes(results, quick):
    """An hour of simulated load, as it takes too long here: the simulator runs the very code of log and page store. And what an echo writes."""
    minutes = 10 if quick else 60
    command = [os.path.join(ROOT, "build", "eidolon-sim"), "--scenario", "plain", "--minutes", str(minutes), "--seed", "1"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    found = re.search(r" (\d+) requests.* (\d+) delta bytes, (\d+) bytes to each disk \(log (\d+), store (\d+), votes and superblocks (\d+)\)", run.stdout)
    if run.returncode != 0 or not found:
        raise AssertionError(f"the simulator failed: {run.stdout[-500:]}{run.stderr[-500:]}")
    requests, deltas, written, *parts = map(int, found.groups())
    log, store, other = (part / deltas for part in parts)
    results.add(f"bytes to disk, {minutes} simulated minutes", requests, written, unit="bytes", reference=deltas, formula="delta bytes", aim50=2.5,
                note=f"log {log:.2f}, page store {store:.2f}, votes and superblocks {other:.2f}; {deltas / requests:.0f} bytes a delta, the log writes "
                     "blocks of 4096")
    echoes = 200 if quick else 1000
    with started_cluster(3) as cluster:
        cluster.execute(programs.ECHO)
        host = cluster.wait_host()
        with contextlib.closing(Connection("%s:%d" % cluster.address(programs.ECHO_PORT))) as connection:
            echo(connection, 20)
            cluster.wait_equal_digests()
            before = {node: Metrics(cluster, node) for node in cluster.nodes}
            echo(connection, echoes)
            cluster.wait_equal_digests()
            after = {node: Metrics(cluster, node) for node in cluster.nodes}
        require_host(cluster, host)
    report_written(results, f"{echoes} echoes", before, after, after[host].grown(before[host], "world_delta_bytes"))


def echo(connection, count):
    for number in range(count):
        connection.send(bytes([number & 255]))
        connection.read_exactly(1)


class LatencyClient:
    """Sends a byte to programs.ECHO every 10 ms and keeps how long each took to come back, until stopped."""

    def __init__(self, address):
        self.connection = Connection("%s:%d" % address)
        self.times, self.stopped, self.fault = [], False, None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            while not self.stopped:
                began = time.monotonic_ns()
                self.connection.send(b"x")
                self.connection.read_exactly(1)
                self.times.append(time.monotonic_ns() - began)
                time.sleep(max(0, 0.01 - (time.monotonic_ns() - began) / 1e9))
        except (OSError, AssertionError) as error:
            self.fault = error

    def mark(self):
        """What was measured since the last mark."""
        if self.fault:
            raise AssertionError(f"the client's connection failed: {self.fault}")
        taken, self.times = self.times, []
        return taken

    def stop(self):
        self.stopped = True
        self.thread.join()
        self.connection.close()


def make_checkpoint(cluster, host):
    """Write until the host makes a checkpoint, and wait for its end: what comes behind it travels as log, at other times up to half a log of it."""
    def store_bytes():
        return Metrics(cluster, host).values["disk_store_bytes"]

    def checkpoints():
        return cluster.log(host).count(" is durable")
    written, made = store_bytes(), checkpoints()
    while store_bytes() == written:
        cluster.execute("pump(1)\n", timeout_s=300)
    wait_until(lambda: checkpoints() > made, "the checkpoint is durable", 300)


def measure_catchup(results, quick):
    """A node loses its disk and comes back: what travels, and what a client of the host notices."""
    mebibytes = 32 if quick else 64
    with started_cluster(3, world_memory=2 * mebibytes + 32, memory=2 * mebibytes + 224, disk=6 * mebibytes + 128) as cluster:
        probes = results.probes["catch-up"] = probe_all(cluster, ("echo", "write", "gap"))
        cluster.execute(programs.ECHO)
        cluster.execute(programs.ballast("ballast", mebibytes), timeout_s=600)
        host = cluster.wait_host()
        cluster.execute(PUMP, timeout_s=300)
        make_checkpoint(cluster, host)
        blank = cluster.others(host)[0]
        client = LatencyClient(cluster.address(programs.ECHO_PORT))
        time.sleep(5 if quick else 20)
        alone = client.mark()
        cluster.kill(blank)
        cluster.lose_disk(blank)
        client.mark()
        cluster.start_node(blank)
        began = time.monotonic()
        cluster.wait_ok(600)
        taken = time.monotonic() - began
        meanwhile = client.mark()
        if not alone or not meanwhile:
            raise AssertionError(f"the client had {len(alone)} answers before and {len(meanwhile)} in the {taken:.0f} s of the catch-up")
        client.stop()
        metrics = Metrics(cluster, blank)
        image = Metrics(cluster, cluster.wait_host()).values["world_present_pages"] * 4096
    pages, moved = metrics.values["peers_bulk_bytes_received"], metrics.values["peers_bytes_received"]
    results.add("catch-up of a blank node, bytes moved", 1, moved, unit="bytes", reference=image, formula="image", aim50=1.05,
                note=f"{pages} as pages, the rest as the log behind a checkpoint made just before; {taken:.1f} s from its start to a full cluster")
    results.series["latency of one byte, before a blank node catches up"] = alone
    results.series["latency of one byte, while it does"] = meanwhile
    results.add("catch-up, a client's latency meanwhile", len(meanwhile), percentile(meanwhile, 50), reference=percentile(alone, 50), formula="p50 before")
    results.add("catch-up, a client's p99 meanwhile", len(meanwhile), percentile(meanwhile, 99), reference=percentile(alone, 99), formula="p99 before",
                aim50=1.15, note=f"n = {len(alone)} before; R + F is {(probes['echo']['p50'] + probes['write']['p50']) / 1e6:.2f} ms")
