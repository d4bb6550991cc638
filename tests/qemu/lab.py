"""A cluster for a test: made in a temporary folder, driven only through the `eidolon` command, removed in the end, whatever happens.

`Cluster` wraps the command, one method for each of its subcommands; `wait_until` waits for a condition with a deadline; `Scenario` is a
test case whose class shares one cluster. Every status that passes through `Cluster.status` is also checked for ONE-STORY: two nodes
never show different digests of one epoch.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EIDOLON = os.path.join(ROOT, "build", "eidolon")

OK, FAILED, USAGE, DEGRADED, NO_QUORUM, TIMED_OUT, NOT_FOUND = range(7)

# Deadlines in seconds. They bound waits on a machine that may be loaded; none of them is a measure.
COMMAND_SECONDS = 120
CONDITION_SECONDS = 90

LOG_LINES_SHOWN = 25


class Result:
    """What a command returned."""

    def __init__(self, arguments, process):
        self.arguments = arguments
        self.code = process.returncode
        self.out = process.stdout.decode(errors="replace")
        self.err = process.stderr.decode(errors="replace")

    def __str__(self):
        return f"eidolon {' '.join(self.arguments)}: exit {self.code}\n  stdout: {self.out[-2000:]!r}\n  stderr: {self.err[-2000:]!r}"


def eidolon(*arguments, input=None, environment=None, seconds=COMMAND_SECONDS):
    """Run the command, whatever its exit code."""
    arguments = [str(argument) for argument in arguments]
    process = subprocess.run([EIDOLON, *arguments], input=input, stdin=subprocess.DEVNULL if input is None else None, capture_output=True,
                             env=environment, timeout=seconds)
    return Result(arguments, process)


def wait_until(condition, what, seconds=CONDITION_SECONDS, pause=0.1):
    """Wait until `condition()` is true and return its value. `what`: the end of the sentence "within N s ... did not"."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"within {seconds} s {what() if callable(what) else what}")
        time.sleep(pause)


