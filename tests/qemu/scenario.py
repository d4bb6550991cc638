"""What the scenarios add to lab.py: a class of tests that shares one started cluster, and a cluster that watches itself.

`WatchedCluster` is a cluster of lab.py that is a context (made on its own, removed whatever happens), explains itself after a
failure, and checks ONE-STORY in every status that a test asks for: two nodes never show different digests of one committed epoch.
"""

import atexit
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

from lab import EIDOLON, Cluster

CATCH_UP_S = 120   # a node's way back to being a voter, on a loaded machine
LOG_LINES_SHOWN = 30


class WatchedCluster(Cluster):
    def __init__(self, nodes=3, **options):
        self.parent = tempfile.mkdtemp(prefix="eidolon-")
        super().__init__(os.path.join(self.parent, "c"))
        self.nodes = range(1, nodes + 1)
        self.digests = {}
        arguments = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", value)]
        try:
            self.command("create", "--nodes", nodes, *arguments)
        except BaseException:
            shutil.rmtree(self.parent, ignore_errors=True)
            raise
        atexit.register(self.remove)

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        try:
            if kind is not None:
                self.explain()
        finally:
            self.remove()

    def remove(self):
        """End everything that runs and remove the folder, also when the command itself is at fault or does not end."""
        atexit.unregister(self.remove)
        try:
            self.try_command("destroy")
        finally:
            for path in glob.glob(os.path.join(glob.escape(self.directory), "**", "*.pid"), recursive=True):
                kill_recorded(path)
            shutil.rmtree(self.parent, ignore_errors=True)

    def explain(self):
        """Status and the last log lines of each node, for whoever reads the failure."""
        print(f"--- status after the failure\n{self.summary()}")
        for node in self.nodes:
            lines = self.try_command("log", node).stdout.splitlines()[-LOG_LINES_SHOWN:]
            print(f"--- last lines of node {node}", *lines, sep="\n")
        sys.stdout.flush()

    # The command, in the forms that scenarios need

    def evaluate(self, source, session=None):
        """The value of Python expression `source` in the world."""
        return json.loads(self.execute(f"import json\nprint(json.dumps(({source})))", session))

    def stop_node(self, node):
        self.command("node", "stop", node)

    def manage_raw(self, node, data):
        """Send any bytes to the management port of `node`; returns when it has answered a ping after them."""
        subprocess.run([EIDOLON, "node", "manage", self.directory, str(node), "--raw"], input=data, capture_output=True, check=True, timeout=60)

    def cut_from_peers(self, node):
        """No cable between `node` and any other node; everybody reaches the outside."""
        for other in self.others(node):
            self.cut(node, other)

    def address(self, port, node=None):
        """Where to connect to reach `port` of the world."""
        host, _, local_port = self.forward(port, node).rpartition(":")
        return host, int(local_port)

    # What the command says

    def status(self):
        status = super().status()
        for node in status["nodes"]:
            for world in node["worlds"]:
                seen = self.digests.setdefault((world["name"], world["committed"]), (world["digest"], node["id"]))
                if seen[0] != world["digest"]:
                    raise AssertionError(f"ONE-STORY is broken: at epoch {world['committed']} node {seen[1]} had digest {seen[0]}, "
                                         f"node {node['id']} has {world['digest']}")
        return status

    def summary(self):
        return self.try_command("status").stdout

    def pids(self):
        """Process ids of the QEMUs, by node; empty if status cannot be had."""
        try:
            return {node["id"]: node["pid"] for node in json.loads(self.try_command("status", "-o", "json").stdout)["nodes"] if node["pid"]}
        except (ValueError, KeyError):
            return {}

    def others(self, node):
        return [other for other in self.nodes if other != node]

    def wait_ok(self, deadline_s=CATCH_UP_S):
        super().wait_ok(deadline_s)


def kill_recorded(path):
    """Kill the process of a pid file, unless it is gone and its number another's by now: the file says when its process started, too."""
    try:
        with open(path) as file:
            pid, started = map(int, file.read().split()[:2])
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()  # from the third on; the name before them may hold anything
        if int(fields[22 - 3]) == started:
            os.kill(pid, signal.SIGKILL)
    except (OSError, ValueError):
        pass  # it has ended, or never ran


class Scenario(unittest.TestCase):
    """Tests that share one started cluster. Each begins when all nodes are up and no cable is cut, in any order."""

    CLUSTER = WatchedCluster
    OPTIONS = {}
    PROGRAM = ""  # Python that the class needs in the world

    @classmethod
    def setUpClass(cls):
        cls.cluster = cls.CLUSTER(**cls.OPTIONS)
        cls.addClassCleanup(cls.cluster.remove)
        try:
            cls.cluster.start()
            cls.cluster.wait_ok()
            if cls.PROGRAM:
                cls.cluster.execute(cls.PROGRAM)
        except BaseException:
            cls.cluster.explain()
            raise

    def setUp(self):
        self.cluster.heal()
        for node in self.cluster.status()["nodes"]:
            if node["pid"] is None:
                self.cluster.start_node(node["id"])
        self.cluster.wait_ok()

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        outcome = super().run(result)
        if len(result.failures) + len(result.errors) > before and hasattr(self, "cluster"):
            self.cluster.explain()
        return outcome
