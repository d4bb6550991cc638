"""A stranger on the cluster's Ethernet: a tap at the switch (`eidolon port`), with the little of ARP, IPv4 and TCP that an attacker needs."""

import os
import random
import select
import socket
import struct
import time

BROADCAST = b"\xff" * 6


def checksum(data):
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def tcp_frame(source, destination, sequence, acknowledge, flags, payload=b"", window=65535, options=b""):
    """`source` and `destination`: (mac, ip, port). `options`: whole words."""
    source_ip, destination_ip = socket.inet_aton(source[1]), socket.inet_aton(destination[1])
    header = struct.pack("!HHIIBBHHH", source[2], destination[2], sequence & 0xFFFFFFFF, acknowledge & 0xFFFFFFFF,
                         (5 + len(options) // 4) << 4, flags, window, 0, 0) + options
    pseudo = source_ip + destination_ip + struct.pack("!BBH", 0, 6, len(header) + len(payload))
    header = header[:16] + struct.pack("!H", checksum(pseudo + header + payload)) + header[18:]
    return ip_frame(source, destination, 6, header + payload)


def udp_frame(source, destination, payload):
    header = struct.pack("!HHHH", source[2], destination[2], 8 + len(payload), 0)
    return ip_frame(source, destination, 17, header + payload)


def ip_frame(source, destination, protocol, payload):
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, protocol, 0, socket.inet_aton(source[1]),
                         socket.inet_aton(destination[1]))
    header = header[:10] + struct.pack("!H", checksum(header)) + header[12:]
    return destination[0] + source[0] + b"\x08\x00" + header + payload


class Segment:
    """One TCP segment of a captured or received frame."""

    def __init__(self, frame):
        self.destination_mac, self.source_mac = frame[0:6], frame[6:12]
        ip = frame[14:]
        start = (ip[0] & 15) * 4
        total = struct.unpack("!H", ip[2:4])[0]
        self.source_ip, self.destination_ip = socket.inet_ntoa(ip[12:16]), socket.inet_ntoa(ip[16:20])
        tcp = ip[start:total]
        (self.source_port, self.destination_port, self.sequence, self.acknowledge, offset, self.flags,
         self.window) = struct.unpack("!HHIIBBH", tcp[:16])
        self.payload = tcp[(offset >> 4) * 4:]


def segment_of(frame):
    """The TCP segment in a frame, or None."""
    if len(frame) < 54 or frame[12:14] != b"\x08\x00" or frame[14] >> 4 != 4 or frame[23] != 6:
        return None
    return Segment(frame)


def capture_frames(path):
    """The frames of a pcap file, in order."""
    with open(path, "rb") as file:
        data = file.read()
    at = 24
    while at + 16 <= len(data):
        bytes_kept = struct.unpack("<I", data[at + 8:at + 12])[0]
        frame = data[at + 16:at + 16 + bytes_kept]
        if len(frame) == bytes_kept:
            yield frame
        at += 16 + bytes_kept


class Tap:
    """A port of the switch: frames in and out."""

    FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

    def __init__(self, path, address="10.77.0.77", mac=None):
        self.mac = mac or b"\x02" + os.urandom(5)
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(path)
        self._rest = b""

    def close(self):
        self.socket.close()

    def send(self, frame):
        self.socket.sendall(struct.pack("!I", len(frame)) + frame)

    def receive(self, seconds):
        """The next frame, or None after so long."""
        deadline = time.monotonic() + seconds
        while True:
            if len(self._rest) >= 4:
                length = struct.unpack("!I", self._rest[:4])[0]
                if len(self._rest) >= 4 + length:
                    frame, self._rest = self._rest[4:4 + length], self._rest[4 + length:]
                    self._answer_arp(frame)
                    return frame
            readable, _, _ = select.select([self.socket], [], [], max(0, deadline - time.monotonic()))
            if not readable:
                return None
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the switch closed the tap")
            self._rest += data

    def _answer_arp(self, frame):
        """Answer a question for our address."""
        if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\x00\x01" and frame[38:42] == socket.inet_aton(self.address):
            self.send(frame[6:12] + self.mac + b"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02" + self.mac + frame[38:42] + frame[22:32])

    def resolve(self, address, seconds=20):
        """The MAC address of `address`, asked until it is answered."""
        question = (BROADCAST + self.mac + b"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01" + self.mac + socket.inet_aton(self.address) +
                    bytes(6) + socket.inet_aton(address))
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.send(question)
            frame = self.receive(0.5)
            while frame is not None:
                if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\x00\x02" and frame[28:32] == socket.inet_aton(address):
                    return frame[22:28]
                frame = self.receive(0.1)
        raise AssertionError(f"nobody answers for {address}")

    def open_ports(self, address, ports, quiet_seconds=2.0):
        """Which of `ports` of `address` accept connections: a SYN to each, then a reset to each that answers."""
        ports = list(ports)
        target_mac = self.resolve(address)
        source_port = random.randrange(20000, 30000)
        answered = {}
        for start in range(0, len(ports), 64):
            for port in ports[start:start + 64]:
                self.send(tcp_frame((self.mac, self.address, source_port), (target_mac, address, port), 1000, 0, self.SYN))
            waiting = set(ports[start:start + 64])
            while waiting:
                frame = self.receive(quiet_seconds)
                if frame is None:
                    break
                segment = segment_of(frame)
                if segment is None or segment.source_ip != address or segment.destination_port != source_port:
                    continue
                waiting.discard(segment.source_port)
                answered[segment.source_port] = bool(segment.flags & self.SYN)
                if segment.flags & self.SYN:
                    self.send(tcp_frame((self.mac, self.address, source_port), (target_mac, address, segment.source_port), 1001, 0,
                                        self.RST))
        return sorted(port for port, is_open in answered.items() if is_open)

    def converse(self, address, port, payload, seconds=20):
        """Open a TCP connection, send `payload` piece by piece, and wait for what comes. Returns (bytes received, whether the other side
        ended the connection in time)."""
        target = (self.resolve(address), address, port)
        source = (self.mac, self.address, random.randrange(30000, 60000))
        first, received, acknowledged, expected, established = random.randrange(1 << 31), b"", 0, 0, False

        def transmit():
            if established:
                piece = payload[acknowledged:acknowledged + 1400]
                self.send(tcp_frame(source, target, first + 1 + acknowledged, expected, self.ACK | self.PSH, piece))
            else:
                self.send(tcp_frame(source, target, first, 0, self.SYN))

        deadline = time.monotonic() + seconds
        transmit()
        while time.monotonic() < deadline:
            frame = self.receive(0.5)
            if frame is None:
                transmit()
                continue
            segment = segment_of(frame)
            if segment is None or (segment.source_ip, segment.source_port, segment.destination_port) != (address, port, source[2]):
                continue
            if segment.flags & self.RST:
                return received, True
            if segment.flags & self.SYN:
                established, expected = True, segment.sequence + 1
                transmit()
                continue
            progress = (segment.acknowledge - first - 1) & 0xFFFFFFFF
            news = segment.payload if segment.sequence == expected & 0xFFFFFFFF else b""
            received, expected = received + news, expected + len(news)
            if segment.flags & self.FIN:
                return received, True
            if acknowledged < progress <= len(payload) or news:
                acknowledged = max(acknowledged, progress)
                transmit()
        return received, False
