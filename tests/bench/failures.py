"""A client's pause when the host dies or the world moves."""
import re

import programs
from clients import CounterClient
from instruments import Metrics, manage, percentile, probe_all, started_cluster
from lab import wait_until

LINE_INTERVAL_NS = 10e6     # of programs.COUNTER
ELECTION_TIMEOUT_MS = 200   # what `create` takes by default; said again here, so that the figure's reference is what was in force
HEARTBEAT_MS = 50


def detection_ns(nodes):
    """Median of the earliest of the other nodes' timeouts, each drawn evenly between one and two election timeouts."""
    return ELECTION_TIMEOUT_MS * 1e6 * (2 - 0.5 ** (1 / (nodes - 1)))


def measure_failover(results, quick):
    kills = 6 if quick else 30
    with started_cluster(3, heartbeat=HEARTBEAT_MS, election_timeout=ELECTION_TIMEOUT_MS) as cluster:
        probes = results.probes["failover"] = probe_all(cluster)
        cluster.execute(programs.COUNTER)
        client = CounterClient(cluster.address(programs.COUNTER_PORT))
        client.wait_more(20)
        pauses = []
        for _ in range(kills):
            host = cluster.wait_host()
            client.mark()
            cluster.kill(host)
            client.wait_other_host(host)
            pauses.append(client.longest_pause * 1e9)
            cluster.start_node(host)
            cluster.wait_ok()
            client.wait_more(20)
        client.close()
    results.series["failover"] = pauses
    reference = detection_ns(3) + 5 * probes["echo"]["p50"] + 4 * probes["write"]["p50"] + LINE_INTERVAL_NS
    results.add("failover, a client's pause", kills, percentile(pauses, 50), percentile(pauses, 99), reference=reference,
                formula="T + 5R + 4F + 10 ms", aim50=1, aim99=2, note=f"T = {detection_ns(3) / 1e6:.0f} ms")


def measure_move(results, quick):
    moves = 6 if quick else 30
    with started_cluster(3) as cluster:
        probes = results.probes["move"] = probe_all(cluster)
        cluster.execute(programs.COUNTER)
        client = CounterClient(cluster.address(programs.COUNTER_PORT))
        client.wait_more(20)
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
        client.close()
    results.series["move"] = stops
    results.add("planned move, the world stands still", moves, percentile(stops, 50), percentile(stops, 99),
                reference=3 * probes["echo"]["p50"] + 2 * probes["write"]["p50"], formula="3R + 2F", aim50=1, note="the last delta is not in the reference")
    results.add("planned move, a client's pause", moves, percentile(pauses, 50), percentile(pauses, 99))


def stopped_ns(cluster, node):
    for line in manage(cluster, node, "status"):
        match = re.match(r"move state done target \d+ stopped_us (\d+)", line)
        if match:
            return int(match.group(1)) * 1000
    return None
