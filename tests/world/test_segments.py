"""A neighbour that makes its segments itself: whatever it says about windows and sequence numbers hurts its own connection at most."""
import os
import random
import sys
import time
import unittest

from world import DEADLINE_S, TOP, World, wait_until

sys.path.insert(0, os.path.join(TOP, "tests", "qemu"))
from wire import Tap, segment_of, tcp_frame  # noqa: E402

WORLD_ADDRESS, NEIGHBOUR_ADDRESS = "10.0.2.15", "10.0.2.77"
SEGMENT_BYTES = 1460
BUFFERS_OF_WORLD = 1024

# Each connection gets what it is told to get and is kept, or closed; nothing is read.
SERVE = """
import socket, _thread
kept = []
def serve(port, said, close):
    s = socket.socket()
    s.bind(('', port))
    s.listen(5)
    while True:
        c, a = s.accept()
        kept.append(c)
        c.sendall(said)
        if close:
            c.close()

def echo():
    s = socket.socket()
    s.bind(('', 8004))
    s.listen(5)
    while True:
        c, a = s.accept()
        c.sendall(c.recv(100))

_thread.start_new_thread(echo, ())
_thread.start_new_thread(serve, (8001, b'', False))
_thread.start_new_thread(serve, (8002, b'x', False))
_thread.start_new_thread(serve, (8003, b'y' * 100, True))
"""


class Neighbour:
    """One connection to the world. Sequence numbers count from the first byte on, in both directions."""

    def __init__(self, tap, port, window=65535, first_window=None):
        self.tap = tap
        self.source = (tap.mac, tap.address, random.randrange(30000, 60000))
        self.target = (tap.resolve(WORLD_ADDRESS), WORLD_ADDRESS, port)
        self.first, self.first_of_world = random.randrange(1 << 32), 0
        self.window, self.received = window, 0
        self.tap.send(tcp_frame(self.source, self.target, self.first - 1, 0, Tap.SYN, window=window if first_window is None else first_window))
        answer = self.answer(lambda segment: segment.flags & Tap.SYN)
        self.first_of_world = answer.sequence + 1
        self.window_of_world = answer.window
        self.say()

    def say(self, at=0, data=b"", flags=0):
        self.tap.send(tcp_frame(self.source, self.target, self.first + at, self.first_of_world + self.received, Tap.ACK | flags, data,
                                self.window))

    def say_all(self, start, end):
        for at in range(start, end, SEGMENT_BYTES):
            self.say(at, bytes(min(SEGMENT_BYTES, end - at)))

    def answer(self, wanted):
        """The next segment from the world that is as wanted."""
        deadline = time.monotonic() + DEADLINE_S
        while frame := self.tap.receive(max(0, deadline - time.monotonic())):
            segment = segment_of(frame)
            if segment and segment.destination_port == self.source[2] and wanted(segment):
                return segment
            if time.monotonic() > deadline:
                break
        raise AssertionError("the world does not answer")

    def wait_acknowledged(self, end):
        self.answer(lambda segment: segment.acknowledge == (self.first + end) & 0xFFFFFFFF)

    def receive(self):
        """The next bytes in order, and whether they are the last."""
        segment = self.answer(lambda segment: (segment.payload or segment.flags & Tap.FIN)
                              and segment.sequence == (self.first_of_world + self.received) & 0xFFFFFFFF)
        self.received += len(segment.payload)
        return segment.payload, bool(segment.flags & Tap.FIN)


