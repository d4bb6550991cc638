"""Python programs that the tests run inside the world, and the ports they serve."""

COUNTER_PORT = 8001
ECHO_PORT = 8002

# Each connection gets numbered lines, one every 10 ms: `NUMBER NODE EPOCH SEAL`. The seal is a checksum over this line and all lines
# before it on the connection, and every line names the node and the epoch that wrote it. So a client that saw a line of a host whose
# work was thrown away finds that the next line of the new host does not fit.
COUNTER = f"""
import binascii, eidolon, socket, time, _thread

class Counter:
    def __init__(self, connection):
        self.connection = connection
        self.number = 0
        self.seal = 0
        self.paused = False
        self.end = None

    def run(self):
        try:
            while True:
                if not self.paused:
                    self.write_line()
                time.sleep_ms(10)
        except OSError as error:
            self.end = error
            self.connection.close()

    def write_line(self):
        line = b"%d %d %d " % (self.number, eidolon.node(), eidolon.epoch())
        self.seal = binascii.crc32(line, self.seal)
        self.connection.sendall(line + b"%08x\\n" % self.seal)
        self.number += 1

counters = []

def serve_counters():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", {COUNTER_PORT}))
    listener.listen(4)
    while True:
        connection, peer = listener.accept()
        counters.append(Counter(connection))
        _thread.start_new_thread(counters[-1].run, ())

_thread.start_new_thread(serve_counters, ())
"""

ECHO = f"""
import socket, _thread

def echo(connection):
    try:
        while True:
            data = connection.recv(4096)
            if not data:
                break
            connection.sendall(data)
    except OSError as error:
        print("echo:", error)
    connection.close()

def serve_echo():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", {ECHO_PORT}))
    listener.listen(4)
    while True:
        connection, peer = listener.accept()
        _thread.start_new_thread(echo, (connection,))

_thread.start_new_thread(serve_echo, ())
"""

# A thread that counts with nobody attached, as fast as the world lets it.
TICKER = """
import time, _thread
ticks = 0

def tick():
    global ticks
    while True:
        ticks += 1
        time.sleep_ms(5)

_thread.start_new_thread(tick, ())
"""

# Changes memory all the time: random bytes at random places, and blocks that come and go.
SCRIBBLER = """
import os, random, time, _thread
scribbling = True
scribbled = bytearray(1 << 20)

def scribble():
    blocks = []
    while True:
        if scribbling:
            for _ in range(16):
                at = random.randrange(len(scribbled) - 16)
                scribbled[at:at + 16] = os.urandom(16)
            blocks.append(os.urandom(5000))
            if len(blocks) > 50:
                blocks.clear()
        time.sleep_ms(5)

_thread.start_new_thread(scribble, ())
"""


def ballast(name, mebibytes):
    """Fill `name` with that much random memory and print its digest."""
    return f"""
import binascii, hashlib, os
{name} = [bytearray(65536) for _ in range({mebibytes * 16})]
for part in {name}:
    for at in range(0, 65536, 256):
        part[at:at + 256] = os.urandom(256)
{digest(name)}
"""


def digest(name):
    """Print the digest of what `ballast` made."""
    return f"""
import binascii, hashlib
hasher = hashlib.sha256()
for part in {name}:
    hasher.update(part)
print(binascii.hexlify(hasher.digest()).decode())
"""
