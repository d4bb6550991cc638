"""A client that says odd things about segments and windows hurts its own connection at most (RING): neither a node nor the world ends."""

import random
import struct

import programs
from clients import CounterClient
from lab import wait_until
from scenario import Scenario
from wire import Tap, segment_of, tcp_frame

WORLD_ADDRESS = "10.77.0.100"
SEGMENT_OF_ONE_BYTE = struct.pack("!BBH", 2, 4, 1)
LINES_HELD_BACK = 20
WINDOW_OF_SOME_LINES = 400


class Stranger:
    """A client of the counter's port that makes its segments itself."""

    def __init__(self, tap, window):
        self.tap = tap
        self.source = (tap.mac, tap.address, random.randrange(30000, 60000))
        self.target = (tap.resolve(WORLD_ADDRESS), WORLD_ADDRESS, programs.COUNTER_PORT)
        self.next, self.expected = random.randrange(1 << 31), 0
        answer = wait_until(lambda: self.ask(window), "the world accepts the connection")
        self.next += 1
        self.expected = answer.sequence + 1
        self.say(window)

    def ask(self, window):
        self.tap.send(tcp_frame(self.source, self.target, self.next, 0, Tap.SYN, window=window))
        return self.answer(Tap.SYN)

    def say(self, window, options=b""):
        self.tap.send(tcp_frame(self.source, self.target, self.next, self.expected, Tap.ACK, window=window, options=options))

    def answer(self, flags=0):
        """The next segment from the world, with `flags` or with data."""
        frame = self.tap.receive(1)
        while frame is not None:
            segment = segment_of(frame)
            if segment and (segment.source_ip, segment.destination_port) == (WORLD_ADDRESS, self.source[2]) and (
                    segment.flags & flags or segment.payload):
                return segment
            frame = self.tap.receive(1)
        return None


class SegmentSize(Scenario):
    PROGRAM = programs.COUNTER

    def setUp(self):
        super().setUp()
        self.tap = Tap(self.cluster.command("port").strip())
        self.addCleanup(self.tap.close)
        self.client = CounterClient(self.cluster.address(programs.COUNTER_PORT))
        self.addCleanup(self.client.close)
        self.boots = [node["boot"] for node in self.cluster.status()["nodes"]]

    def wait_for_lines_held_back(self):
        """The world writes to all its clients at the same pace; what it writes to the stranger has to wait for a window."""
        self.client.wait_more(LINES_HELD_BACK)

    def assert_nothing_stopped(self):
        self.client.wait_more(LINES_HELD_BACK)
        self.assertEqual([node["boot"] for node in self.cluster.status()["nodes"]], self.boots)

    def test_segment_size_in_a_later_segment_is_ignored(self):
        stranger = Stranger(self.tap, WINDOW_OF_SOME_LINES)
        self.wait_for_lines_held_back()
        stranger.say(WINDOW_OF_SOME_LINES, options=SEGMENT_OF_ONE_BYTE)
        self.assert_nothing_stopped()

    def test_segment_size_first_window_of_two_bytes_after_none_is_survived(self):
        stranger = Stranger(self.tap, window=0)
        self.wait_for_lines_held_back()
        stranger.say(window=2)
        self.assert_nothing_stopped()
