"""Strangers and vandals on the network (point 10 of tests/README.md: VERIFY, RING)."""

import os
import random
import re
import socket
import threading

import programs
from clients import CounterClient
from lab import DEADLINE_S, wait_until
from scenario import Scenario, WatchedCluster
from wire import Tap, capture_frames, ip_frame, segment_of, tcp_frame, udp_frame

PEER_PORTS = [7401, 7402]
SCANNED_PORTS = range(1, 10001)
WORLD_ADDRESS = "10.77.0.100"
STRANGER = re.compile(r"net: .* is no peer: its connection to port \d+ was refused")
UNEXPECTED = re.compile(r"links: .* connected, which is not a peer that should; refused")
# What a node says of a peer that broke a rule; also one that only stops is told of, in other words.
BROKEN_HANDSHAKE = re.compile(r"handshake: [^\n]* \([A-Z_]+\); the link is ended")
BROKEN_MESSAGE = re.compile(r"message: [^\n]* \([A-Z_]+\); the link is ended")
BYTES_OUT_OF_ORDER = 160  # a node keeps so many segments that wait behind a gap
ADMITTED = re.compile(r"hello not accepted|does not accept this node")


def node_address(node):
    return f"10.77.0.{10 + node}"


def node_mac(node):
    return bytes([0x52, 0x54, 0x00, 0xE1, 0x00, node])


