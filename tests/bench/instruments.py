"""What measurements are made with: the management port's metrics and probes, percentiles, the load of this machine.

Everything comes through the command and plain sockets, as a user has them. A histogram of the management port has two buckets for each power
of two of nanoseconds, the first of which ends at one and a half times its start, and counts are taken as spread evenly in their bucket: a
percentile read from it may be too high by up to a half and too low by up to a third. A client's own times are exact, and so is a mean.
"""
import os
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "qemu"))
sys.dont_write_bytecode = True

from lab import EIDOLON, wait_until
from scenario import WatchedCluster

FIRST_SHIFT = 7  # include/histogram.h

# name: samples; the processor's first, then what needs a peer or the disk
PROCESSOR_PROBES = {"clock": 200, "entry": 200, "flush": 200, "fault": 200, "copy": 200, "memcpy": 200, "compare": 200, "memcmp": 200, "hash": 200,
                    "seal": 100, "open": 100}
OUTSIDE_PROBES = {"echo": 300, "write": 300, "stream": 20, "bulk": 20, "read": 60, "gap": 20000}


def bucket_start(bucket):
    if bucket == 0:
        return 0
    return (2 + (bucket - 1) % 2) << ((bucket - 1) // 2 + FIRST_SHIFT - 1)


class Histogram:
    """Durations in ns, in the management port's buckets."""

    def __init__(self, count, sum_ns, max_ns, buckets):
        self.count, self.sum_ns, self.max_ns, self.buckets = count, sum_ns, max_ns, buckets

    @classmethod
    def parse(cls, words):
        split = words.index("buckets")
        facts = dict(zip(words[:split:2], map(int, words[1:split:2])))
        buckets = {int(bucket): int(count) for bucket, count in (word.split(":") for word in words[split + 1:])}
        return cls(facts["count"], facts["sum_ns"], facts["max_ns"], buckets)

    def since(self, before):
        """What was added after `before`. The largest is known only to be at most the largest ever."""
        buckets = {bucket: count - before.buckets.get(bucket, 0) for bucket, count in self.buckets.items()}
        return Histogram(self.count - before.count, self.sum_ns - before.sum_ns, self.max_ns, {b: n for b, n in buckets.items() if n})

    def percentile(self, percent):
        """In ns, interpolated within its bucket; None if nothing was counted."""
        left = self.count * percent / 100
        for bucket in sorted(self.buckets):
            count = self.buckets[bucket]
            if left <= count:
                start, end = bucket_start(bucket), min(bucket_start(bucket + 1), max(self.max_ns, bucket_start(bucket) + 1))
                return start + (end - start) * left / count
            left -= count
        return None

    def mean(self):
        return self.sum_ns / self.count if self.count else None


def percentile(values, percent):
    """Of exact values: the smallest one that at least `percent` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def manage(cluster, node, line):
    """Answer lines of a management command, without the last one. AssertionError: the node answered an error."""
    result = subprocess.run([EIDOLON, "node", "manage", cluster.directory, str(node), line], capture_output=True, text=True, timeout=60)
    if result.returncode != 0:
        raise AssertionError(f"node {node}, {line!r}: {result.stdout}{result.stderr}")
    return result.stdout.splitlines()


class Metrics:
    """One reading of a node's counters and histograms."""

    def __init__(self, cluster, node):
        self.values, self.histograms = {}, {}
        for line in manage(cluster, node, "metrics"):
            words = line.split()
            if words[:1] == ["metric"]:
                self.values[words[1]] = int(words[2])
            elif words[:1] == ["histogram"]:
                self.histograms[words[1]] = Histogram.parse(words[2:])

    def grown(self, before, name):
        return self.values[name] - before.values[name]

    def times(self, before, name):
        return self.histograms[name].since(before.histograms[name])


def probe(cluster, node, name, samples):
    """Have `node` measure; returns {"p50", "p99", "p99.9", "samples"} of one operation, in ns."""
    manage(cluster, node, f"probe {name} {samples}")

    def answer():
        lines = [line.split() for line in manage(cluster, node, "probe")]
        state = lines[0][lines[0].index("state") + 1]
        if state == "failed":
            raise AssertionError(f"probe {name} failed on node {node}")
        return lines if state == "done" else None
    first, second = wait_until(answer, f"the probe {name} of node {node} is done")[:2]
    batch = int(first[first.index("batch") + 1])
    histogram = Histogram.parse(second[2:])
    return {"samples": histogram.count, **{f"p{p}": histogram.percentile(p) / batch for p in (50, 99, 99.9)}}


def probe_all(cluster, names=None):
    """Probes of the host of `cluster`, in ns. A cluster of one node has no peer to echo."""
    host = cluster.wait_host()
    wanted = {**PROCESSOR_PROBES, **OUTSIDE_PROBES}
    if len(cluster.nodes) == 1:
        del wanted["echo"], wanted["stream"]
    return {name: probe(cluster, host, name, samples) for name, samples in wanted.items() if names is None or name in names}


def mean_probes(measured):
    """The means of several measurements of the same probes."""
    return {name: {key: statistics.mean(probes[name][key] for probes in measured) for key in measured[0][name]} for name in measured[0]}


def probe_again(cluster, before):
    """The mean of `before` and of the same probes now: a machine that others use is not the same at both ends of a measurement."""
    return mean_probes([before, probe_all(cluster, before.keys())])


def require_host(cluster, host):
    """AssertionError: the world is on another node by now, so `host` was not measured all the time."""
    if cluster.wait_host() != host:
        raise AssertionError("the world changed its host during a measurement: this machine is too busy")


class ProcessorTime:
    """Seconds of processor time that the QEMUs of a cluster used since this was made, and the wall time."""

    def __init__(self, cluster):
        self.pids = cluster.pids()
        self.began = time.monotonic()
        self.before = {node: self._read(pid) for node, pid in self.pids.items()}

    @staticmethod
    def _read(pid):
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def share(self, node):
        """Of one core."""
        return (self._read(self.pids[node]) - self.before[node]) / (time.monotonic() - self.began)


def load():
    """The load of this machine over the last minute, in processes that want to run."""
    return os.getloadavg()[0]


def started_cluster(nodes=3, **options):
    cluster = WatchedCluster(nodes, **options)
    try:
        cluster.start()
        cluster.wait_ok()
    except BaseException:
        cluster.__exit__(*sys.exc_info())
        raise
    return cluster
