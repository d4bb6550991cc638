"""Python programs that the tests run inside the world, and the ports they serve."""

COUNTER_PORT = 8001
ECHO_PORT = 8002
SEALS_KEPT = 1024

# Each connection gets numbered lines, one every 10 ms: `NUMBER NODE EPOCH SEAL`. The seal is a hash over this line and the seal before
# it, and every line names the node and the epoch that wrote it. So a client that saw a line of a host whose
# work was thrown away finds that the next line of the new host does not fit. The world keeps the seals of the last SEALS_KEPT lines.
COUNTER = f"""
import binascii, eidolon, hashlib, socket, time, _thread

class Counter:
    def __init__(self, connection):
        self.connection = connection
        self.number = 0
        self.seal = b""
        self.seals = bytearray(16 * {SEALS_KEPT})
        self.end = None

    def run(self):
        try:
            while True:
                self.write_line()
                time.sleep_ms(10)
        except OSError as error:
            self.end = error
            self.connection.close()

    def write_line(self):
        line = b"%d %d %d " % (self.number, eidolon.node(), eidolon.epoch())
        self.seal = binascii.hexlify(hashlib.sha256(self.seal + line).digest()[:8])
        at = self.number % {SEALS_KEPT} * 16
        self.seals[at:at + 16] = self.seal
        self.connection.sendall(line + self.seal + b"\\n")
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

# scribble() changes memory until `scribbling` is false: random bytes at random places, and blocks that come and go.
SCRIBBLER = """
import random, time, _thread
scribbled = bytearray(1 << 20)

def scribble():
    blocks = []
    while scribbling:
        for _ in range(16):
            scribbled[random.randrange(len(scribbled))] = random.getrandbits(8)
        blocks.append(bytes([random.getrandbits(8)]) * 5000)
        if len(blocks) > 50:
            blocks.clear()
        time.sleep_ms(5)
"""

# churn(PAUSE_MS) writes over 3 MiB of memory again and again until `churning` is false, 64 KiB at a time, no page like before.
CHURN = """
import hashlib, time
noise = memoryview(b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(2176)))
churned = [bytearray(65536) for _ in range(48)]

def churn(pause_ms):
    turn = 0
    while churning:
        at = turn % 4096
        churned[turn % 48][:] = noise[at:at + 65536]
        turn += 1
        time.sleep_ms(pause_ms)
"""


def ballast(name, mebibytes):
    """Fill `name` (made if it is not there) with that much memory, no page like another or like before, and print its digest."""
    return f"""
import hashlib, random, struct
salt = random.getrandbits(30)
page = b"".join(hashlib.sha256(struct.pack("<II", salt, n)).digest() for n in range(128))
try:
    {name}
except (NameError, AttributeError, KeyError):
    {name} = [bytearray(65536) for _ in range({mebibytes * 16})]
for n, part in enumerate({name}):
    part[:] = page * 16
    for at in range(0, 65536, 4096):
        struct.pack_into("<III", part, at, salt, n, at)
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
