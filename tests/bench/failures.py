"""A client's pause when the host dies or the world moves."""
import contextlib
import re

import programs
from clients import CounterClient
from instruments import Metrics, manage, percentile, probe_again, probe_all, started_cluster
from lab import wait_until

LINE_INTERVAL_NS = 10e6     # of programs.COUNTER
ELECTION_TIMEOUT_MS = 200
HEARTBEAT_MS = 50


def expected_detection_ns(nodes):
    """Median of the earliest of the other nodes' timeouts, each drawn evenly between one and two election timeouts."""
    return ELECTION_TIMEOUT_MS * 1e6 * (2 - 0.5 ** (1 / (nodes - 1)))


def detections(cluster, nodes):
    """What each of `nodes` counted: how often it stood for election, and how long nothing had been heard of a leader the last time."""
    readings = {node: Metrics(cluster, node).values for node in nodes}
    return {node: (values["leader_detections"], values["leader_detection_ns"]) for node, values in readings.items()}


@contextlib.contextmanager
def counting(results, name, probes, **options):
    """Three nodes that are probed before and after, and a client that gets a line every 10 ms."""
    with started_cluster(3, **options) as cluster:
        before = probe_all(cluster, probes)
        cluster.execute(programs.COUNTER)
        client = CounterClient(cluster.address(programs.COUNTER_PORT))
        client.wait_more(20)
        yield cluster, client
        client.close()
        results.probes[name] = probe_again(cluster, before)


def measure_failover(results, quick):
    kills = 6 if quick else 30
    with counting(results, "failover", ("echo", "write", "gap"), heartbeat=HEARTBEAT_MS, election_timeout=ELECTION_TIMEOUT_MS) as (cluster, client):
        pauses, silences = [], []
        for _ in range(kills):
            host = cluster.wait_host()
            before = detections(cluster, cluster.others(host))
            client.mark()
            cluster.kill(host)
            client.wait_other_host(host)
            pauses.append(client.longest_pause * 1e9)
            after = detections(cluster, cluster.others(host))
            silences += [min(silence for node, (count, silence) in after.items() if count > before[node][0])]
            cluster.start_node(host)
            cluster.wait_ok()
            client.wait_more(20)
    results.series["failover"] = pauses
    probes = results.probes["failover"]
    detection = percentile(silences, 50)
    reference = detection + 5 * probes["echo"]["p50"] + 4 * probes["write"]["p50"] + LINE_INTERVAL_NS
    results.add("failover, a client's pause", kills, percentile(pauses, 50), percentile(pauses, 99), reference=reference,
                formula="T + 5R + 4F + 10 ms", aim50=1, aim99=2, note=f"T is the median that the nodes measured, {detection / 1e6:.0f} ms")
    results.add("failover, silence until a node stands for election", kills, detection, percentile(silences, 99), reference=expected_detection_ns(3),
                formula="median of the earlier of two draws", note=f"each even between {ELECTION_TIMEOUT_MS} and {2 * ELECTION_TIMEOUT_MS} ms after the last heartbeat")


def measure_move(results, quick):
    moves = 6 if quick else 30
    with counting(results, "move", ("compare", "hash", "seal", "open", "echo", "write")) as (cluster, client):
        stops, pauses = [], []
        for _ in range(moves):
            source = cluster.wait_host()
            target = cluster.others(source)[0]
            client.mark()
            cluster.command("move", target)
            client.wait(lambda: client.node == target, f"a line of node {target}")
            client.wait_more(5)
            pauses.append(client.longest_pause * 1e9)
            stops.append(wait_until(lambda: stopped_ns(cluster, source), "the source of the move says how long the world stood"))
        metrics = Metrics(cluster, cluster.wait_host())
    probes = results.probes["move"]
    delta = last_delta_ns(metrics, probes)
    results.series["move"] = stops
    results.add("planned move, the world stands still", moves, percentile(stops, 50), percentile(stops, 99),
                reference=3 * probes["echo"]["p50"] + 2 * probes["write"]["p50"] + delta, formula="3R + 2F + last delta", aim50=1,
                note=f"the last delta's {delta / 1e6:.2f} ms: to compare, hash, seal, open and hash again what an epoch of this program has")
    results.add("planned move, a client's pause", moves, percentile(pauses, 50), percentile(pauses, 99))


def last_delta_ns(metrics, probes):
    """The processor's work for a delta, by the probes: of the epochs that this node closed, as their mean."""
    values, page = metrics.values, {name: times["p50"] for name, times in probes.items()}
    pages, sealed = values["world_freeze_pages"] / values["world_freezes"], values["world_delta_bytes"] / values["world_freezes"] / 4096
    return pages * (page["compare"] + 2 * page["hash"]) + sealed * (page["seal"] + page["open"])


def stopped_ns(cluster, node):
    for line in manage(cluster, node, "status"):
        match = re.match(r"move state done target \d+ stopped_us (\d+)", line)
        if match:
            return int(match.group(1)) * 1000
    return None