class Cluster:
    """A cluster in a folder of its own. Use as a context, or call remove()."""

    def __init__(self, nodes=3, **options):
        self.parent = tempfile.mkdtemp(prefix="eidolon-")
        self.directory = os.path.join(self.parent, "cluster")
        self.nodes = range(1, nodes + 1)
        self._digests = {}
        arguments = ["--nodes", nodes]
        for key, value in options.items():
            arguments += ["--" + key.replace("_", "-"), value]
        try:
            self.run("create", arguments=arguments)
        except BaseException:
            shutil.rmtree(self.parent, ignore_errors=True)
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is not None:
            self.explain()
        self.remove()

    def remove(self):
        """End everything that runs and remove the folder."""
        pids = self.pids()
        eidolon("destroy", self.directory)
        for pid in pids.values():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        shutil.rmtree(self.parent, ignore_errors=True)

    def try_run(self, command, *words, arguments=(), **options):
        """Run `eidolon COMMAND [word] DIR ARGUMENTS`: words of the command are separated by spaces."""
        return eidolon(*command.split(), self.directory, *words, *arguments, **options)

    def run(self, command, *words, **options):
        """The same; anything but exit 0 fails the test."""
        result = self.try_run(command, *words, **options)
        if result.code != OK:
            raise AssertionError(str(result))
        return result.out

    # --- The command ---

    def start(self):
        self.run("start", arguments=("--timeout", COMMAND_SECONDS), seconds=COMMAND_SECONDS + 30)

    def exec(self, source, session=None, seconds=COMMAND_SECONDS):
        """Run Python in the world and return what it printed."""
        return self.run("exec", arguments=(*(("--session", session) if session else ()), "-"), input=source.encode(), seconds=seconds)

    def exec_value(self, source, session=None):
        """Print `source` in the world, return it as a value of ours."""
        return json.loads(self.exec(f"import json\nprint(json.dumps(({source})))", session))

    def forward(self, port, node=None):
        """The address that leads to `port` of the world, or of a node."""
        out = self.run("forward", arguments=(*(("--node", node) if node else ()), port))
        host, _, local_port = out.strip().rpartition(":")
        return host, int(local_port)

    def kill(self, node):
        self.run("node kill", node)

    def start_node(self, node):
        self.run("node start", node)

    def stop_node(self, node):
        self.run("node stop", node)

    def lose_disk(self, node):
        self.run("node lose-disk", node)

    def cut(self, a, b, one_way=False):
        self.run("fault cut", a, b, arguments=("--one-way",) if one_way else ())

    def isolate(self, node):
        self.run("fault isolate", node)

    def heal(self):
        self.run("fault heal")

    def log(self, node):
        return self.run("log", node)

    # --- What the command says ---

    def status(self):
        result = self.try_run("status", arguments=("-o", "json"))
        try:
            status = json.loads(result.out)
        except ValueError:
            raise AssertionError(f"status is not JSON: {result}") from None
        self._check_one_story(status)
        return status

    def node_status(self, node):
        return self.status()["nodes"][node - 1]

    def host(self):
        """The node that runs the world, waited for."""
        return wait_until(lambda: self.status()["worlds"][0]["host"], lambda: f"no node became host: {self.summary()}")

    def others(self, node):
        return [other for other in self.nodes if other != node]

    def pids(self):
        """Process ids of the QEMUs, by node; empty if status has none."""
        result = eidolon("status", self.directory, "-o", "json")
        try:
            return {node["id"]: node["pid"] for node in json.loads(result.out)["nodes"] if node["pid"]}
        except (ValueError, KeyError):
            return {}

    def wait_state(self, state, seconds=CONDITION_SECONDS):
        wait_until(lambda: self.status()["state"] == state, lambda: f"the cluster did not become {state}: {self.summary()}", seconds)

    def wait_ok(self, seconds=CONDITION_SECONDS):
        """Wait until all nodes are up, all are voters, and the world runs."""
        self.wait_state("ok", seconds)

    def wait_same_digest(self, seconds=CONDITION_SECONDS):
        """Wait until all nodes stand at the same epoch, and check that they have the same digest there. Returns (epoch, digest). The world
        must be idle."""
        def same_epoch():
            worlds = [world for node in self.status()["nodes"] for world in node["worlds"]]
            stands = {world[key] for world in worlds for key in ("epoch", "committed")}
            return worlds if len(worlds) == len(self.nodes) and len(stands) == 1 else None

        worlds = wait_until(same_epoch, lambda: f"the nodes did not reach the same epoch: {self.summary()}", seconds)
        digests = {world["digest"] for world in worlds}
        if len(digests) != 1:
            raise AssertionError(f"ONE-STORY is broken at epoch {worlds[0]['epoch']}: {[world['digest'] for world in worlds]}")
        return worlds[0]["epoch"], worlds[0]["digest"]

    def _check_one_story(self, status):
        for node in status["nodes"]:
            for world in node["worlds"]:
                seen = self._digests.setdefault((world["name"], world["committed"]), (world["digest"], node["id"]))
                if seen[0] != world["digest"]:
                    raise AssertionError(f"ONE-STORY is broken: at epoch {world['committed']} node {seen[1]} had digest {seen[0]}, "
                                         f"node {node['id']} has {world['digest']}")

    def summary(self):
        return eidolon("status", self.directory).out

    def explain(self):
        """Status and the last log lines of each node, for whoever reads the failure."""
        print(f"--- status of the failed test's cluster\n{self.summary()}", file=sys.stderr)
        for node in self.nodes:
            lines = eidolon("log", self.directory, node).out.splitlines()[-LOG_LINES_SHOWN:]
            print(f"--- last lines of node {node}'s log", *lines, sep="\n", file=sys.stderr)
        sys.stderr.flush()


class Sentences(unittest.TestCase):
    """How a failing command speaks."""

    def assert_refused(self, result, code, *words):
        self.assertEqual(result.code, code, str(result))
        self.assertEqual(result.out, "", f"an error does not belong on stdout: {result}")
        lines = [line for line in result.err.splitlines() if line.startswith("eidolon: ")]
        self.assertEqual(len(lines), 1, f"one sentence is expected: {result}")
        for word in words:
            self.assertIn(word, lines[0])


class Scenario(unittest.TestCase):
    """Tests that share one started cluster. Each begins when all nodes are up and no cable is cut, in any order."""

    OPTIONS = {}
    PROGRAM = ""  # Python that the class needs in the world

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(**cls.OPTIONS)
        cls.addClassCleanup(cls.cluster.remove)
        try:
            cls.cluster.start()
            cls.cluster.wait_ok()
            if cls.PROGRAM:
                cls.cluster.exec(cls.PROGRAM)
        except BaseException:
            cls.cluster.explain()
            raise

    def setUp(self):
        self.cluster.heal()
        for node in self.cluster.status()["nodes"]:
            if node["pid"] is None:
                self.cluster.start_node(node["id"])
        self.cluster.wait_ok()
        self._harmed = False

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        outcome = super().run(result)
        if len(result.failures) + len(result.errors) > before and hasattr(self, "cluster"):
            self.cluster.explain()
        return outcome
