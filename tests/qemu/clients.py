"""TCP clients of the world: they know nothing but an address, and judge by what they receive.

Each client works in a thread of its own, so that a test can do harm to the cluster meanwhile. A client that finds a fault keeps it
in `fault`, and every wait of the test then fails with that sentence.
"""

import hashlib
import random
import socket
import threading
import time

CONTINUE_SECONDS = 60  # a takeover takes well under one second; a loaded machine may need many


class Client:
    def __init__(self, address):
        self.fault = None
        self.closing = False
        self.changed = threading.Condition()
        self.socket = socket.create_connection(address, timeout=CONTINUE_SECONDS)
        self.socket.settimeout(None)

    def run(self, work):
        thread = threading.Thread(target=self._guarded, args=(work,), daemon=True)
        thread.start()
        return thread

    def _guarded(self, work):
        try:
            work()
        except OSError as error:
            self.found(f"the connection ended: {error}")

    def found(self, fault):
        with self.changed:
            if self.fault is None and not self.closing:
                self.fault = fault
            self.changed.notify_all()

    def wait(self, condition, what, seconds=CONTINUE_SECONDS):
        """Wait until `condition()` holds. AssertionError: the client found a fault, or the deadline passed."""
        with self.changed:
            self.changed.wait_for(lambda: self.fault or condition(), seconds)
            if self.fault:
                raise AssertionError(self.fault)
            if not condition():
                raise AssertionError(f"within {seconds} s the client did not see {what}")

    def close(self):
        self.closing = True
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()


class CounterClient(Client):
    """Reads the lines of programs.COUNTER and checks each: no gap, no repeat, no reset, and no line of a story that was thrown away."""

    def __init__(self, address):
        super().__init__(address)
        self.count = 0            # lines received
        self.node = None          # that wrote the last line
        self.hosts = []           # nodes in the order in which they wrote
        self.received_at = None   # monotonic time of the last line
        self.longest_pause = 0.0  # between two lines, since `mark`
        self.seals = []           # of each line
        self._seal = b""
        self.run(self._read)

    def _read(self):
        rest = b""
        while True:
            data = self.socket.recv(65536)
            if not data:
                self.found(f"the world closed the connection after {self.count} lines")
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                if not self._take(line):
                    return

    def _take(self, line):
        head, _, seal = line.rpartition(b" ")
        fields = head.split()
        self._seal = hashlib.sha256(self._seal + head + b" ").hexdigest()[:16].encode()
        if len(fields) != 3 or int(fields[0]) != self.count:
            self.found(f"after line {self.count - 1} came {line!r}")
            return False
        if seal != self._seal:
            self.found(f"line {line!r} does not follow from what was received before (its seal would be {self._seal!r})")
            return False
        now = time.monotonic()
        with self.changed:
            if self.received_at is not None:
                self.longest_pause = max(self.longest_pause, now - self.received_at)
            self.received_at = now
            self.node = int(fields[1])
            if self.hosts[-1:] != [self.node]:
                self.hosts.append(self.node)
            self.seals.append(self._seal)
            self.count += 1
            self.changed.notify_all()
        return True

    def mark(self):
        with self.changed:
            self.longest_pause = 0.0

    def wait_more(self, lines):
        target = self.count + lines
        self.wait(lambda: self.count >= target, f"{lines} more lines (last: {self.count - 1} of node {self.node})")

    def wait_other_host(self, node):
        """Wait until a line comes that another node than `node` wrote."""
        self.wait(lambda: self.node != node, f"a line of another host than node {node} ({self.count} lines received)")

    def wait_quiet(self, quiet_seconds, seconds=CONTINUE_SECONDS):
        """Wait until nothing has come for so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() - self.received_at < quiet_seconds:
            if self.fault:
                raise AssertionError(self.fault)
            if time.monotonic() > deadline:
                raise AssertionError(f"the lines never paused (last: {self.count - 1} of node {self.node})")
            time.sleep(0.05)


class EchoClient(Client):
    """Sends `size` random bytes to programs.ECHO and compares what comes back."""

    def __init__(self, address, size, seed=None):
        super().__init__(address)
        self.seed = random.randrange(1 << 32) if seed is None else seed
        self.pattern = random.Random(self.seed).randbytes(size)
        self.returned = 0
        self.finished = False
        self.run(self._send)
        self.run(self._receive)

    def _send(self):
        self.socket.sendall(self.pattern)
        self.socket.shutdown(socket.SHUT_WR)

    def _receive(self):
        while True:
            data = self.socket.recv(65536)
            if not data:
                break
            expected = self.pattern[self.returned:self.returned + len(data)]
            if data != expected:
                at = next((at for at, (a, b) in enumerate(zip(data, expected)) if a != b), len(expected))
                self.found(f"byte {self.returned + at} came back wrong (pattern of seed {self.seed})")
                return
            with self.changed:
                self.returned += len(data)
                self.changed.notify_all()
        if self.returned != len(self.pattern):
            self.found(f"only {self.returned} of {len(self.pattern)} bytes came back (pattern of seed {self.seed})")
            return
        with self.changed:
            self.finished = True
            self.changed.notify_all()

    def wait_returned(self, count, seconds=2 * CONTINUE_SECONDS):
        self.wait(lambda: self.returned >= count, f"byte {count} come back ({self.returned} did)", seconds)

    def wait_finished(self, seconds=4 * CONTINUE_SECONDS):
        self.wait(lambda: self.finished, f"all bytes come back ({self.returned} of {len(self.pattern)} did)", seconds)