class Garbage(Scenario):
    PROGRAM = programs.COUNTER

    def setUp(self):
        super().setUp()
        seed = random.randrange(1 << 32)
        self.random = random.Random(seed)
        print(f"    seed {seed}")
        self.client = CounterClient(self.cluster.address(programs.COUNTER_PORT))
        self.addCleanup(self.client.close)
        self.client.wait_more(20)
        self.port = self.cluster.command("port").strip()
        self.boots = {node["id"]: (node["pid"], node["boot"]) for node in self.cluster.status()["nodes"]}
        self.log_lengths = {node: len(self.cluster.log(node)) for node in self.cluster.nodes}

    def tap(self, **options):
        tap = Tap(self.port, **options)
        self.addCleanup(tap.close)
        return tap

    def standby_between(self):
        """Make node 2 a standby. Returns it and the others: node 1, which connects to it, and node 3, to which it connects."""
        if self.cluster.wait_host() == 2:
            self.cluster.command("move", 1)
        return 2, [1, 3]

    def assert_nothing_stopped(self, nodes):
        """The client goes on, and none of `nodes` was started anew."""
        self.client.wait_more(20)
        for node in self.cluster.status()["nodes"]:
            if node["id"] in nodes:
                self.assertEqual((node["pid"], node["boot"]), self.boots[node["id"]], f"node {node['id']} was started anew: {node}")

    def said(self, node, pattern):
        """What the node has logged of the kind since the test began."""
        return pattern.search(self.cluster.log(node)[self.log_lengths[node]:])

    def wait_refusal(self, node, pattern):
        wait_until(lambda: self.said(node, pattern), f"node {node} logged no {pattern.pattern}")

    def test_garbage_from_stranger_on_every_port_is_refused(self):
        """VERIFY: a machine that is no peer finds no open port at a node; broken frames of all kinds change nothing."""
        tap = self.tap()
        for node in self.cluster.nodes:
            self.assertEqual(tap.open_ports(node_address(node), [*PEER_PORTS, *range(1, 1024)]), [])
            self.wait_refusal(node, STRANGER)
        targets = [(node_mac(node), node_address(node)) for node in self.cluster.nodes] + [(tap.resolve(WORLD_ADDRESS), WORLD_ADDRESS)]
        for _ in range(300):
            mac, address = self.random.choice(targets)
            junk = self.random.randbytes(self.random.randrange(0, 1400))
            port = self.random.choice([*PEER_PORTS, 7000, self.random.randrange(65536)])
            source, destination = (tap.mac, tap.address, self.random.randrange(65536)), (mac, address, port)
            for frame in (mac + tap.mac + junk, mac + tap.mac + b"\x08\x00" + junk, mac + tap.mac + b"\x08\x06" + junk,
                          udp_frame(source, destination, junk), ip_frame(source, destination, 6, junk),
                          ip_frame(source, destination, 1, junk)):
                tap.send(frame)
        self.assert_nothing_stopped(self.cluster.nodes)
        self.cluster.wait_ok()

    def test_garbage_from_address_of_peer_on_every_open_port_is_refused(self):
        """VERIFY: whoever has taken a peer's address finds the peers' ports only, and random bytes there end that connection, no more."""
        impersonated, victims = self.standby_between()
        self.cluster.stop_node(impersonated)
        tap = self.tap(address=node_address(impersonated), mac=node_mac(impersonated))
        found = {}
        for node in victims:
            ports = tap.open_ports(node_address(node), SCANNED_PORTS)
            found[node] = ports
            for port in ports:
                for length in (1, 200, 20000):
                    _, ended = tap.converse(node_address(node), port, self.random.randbytes(length))
                    self.assertTrue(ended, f"node {node} keeps a connection to port {port} that said {length} random bytes")
            if ports:
                # The node of the lower number connects: a connection the other way is refused before a word is heard.
                self.wait_refusal(node, UNEXPECTED if node < impersonated else BROKEN_HANDSHAKE)
        self.assertEqual(found[3], PEER_PORTS)
        self.assertLessEqual(set(found[1]), set(PEER_PORTS))
        tap.close()
        self.assert_nothing_stopped(victims)
        self.cluster.start_node(impersonated)
        self.cluster.wait_ok()

    def test_garbage_on_ports_of_the_world_changes_nothing(self):
        """RING: random bytes to the terminal and to a user's own server."""
        for port in (7000, programs.COUNTER_PORT):
            address = self.cluster.address(port)
            for length in (1, 100, 10000):
                with socket.create_connection(address) as stranger:
                    stranger.sendall(self.random.randbytes(length))
        self.assert_nothing_stopped(self.cluster.nodes)
        self.assertEqual(self.cluster.evaluate("6 * 7"), 42)

    def test_garbage_on_management_port_is_answered_by_errors(self):
        """VERIFY: random bytes and overlong lines on the second serial line."""
        for node in self.cluster.nodes:
            for junk in (self.random.randbytes(4000), b"status " * 500 + b"\n", b"\n" * 1000, b"move 999999999999\nreset\nmove x\n", b"\0" * 4000):
                self.cluster.manage_raw(node, junk)
            self.assertIsNotNone(self.cluster.node(node)["role"])
        self.assert_nothing_stopped(self.cluster.nodes)

    def test_garbage_peer_with_wrong_key_is_refused(self):
        """VERIFY: a node of another cluster takes the place of a node that is down."""
        replaced, victims = self.standby_between()
        self.cluster.stop_node(replaced)
        with WatchedCluster() as other:
            other.start_node(replaced)
            ours = Tap(self.port, mac=node_mac(replaced))
            theirs = Tap(wait_until(lambda: other.command("port").strip(), "the other cluster has no port"))
            relay = Relay(theirs, ours, node_mac(replaced), {node_mac(node) for node in victims})
            self.addCleanup(relay.stop)
            self.wait_refusal(1, BROKEN_HANDSHAKE)
            wait_until(lambda: BROKEN_HANDSHAKE.search(other.log(replaced)), "the foreign node refuses node 3")
            self.assertGreater(relay.carried, 0)
            self.assert_nothing_stopped(victims)
            for node in victims:
                self.assertIsNone(self.said(node, ADMITTED), f"node {node} came as far as a hello with a stranger")
        self.cluster.start_node(replaced)
        self.cluster.wait_ok()

    def test_garbage_altered_message_of_peer_ends_the_link_only(self):
        """VERIFY: bytes that a stranger slips into the running stream between two peers end that link; it is made anew."""
        capture = os.path.join(self.cluster.parent, "peers.pcap")
        self.cluster.command("capture", capture)
        tap = self.tap()
        host = self.cluster.wait_host()

        def slip_in():
            self.client.wait_more(5)
            last = None
            for frame in capture_frames(capture):
                segment = segment_of(frame)
                if segment and segment.payload and segment.destination_ip == node_address(host) and segment.source_ip != WORLD_ADDRESS and (
                        segment.source_port in PEER_PORTS or segment.destination_port in PEER_PORTS):
                    last = segment
            if last is None:
                return False
            source = (tap.mac, last.source_ip, last.source_port)
            target = (last.destination_mac, last.destination_ip, last.destination_port)
            end = last.sequence + len(last.payload)
            for ahead in range(0, 8192, 64):
                tap.send(tcp_frame(source, target, end + ahead, last.acknowledge, Tap.ACK | Tap.PSH, self.random.randbytes(64)))
            return self.said(host, BROKEN_MESSAGE)

        wait_until(slip_in, f"node {host} ended no link")
        self.cluster.command("capture", "--stop")
        self.assert_nothing_stopped(self.cluster.nodes)
        self.cluster.wait_ok()

    def test_garbage_replayed_conversation_of_peer_is_refused(self):
        """VERIFY: what a peer once said, said again from its address, is refused."""
        capture = os.path.join(self.cluster.parent, "peers.pcap")
        impersonated, (_, victim) = self.standby_between()
        self.cluster.stop_node(impersonated)
        self.cluster.command("capture", capture)
        self.cluster.start_node(impersonated)
        self.cluster.wait_ok()
        self.client.wait_more(100)
        self.cluster.command("capture", "--stop")
        said = self.conversation(capture, node_address(impersonated), node_address(victim), PEER_PORTS[0])
        self.assertGreater(len(said), 200)
        self.cluster.stop_node(impersonated)
        self.log_lengths[victim] = len(self.cluster.log(victim))
        tap = self.tap(address=node_address(impersonated), mac=node_mac(impersonated))
        _, ended = tap.converse(node_address(victim), PEER_PORTS[0], said[:20000])
        self.assertTrue(ended, "a replayed conversation is kept")
        tap.close()
        self.wait_refusal(victim, BROKEN_HANDSHAKE)
        self.assertIsNone(self.said(victim, ADMITTED))
        self.assert_nothing_stopped(self.cluster.others(impersonated))
        self.cluster.start_node(impersonated)
        self.cluster.wait_ok()

    def test_garbage_on_waiting_connection_of_peer_leaves_buffers_to_others(self):
        """VERIFY: single bytes out of order, on a connection that waits for an older one's end, do not make a node deaf to its peers."""
        impersonated, (peer, victim) = self.standby_between()
        self.cluster.stop_node(impersonated)
        tap = self.tap(address=node_address(impersonated), mac=node_mac(impersonated))
        source, target = (tap.mac, tap.address), (node_mac(victim), node_address(victim), PEER_PORTS[0])
        wait_until(lambda: self.said(victim, re.compile(rf"peer {impersonated} lane 0: silent")), "the link is down")
        for port in (40001, 40002):  # the first one is the link, the second one waits
            connection = wait_until(lambda at=port: Connection.open(tap, (*source, at), target), f"node {victim} accepts a connection")
        while connection.say_in_single_bytes(BYTES_OUT_OF_ORDER):
            pass
        self.assertIsNone(self.said(victim, re.compile(rf"peer {peer} lane \d: silent")))
        tap.close()
        self.assert_nothing_stopped(self.cluster.others(impersonated))
        self.cluster.start_node(impersonated)
        self.cluster.wait_ok()

    @staticmethod
    def conversation(capture, source, destination, port):
        """Everything that `source` said on its last connection to `port` of `destination`, from the start."""
        said, start = {}, None
        for frame in capture_frames(capture):
            segment = segment_of(frame)
            if segment is None or (segment.source_ip, segment.destination_ip, segment.destination_port) != (source, destination, port):
                continue
            if segment.flags & Tap.SYN:
                said, start = {}, segment.sequence + 1
            elif start is not None and segment.payload:
                said[(segment.sequence - start) & 0xFFFFFFFF] = segment.payload
        stream = b""
        for at in sorted(said):
            if at <= len(stream):
                stream += said[at][len(stream) - at:]
        return stream


