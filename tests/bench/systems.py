"""The systems of `make bench-peers`, behind one face: start, who leads, kill, start again, whole again; and the lines each asks of its user."""
import inspect
import os
import signal
import sys

import counters
from counters import Refused
from crowd import ask_once
from guests import MEMORY_MIB, SOURCES, Guests
from instruments import started_cluster
from lab import wait_until

WHOLE_S = 120  # a killed machine's way back, on a loaded host


class System:
    """A context; `cluster` runs in it. Nodes are 1 to 3. `fast`: a dead leader is noticed about as soon as in our cluster; else the system has its
    own defaults. `detection` says what that is."""

    def __init__(self, fast=False):
        self.fast = fast

    def __enter__(self):
        self.cluster = self.create()
        try:
            self.begin()
        except BaseException:
            self.cluster.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, kind, error, trace):
        self.cluster.__exit__(kind, error, trace)

    def kill(self, node):
        os.kill(self.cluster.pids()[node], signal.SIGKILL)

    def start_node(self, node):
        wait_until(lambda: node not in self.cluster.pids(), f"node {node} is gone")
        self.cluster.start_node(node)

    def leader(self):
        return wait_until(self.find_leader, f"{self.name} has a leader", WHOLE_S)

    # term(): grows with each change of leader.

    def wait_whole(self):
        wait_until(self.whole, f"all nodes of {self.name} are back", WHOLE_S, pause_s=0.5)


class World(System):
    name = "our world, Python"
    adapter = counters.Line
    detection = {True: "timeout 200 ms", False: "timeout 200 ms"}

    def create(self):
        return started_cluster(3, memory=MEMORY_MIB)

    def begin(self):
        self.cluster.execute(counters.WORLD_SERVER)
        self.address = self.cluster.address(counters.PORT)

    def find_leader(self):
        return self.cluster.host()

    def whole(self):
        return self.cluster.status()["state"] == "ok"

    def term(self):
        return max(node["term"] or 0 for node in self.cluster.status()["nodes"])

    def addresses(self):
        """Where a client of the system as a whole connects, by node; 0: it need not know."""
        return {0: self.address}

    def fastest(self):
        return 0, self.address

    def lines(self):
        return {"server": code_lines(counters.WORLD_SERVER), "configuration": 0, "client": class_lines(counters.Line)}


class GuestSystem(System):
    """Three Linux guests."""

    def create(self):
        return Guests(3, self.service, self.fast)

    def begin(self):
        self.cluster.start()
        self.at = {node: self.cluster.address(self.port, node) for node in self.cluster.nodes}
        self.prepare()
        self.wait_whole()

    def prepare(self):
        """Ways in besides the clients'."""

    def fastest(self):
        leader = self.leader()
        return leader, self.at[leader]

    def configuration(self):
        return sum(code_lines(read(name)) for name in self.files)


class Etcd(GuestSystem):
    name = "etcd, 3 nodes"
    adapter = counters.Etcd
    detection = {True: "timeout 250 ms", False: "timeout 1 s (default)"}
    service, port, files = "etcd", 2379, ["etcd.conf", "etcd-fast.conf"]

    def status(self, node):
        try:
            return ask_once(counters.EtcdStatus, self.at[node], timeout_s=5)
        except (OSError, Refused, LookupError):
            return None

    def statuses(self):
        return {node: status for node in self.cluster.pids() if (status := self.status(node))}

    def find_leader(self):
        """The node that the leader is, once a majority names it."""
        statuses = self.statuses()
        for node, (member, _, _) in statuses.items():
            if sum(leader == member for _, leader, _ in statuses.values()) >= 2:
                return node
        return None

    def whole(self):
        statuses = self.statuses()
        return len(statuses) == 3 and len({leader for _, leader, _ in statuses.values()} - {0}) == 1

    def term(self):
        return max((term for _, _, term in self.statuses().values()), default=0)

    def addresses(self):
        return self.at

    def lines(self):
        return {"server": 0, "configuration": self.configuration(), "client": class_lines(counters.Etcd) + helper_lines()}


class Redis(GuestSystem):
    name = "Redis, 2 replicas, Sentinel"
    adapter = counters.Redis
    detection = {True: "timeout 250 ms", False: "timeout 30 s (default)"}
    service, port, files = "redis", 6379, ["redis.conf", "sentinel.conf", "sentinel-fast.conf"]

    def prepare(self):
        self.sentinels = {node: self.cluster.address(26379, node) for node in self.cluster.nodes}

    def named_by(self, node):
        """The master, by the Sentinel of `node`; whether it sees two replicas and two other Sentinels; how often the master changed."""
        try:
            facts = ask_once(counters.SentinelMaster, self.sentinels[node], timeout_s=5)
        except (OSError, Refused, LookupError, ValueError):
            return None
        well = facts[b"flags"] == b"master" and facts[b"num-slaves"] == b"2" and facts[b"num-other-sentinels"] == b"2"
        return int(facts[b"ip"].rpartition(b".")[2]) - 10, well, int(facts[b"config-epoch"])

    def find_leader(self):
        """The master that a majority of the Sentinels names and that counts."""
        named = [master for node in self.cluster.pids() if (said := self.named_by(node)) for master in said[:1]]
        for node in self.cluster.pids():
            if named.count(node) >= 2 and self.replicas(node) >= 1:
                return node
        return None

    def replicas(self, node):
        """How many replicas acknowledge what `node` writes; 0 if it is no master."""
        try:
            return ask_once(counters.RedisReplicas, self.at[node], timeout_s=2)
        except (OSError, Refused, ValueError):
            return 0

    def whole(self):
        said = [self.named_by(node) for node in self.cluster.nodes]
        return all(one and one[1] for one in said) and len({master for master, _, _ in said}) == 1 and self.replicas(said[0][0]) == 2

    def term(self):
        return max((said[2] for node in self.cluster.pids() if (said := self.named_by(node))), default=0)

    def addresses(self):
        return self.at

    def lines(self):
        return {"server": 0, "configuration": self.configuration() + 1, "client": class_lines(counters.Redis)}


def read(name):
    with open(os.path.join(SOURCES, name)) as file:
        return file.read()


def code_lines(text):
    """Lines that are neither empty nor a comment."""
    return sum(1 for line in text.splitlines() if line.strip() and not line.strip().startswith("#"))


def class_lines(one):
    """The same without the docstring."""
    text = inspect.getsource(one)
    return code_lines(text) - len((one.__doc__ or "").splitlines())


def helper_lines():
    return sum(class_lines(function) for function in (counters.string, counters.fields, counters.varint))