class SegmentsTest(unittest.TestCase):
    def setUp(self):
        self.world = World(ports=(8004,))
        self.addCleanup(self.world.stop)
        self.tap = Tap(self.world.neighbour_path, NEIGHBOUR_ADDRESS)
        self.addCleanup(self.tap.close)
        _, raised = self.world.exec(SERVE)
        self.assertFalse(raised)

    def fill_but_first(self, neighbour, end):
        """All that comes before `end`, the first byte last: what is queued behind it is taken at once."""
        neighbour.say_all(1, end)
        neighbour.say(0, b"x")

    def test_segment_past_the_window_is_cut_when_nothing_is_queued(self):
        neighbour = Neighbour(self.tap, 8001)
        window = neighbour.window_of_world
        neighbour.say(window - 1, bytes(SEGMENT_BYTES), Tap.FIN)
        self.fill_but_first(neighbour, window - 1)
        neighbour.wait_acknowledged(window)
        self.assertEqual(self.world.value("6 * 7"), "42")

    def test_segment_past_the_window_is_cut_when_it_comes_before_or_replaces_what_is_queued(self):
        for queued in ((-1, 1), (-300, 1, -1, 1), (-2, 1, -1, 1)):
            neighbour = Neighbour(self.tap, 8001)
            window = neighbour.window_of_world
            for at, count in zip(queued[::2], queued[1::2]):
                neighbour.say(window + at, bytes(count))
            neighbour.say(window - 2, bytes(SEGMENT_BYTES))
            self.fill_but_first(neighbour, window - 2)
            neighbour.wait_acknowledged(window)
        self.assertEqual(self.world.value("6 * 7"), "42")

    def test_end_of_stream_before_data_that_fills_the_window_does_not_overrun_it(self):
        neighbour = Neighbour(self.tap, 8001)
        window = neighbour.window_of_world
        neighbour.say_all(0, window - 1000)
        neighbour.wait_acknowledged(window - 1000)
        neighbour.say(window - 500, flags=Tap.FIN)
        neighbour.say(window - 1000, bytes(1000))
        neighbour.wait_acknowledged(window)
        self.assertEqual(self.world.value("6 * 7"), "42")

    def test_end_of_stream_before_queued_data_that_fills_the_window_does_not_overrun_it(self):
        neighbour = Neighbour(self.tap, 8001)
        window = neighbour.window_of_world
        neighbour.say(window - 500, flags=Tap.FIN)
        neighbour.say(window - 1000, bytes(1000))
        self.fill_but_first(neighbour, window - 1000)
        neighbour.wait_acknowledged(window)
        self.assertEqual(self.world.value("6 * 7"), "42")

    def test_end_of_stream_that_came_early_is_taken_in_its_place(self):
        neighbour = Neighbour(self.tap, 8001)
        neighbour.say(2000, flags=Tap.FIN)
        neighbour.say(1000, bytes(1000))
        neighbour.say(0, bytes(1000))
        neighbour.wait_acknowledged(2001)

    def test_gaps_in_streams_take_no_buffers_from_others(self):
        for port in (8001, 7000):
            neighbour = Neighbour(self.tap, port)
            for at in range(1, 2 * BUFFERS_OF_WORLD, 2):
                neighbour.say(at, b"x")
            client = self.world.connect(8004, b"hello")

            def answered():
                neighbour.say()  # so what waits for bytes is not given up as that of a dead peer
                return client.receive(0.1)
            wait_until(answered, f"a program hears its client while a stream to port {port} has gaps")
            client.close()

    def test_repeat_that_brings_more_is_taken_when_buffers_are_scarce(self):
        hog, said = Neighbour(self.tap, 8001), b"session x\n"
        for at in range(BUFFERS_OF_WORLD):
            hog.say(at, b"x")
        viewer = Neighbour(self.tap, 7000)
        viewer.say(0, said)
        viewer.wait_acknowledged(len(said))
        viewer.say(0, said + b"6 * 7\n")
        viewer.wait_acknowledged(len(said) + 6)

    def test_byte_that_is_acknowledged_without_a_window_ends_the_asking_for_one(self):
        neighbour = Neighbour(self.tap, 8002, window=0)
        self.assertEqual(neighbour.receive(), (b"x", False))
        neighbour.say()
        # So long, timers run meanwhile.
        self.assertEqual(self.world.exec("import time\ntime.sleep(2)\nprint(6 * 7)"), ("42\n", False))

    def test_stream_that_ends_in_small_windows_is_whole(self):
        neighbour = Neighbour(self.tap, 8003, window=30, first_window=400)
        received, over = b"", False
        while not over:
            data, over = neighbour.receive()
            received += data
            neighbour.say()
        self.assertEqual(received, b"y" * 100)


if __name__ == "__main__":
    unittest.main()
