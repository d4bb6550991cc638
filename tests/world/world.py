"""A world under world_run, and clients of it. Used by the tests of this folder; standard library only."""
import os
import re
import socket
import subprocess
import time
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BUILD", os.path.join(TOP, "build"))
DEADLINE_S = float(os.environ.get("WORLD_TEST_DEADLINE_S", "30"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Client:
    """A TCP connection whose received bytes are gathered and can be waited for."""

    def __init__(self, port, first=b""):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        self.received = b""
        self.taken = 0
        self.ended = False
        if first:
            self.send(first)

    def send(self, data):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def receive(self, timeout_s=DEADLINE_S):
        """Gather what comes next; False at the end of the stream or when nothing came in time."""
        self.socket.settimeout(timeout_s)
        try:
            data = self.socket.recv(1 << 16)
        except TimeoutError:
            return False
        except ConnectionError:
            data = b""
        if not data:
            self.ended = True
            return False
        self.received += data
        return True

    def expect(self, pattern):
        """Wait until `pattern` (a regular expression) matches what came and was not taken yet; takes up to its end."""
        compiled = re.compile(pattern.encode() if isinstance(pattern, str) else pattern, re.S)
        deadline = time.monotonic() + DEADLINE_S
        while True:
            found = compiled.search(self.received, self.taken)
            if found:
                self.taken = found.end()
                return found
            left = deadline - time.monotonic()
            if left <= 0 or self.ended:
                raise AssertionError(f"waited for {pattern!r}; got {self.received[self.taken:]!r}, ended: {self.ended}")
            self.receive(left)

    def read_to_end(self):
        deadline = time.monotonic() + DEADLINE_S
        while not self.ended:
            if time.monotonic() > deadline:
                raise AssertionError(f"the connection did not end; got {self.received[self.taken:]!r}")
            self.receive(deadline - time.monotonic())
        return self.received[self.taken:]

    def wait_end(self):
        self.read_to_end()

    def nothing_comes(self, seconds):
        """Gather for so long; what came and was not taken."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self.ended:
            self.receive(max(deadline - time.monotonic(), 0.001))
        return self.received[self.taken:]

    def close(self):
        self.socket.close()


class World:
    """world_run with forwards to the world's ports 7000 and those asked for."""

    def __init__(self, ports=(), memory_mib=64):
        self.forwards = {port: free_port() for port in (7000, *ports)}
        arguments = [os.path.join(BUILD, "world_run"), "-m", str(memory_mib)]
        for inner, outer in self.forwards.items():
            arguments += ["-f", f"{outer}:{inner}"]
        name = os.path.join(BUILD, f"world_run.{os.getpid()}.{self.forwards[7000]}")
        self.log_path, self.neighbour_path = name + ".log", name + ".socket"
        arguments += ["-t", self.neighbour_path]
        self.log = open(self.log_path, "w")
        self.process = subprocess.Popen(arguments + [os.path.join(BUILD, "world.elf")], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.command("stats")

    def command(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise AssertionError(f"world_run ended: {open(self.log_path).read()}")
        return answer

    def stats(self):
        words = self.command("stats").split()
        return dict(zip(words[::2], map(int, words[1::2])))

    def is_stuck(self, held=1):
        """The world took all frames that came and has nothing to do, and so many of its own, or more, are kept back."""
        stats = self.stats()
        return stats["waits"] > stats["wakes"] and stats["unread"] == 0 and stats["held"] >= held

    def connect(self, port=7000, first=b""):
        return Client(self.forwards[port], first)

    def session(self, name="main"):
        client = self.connect(first=f"session {name}\n".encode())
        client.expect(">>> $")
        return client

    def terminal(self, name="main", size="80x24"):
        client = self.connect(first=f"terminal {name} {size}\n".encode())
        client.expect(">>> ")
        return client

    def start_exec(self, source, name="main"):
        data = source.encode()
        return self.connect(first=b"exec %s %d\n" % (name.encode(), len(data)) + data)

    def exec(self, source, name="main"):
        """Run `source` to its end: (output, True if it raised)."""
        client = self.start_exec(source, name)
        answer = client.read_to_end()
        client.close()
        return parse_exec(answer)

    def value(self, expression, name="main"):
        output, raised = self.exec(expression, name)
        if raised:
            raise AssertionError(output)
        return output.strip()

    def alive(self):
        return self.process.poll() is None

    def wait_end(self):
        """Wait until the world has ended by itself; what was said."""
        self.process.wait(DEADLINE_S)
        return open(self.log_path).read()

    def stop(self):
        if self.alive():
            self.command("quit")
            self.process.wait(DEADLINE_S)
        elif self.process.returncode is None:
            self.process.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.log.close()
        os.unlink(self.log_path)
        os.unlink(self.neighbour_path)


class WorldTest(unittest.TestCase):
    """Each test has a world of its own, which must outlive it."""

    def setUp(self):
        self.world = World(ports=(8001,))

    def tearDown(self):
        self.assertTrue(self.world.alive(), open(self.world.log_path).read())
        self.world.stop()

    def raises(self, error, source, name="main"):
        output, raised = self.world.exec(source, name)
        self.assertTrue(raised and error in output, output)


def parse_exec(answer):
    output, at = b"", 0
    while True:
        end = answer.index(b"\n", at)
        kind, number = answer[at:end].split()
        if kind == b"x":
            assert answer[end + 1:] == b"", answer
            return output.decode(), number == b"1"
        assert kind == b"o", answer
        output += answer[end + 1:end + 1 + int(number)]
        at = end + 1 + int(number)


def wait_until(condition, what):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited in vain: {what}")
        time.sleep(0.01)