class Connection:
    """One that a stranger holds, its segments made by hand."""

    def __init__(self, tap, source, target, first, expected):
        self.tap, self.source, self.target, self.next, self.expected = tap, source, target, first, expected

    @classmethod
    def open(cls, tap, source, target):
        """None: nobody answers."""
        connection = cls(tap, source, target, random.randrange(1 << 31), 0)
        tap.send(tcp_frame(source, target, connection.next - 1, 0, Tap.SYN))
        answer = connection.answer()
        if answer is None or not answer.flags & Tap.SYN:
            return None
        connection.expected = answer.sequence + 1
        connection.say(0, b"")
        return connection

    def answer(self):
        while frame := self.tap.receive(0.2):
            segment = segment_of(frame)
            if segment and segment.destination_port == self.source[2]:
                return segment
        return None

    def say(self, ahead, data):
        self.tap.send(tcp_frame(self.source, self.target, self.next + ahead, self.expected, Tap.ACK, data))

    def say_in_single_bytes(self, count):
        """The first byte comes last, until all are acknowledged. False: the other side has ended the connection."""
        acknowledged = 0
        while acknowledged < count:
            for ahead in [*range(acknowledged + 1, count), acknowledged]:
                self.say(ahead, b"x")
            while segment := self.answer():
                if segment.flags & Tap.RST:
                    return False
                acknowledged = max(acknowledged, segment.acknowledge - self.next)
                if acknowledged >= count:
                    break
        self.next += count
        return True


class Relay:
    """Carries frames between two switches: what `stranger` says to one of `peers` and broadcasts, and what they say to it."""

    def __init__(self, theirs, ours, stranger, peers):
        self.carried = 0
        self._stopped = threading.Event()
        self._taps = (theirs, ours)
        self._threads = [
            threading.Thread(target=self._carry, daemon=True, args=(
                theirs, ours, lambda frame: frame[6:12] == stranger and (frame[0:6] in peers or frame[0] & 1))),
            threading.Thread(target=self._carry, daemon=True, args=(
                ours, theirs, lambda frame: frame[6:12] in peers and (frame[0:6] == stranger or frame[0] & 1))),
        ]
        for thread in self._threads:
            thread.start()

    def _carry(self, source, destination, wanted):
        try:
            while not self._stopped.is_set():
                frame = source.receive(0.2)
                if frame is not None and wanted(frame):
                    destination.send(frame)
                    self.carried += 1
        except OSError:
            pass  # one of the switches is gone: the test is over

    def stop(self):
        self._stopped.set()
        for thread in self._threads:
            thread.join(DEADLINE_S)
        for tap in self._taps:
            tap.close()
