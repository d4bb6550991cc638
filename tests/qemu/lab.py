"""What tests of a running cluster share: the command `eidolon`, clusters that clean up after themselves, waiting, connections.

Tests know nothing of the inside: they use the command, plain sockets, and files that the command is documented to write.
No test sleeps for a guess: it waits for a condition with a deadline (wait_until), generous because the machine may be busy.
"""
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EIDOLON = os.environ.get("EIDOLON", os.path.join(ROOT, "build", "eidolon"))
RESULTS = os.path.join(ROOT, "build", "test-results", "qemu")

OK, FAILED, USAGE, DEGRADED, NO_QUORUM, TIMED_OUT, NOT_FOUND = range(7)

DEADLINE_S = 60
START_S = 120


class DeadlineError(AssertionError):
    pass


def wait_until(condition, what, deadline_s=DEADLINE_S, pause_s=0.05):
    """Call `condition` until it returns something true, and return that."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise DeadlineError(f"not in {deadline_s} s: {what}")
        time.sleep(pause_s)


def eidolon(*arguments, stdin=None, timeout_s=180, environment=None, folder=None):
    """Run the command; the result has returncode, stdout and stderr (text)."""
    full = dict(os.environ)
    full.update(environment or {})
    return subprocess.run([EIDOLON, *map(str, arguments)], input=stdin if stdin is not None else "", capture_output=True, text=True,
                          errors="replace", timeout=timeout_s, env=full, cwd=folder)


def altered_hardware(*alterations):
    """The environment of a cluster whose nodes have other hardware: altered_qemu says how. Each alteration is (pattern, replacement)."""
    return {"EIDOLON_QEMU": os.path.join(ROOT, "tests", "qemu", "altered_qemu"), "EIDOLON_ALTERATIONS": json.dumps(alterations)}


class Connection:
    """A TCP connection as a user's client has it. Everything received is kept in `received`, in order."""

    def __init__(self, address, timeout_s=DEADLINE_S):
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.taken = 0
        self.closed = False

    def send(self, data):
        self.socket.settimeout(DEADLINE_S)
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def receive(self, timeout_s):
        """Take in what comes within `timeout_s`; False if nothing did."""
        self.socket.settimeout(max(timeout_s, 0.001))
        try:
            data = self.socket.recv(65536)
        except (TimeoutError, socket.timeout):
            return False
        if not data:
            self.closed = True
            return False
        self.received += data
        return True

    def wait_for(self, expected, deadline_s=DEADLINE_S):
        """Wait for `expected` (bytes, text or a compiled bytes pattern) behind what was waited for before; returns everything up to
        its end. Fails when the connection ends first."""
        if isinstance(expected, str):
            expected = expected.encode()
        pattern = expected if isinstance(expected, re.Pattern) else re.compile(re.escape(expected))
        end = time.monotonic() + deadline_s
        while True:
            match = pattern.search(self.received, self.taken)
            if match:
                before = self.received[self.taken:match.end()]
                self.taken = match.end()
                return before
            left = end - time.monotonic()
            if self.closed or left <= 0:
                why = "the connection ended" if self.closed else f"not in {deadline_s} s"
                raise DeadlineError(f"{why}: waited for {pattern.pattern!r}, got {self.received[self.taken:][-500:]!r}")
            self.receive(min(left, 1))

    def read_exactly(self, count, deadline_s=DEADLINE_S):
        end = time.monotonic() + deadline_s
        while len(self.received) - self.taken < count:
            left = end - time.monotonic()
            if self.closed or left <= 0:
                raise DeadlineError(f"{count} bytes wanted, {len(self.received) - self.taken} came; closed: {self.closed}")
            self.receive(min(left, 1))
        data = self.received[self.taken:self.taken + count]
        self.taken += count
        return data

    def close(self):
        self.socket.close()


