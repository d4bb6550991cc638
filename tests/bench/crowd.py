"""The client program of `make bench-peers`: many connections in one thread, each with one request under way.

It judges too: a value that is answered twice, or one below a value that was answered before it was asked for, is an acknowledged increment lost.
"""
import selectors
import socket
import threading
import time

from counters import Refused

ATTEMPT_S = 1.0           # a fresh connection that was not answered for so long is given up
ATTEMPT_EVERY_S = 0.1     # a fresh connection to each node, while a node is down
ATTEMPTS_MAX = 10         # of them at a node, waiting for an answer
REFUSED_PAUSE_S = 0.05    # after a refusal


class Connection:
    def __init__(self, adapter, address, node=None):
        self.adapter = adapter()
        self.node = node
        self.sent_at = None     # of the request under way; None: none is
        self.resume_at = None   # when to ask again after a refusal
        self.since = time.monotonic()
        self.answered_at = None
        self.pause = 0.0        # the longest between two answers since somebody set it to 0
        self.floor = 0
        self.ended = None       # why
        self.refusals = 0
        self.socket = socket.create_connection(address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.send(self.adapter.opening())

    def send(self, data):
        if data and self.socket.send(data) != len(data):
            raise ConnectionError("a request did not fit the socket")

    def ask(self, floor):
        self.resume_at = None
        self.floor = floor
        self.sent_at = time.monotonic()
        self.send(self.adapter.request())

    def receive(self):
        """Answers that have come."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("closed by the other side")
        answers, reply = self.adapter.take(data)
        self.send(reply)
        return answers


def ask_once(adapter, address, timeout_s=10):
    """One answer on a connection of its own. OSError or Refused: there was none."""
    with socket.create_connection(address, timeout=timeout_s) as connection:
        one = adapter()
        connection.sendall(one.opening() + one.request())
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            data = connection.recv(65536)
            if not data:
                raise ConnectionError("closed by the other side")
            answers, reply = one.take(data)
            connection.sendall(reply)
            if answers:
                if isinstance(answers[0], Refused):
                    raise answers[0]
                return answers[0]
    raise TimeoutError("no answer")


class Crowd:
    """Steady connections, which wait as long as it takes, and fresh ones while `trying` names where to."""

    def __init__(self, adapter):
        self.adapter = adapter
        self.selector = selectors.DefaultSelector()
        self.steady, self.fresh = [], []
        self.trying = {}         # node: address
        self.next_try = 0.0
        self.answers = []        # (asked at, answered at, value)
        self.values = set()
        self.highest = 0
        self.faults = []         # acknowledged increments lost
        self.error = None
        self.lock = threading.Lock()
        self.stopping = False

    def open(self, address, node=None):
        connection = Connection(self.adapter, address, node)
        with self.lock:
            self.steady.append(connection)
            self._begin(connection)
        return connection

    def drop(self, connection):
        """Give a steady connection up."""
        with self.lock:
            if connection.ended is None:
                self._end(connection, "given up")

    def close(self):
        """Stop, and close all connections."""
        self.stopping = True
        if hasattr(self, "thread"):
            self.thread.join(30)
        for connection in self.steady + self.fresh:
            connection.socket.close()
        self.selector.close()

    def start(self):
        self.thread = threading.Thread(target=self._guarded, daemon=True)
        self.thread.start()

    def run_for(self, seconds):
        """In this thread; returns the answers of that time and how long it was."""
        self.answers.clear()
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            self._round(0.1)
        return self.answers, time.monotonic() - began

    def take_answers(self):
        with self.lock:
            taken, self.answers = self.answers, []
            return taken

    # Inside

    def _guarded(self):
        try:
            while not self.stopping:
                self._round(0.02)
        except Exception as error:  # told by whoever waits for answers
            self.error = error

    def _begin(self, connection):
        self.selector.register(connection.socket, selectors.EVENT_READ, connection)
        self._ask(connection)

    def _ask(self, connection):
        try:
            connection.ask(self.highest)
        except OSError as error:
            self._end(connection, error)

    def _end(self, connection, why):
        connection.ended = str(why)
        self.selector.unregister(connection.socket)
        connection.socket.close()
        if connection in self.fresh:
            self.fresh.remove(connection)

    def _round(self, wait_s):
        ready = self.selector.select(wait_s)
        with self.lock:
            for key, _ in ready:
                if key.data.ended is None:
                    self._serve(key.data)
            now = time.monotonic()
            for connection in self.steady:
                if connection.ended is None and connection.resume_at is not None and connection.resume_at <= now:
                    self._ask(connection)
            for connection in [one for one in self.fresh if now > one.since + ATTEMPT_S]:
                self._end(connection, "no answer")
            if self.trying and now >= self.next_try:
                self.next_try = now + ATTEMPT_EVERY_S
                self._try_fresh()

    def _try_fresh(self):
        for node, address in self.trying.items():
            if sum(one.node == node for one in self.fresh) < ATTEMPTS_MAX:
                try:
                    connection = Connection(self.adapter, address, node)
                except OSError:
                    continue
                self.fresh.append(connection)
                self._begin(connection)

    def _serve(self, connection):
        try:
            answers = connection.receive()
        except (OSError, ValueError, LookupError) as error:
            self._end(connection, error)
            return
        now = time.monotonic()
        for answer in answers:
            asked_at, connection.sent_at = connection.sent_at, None
            if isinstance(answer, Refused):
                connection.refusals += 1
                connection.resume_at = now + REFUSED_PAUSE_S
                continue
            self._judge(connection, answer)
            if connection.answered_at is not None:
                connection.pause = max(connection.pause, now - connection.answered_at)
            connection.answered_at = now
            self.answers.append((asked_at, now, answer))
        if connection in self.fresh:
            if answers:
                self._end(connection, "done")
        elif answers and connection.resume_at is None:
            self._ask(connection)

    def _judge(self, connection, value):
        if value in self.values or value <= connection.floor:
            self.faults.append(f"{value} was answered though {connection.floor} had been before it was asked for" if value <= connection.floor else
                               f"{value} was answered twice")
        self.values.add(value)
        self.highest = max(self.highest, value)