class Cluster:
    """One cluster in a folder of its own. Made by TestCase.cluster, which also removes it."""

    def __init__(self, directory, environment=None):
        self.directory = directory
        self.environment = environment or {}

    # The command

    def try_command(self, *arguments, **options):
        """`eidolon VERB... DIR REST...`: the folder is put in after the command's words. Returns the result, whatever it is."""
        words = 2 if arguments[0] in ("node", "fault", "world") else 1
        return eidolon(*arguments[:words], self.directory, *arguments[words:], environment=self.environment, **options)

    def command(self, *arguments, **options):
        """The same, but it must succeed; returns stdout."""
        result = self.try_command(*arguments, **options)
        if result.returncode != OK:
            raise AssertionError(f"eidolon {' '.join(map(str, arguments))}: exit {result.returncode}\n{result.stdout}{result.stderr}")
        return result.stdout

    def start(self, timeout_s=START_S):
        self.command("start", "--timeout", timeout_s, timeout_s=timeout_s + 60)

    def stop(self):
        self.command("stop")

    def kill(self, node):
        self.command("node", "kill", node)

    def kill_all(self):
        """As if the power of all nodes failed at the same moment."""
        pids = [node["pid"] for node in self.status()["nodes"] if node["pid"]]
        for pid in pids:
            os.kill(pid, 9)
        wait_until(lambda: all(node["pid"] is None for node in self.status()["nodes"]), "all QEMUs are gone")

    def start_node(self, node):
        self.command("node", "start", node)

    def lose_disk(self, node):
        self.command("node", "lose-disk", node)

    def isolate(self, node):
        self.command("fault", "isolate", node)

    def cut(self, a, b, one_way=False):
        self.command("fault", "cut", a, b, *(["--one-way"] if one_way else []))

    def heal(self):
        self.command("fault", "heal")

    def forward(self, port, node=None):
        return self.command("forward", *(["--node", node] if node else []), port).strip()

    def execute(self, source, session=None, timeout_s=120):
        """Run Python source in a session; returns what it printed."""
        return self.command("exec", *(["--session", session] if session else []), "-", stdin=source, timeout_s=timeout_s)

    def log(self, node):
        return self.command("log", node)

    # State

    def status(self):
        result = self.try_command("status", "-o", "json")
        return json.loads(result.stdout)

    def node(self, number):
        return self.status()["nodes"][number - 1]

    def host(self):
        """The node that runs the world, or None."""
        return self.status()["worlds"][0]["host"]

    def attach_address(self):
        return self.status()["worlds"][0]["attach"]

    def wait_state(self, state, deadline_s=DEADLINE_S):
        last = {}

        def reached():
            last.update(self.status())
            return last["state"] == state
        try:
            wait_until(reached, f"the cluster is {state}", deadline_s)
        except DeadlineError as error:
            raise DeadlineError(f"{error}; it is {json.dumps(last)}") from None

    def wait_ok(self, deadline_s=DEADLINE_S):
        self.wait_state("ok", deadline_s)

    def wait_host(self, other_than=None, deadline_s=DEADLINE_S):
        """Wait until a node (other than the given one) runs the world; returns its number."""
        def found():
            host = self.host()
            return host if host and host != other_than else None
        return wait_until(found, f"a node other than {other_than} runs the world", deadline_s)

    def wait_equal_digests(self, deadline_s=DEADLINE_S):
        """Wait until all nodes hold the same epoch of the world; their digests must be equal then. Returns (epoch, digest)."""
        def same_epoch():
            worlds = [node["worlds"][0] for node in self.status()["nodes"] if node["worlds"]]
            full = len(worlds) == len(self.status()["nodes"])
            epochs = {(world["epoch"], world["committed"]) for world in worlds}
            return worlds if full and len(epochs) == 1 and worlds[0]["epoch"] == worlds[0]["committed"] else None
        worlds = wait_until(same_epoch, "all nodes hold the same epoch", deadline_s)
        digests = {world["digest"] for world in worlds}
        if len(digests) != 1:
            raise AssertionError(f"ONE-STORY: nodes at epoch {worlds[0]['epoch']} have digests {digests}")
        return worlds[0]["epoch"], digests.pop()

    def connect(self, first_line=None):
        """A connection to the world's terminal port; `first_line` says what it is (`session NAME`, …)."""
        connection = Connection(self.attach_address())
        if first_line:
            connection.send(first_line + "\n")
        return connection


class TestCase(unittest.TestCase):
    """A test whose clusters are stopped and removed whatever happens, and whose leftovers are kept when it fails."""

    def folder(self):
        """A fresh folder, removed at the end."""
        path = tempfile.mkdtemp(prefix="eidolon-")
        self.addCleanup(shutil.rmtree, path, True)
        return path

    def cluster(self, nodes=3, start=True, environment=None, **options):
        """Create (and start) a cluster; options are those of `create`, with _ for -."""
        directory = os.path.join(self.folder(), "c")
        arguments = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", value)]
        result = eidolon("create", directory, "--nodes", nodes, *arguments, environment=environment)
        self.assertEqual(result.returncode, OK, result.stderr)
        cluster = Cluster(directory, environment)
        self.addCleanup(self.remove_cluster, cluster)
        if start:
            cluster.start()
        return cluster

    def remove_cluster(self, cluster):
        if self._outcome is not None and self.has_failed():
            self.keep_leftovers(cluster)
        result = cluster.try_command("destroy")
        if result.returncode not in (OK, NOT_FOUND):
            print(f"cleaning up: {result.stderr}")

    def has_failed(self):
        result = self._outcome.result
        return any(test is self for test, _ in result.failures + result.errors) or not self._outcome.success

    def keep_leftovers(self, cluster):
        place = os.path.join(RESULTS, self.id())
        shutil.rmtree(place, ignore_errors=True)
        os.makedirs(place)
        with open(os.path.join(place, "status"), "w") as file:
            file.write(cluster.try_command("status").stdout)
        for folder, _, names in os.walk(cluster.directory):
            for name in names:
                if name.endswith(".log") or name in ("note", "network"):
                    part = os.path.relpath(os.path.join(folder, name), cluster.directory).replace(os.sep, "-")
                    shutil.copy(os.path.join(folder, name), os.path.join(place, part))
        print(f"kept: {place}")

    def connect(self, address):
        connection = Connection(address)
        self.addCleanup(connection.close)
        return connection

    def assertExit(self, result, code, *words):
        """The command ended with `code`, and its errors speak of each of `words`."""
        self.assertEqual(result.returncode, code, f"{result.args}\n{result.stdout}{result.stderr}")
        for word in words:
            self.assertIn(word, result.stderr)
