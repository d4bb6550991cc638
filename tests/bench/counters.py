"""One counter, three protocols: what a client says to increment it, and how it reads the answer. Standard library only.

An adapter belongs to one connection: `opening()` is sent first, `request()` for each increment, and `take(data)` returns the answers that have become
whole (the counter's value, or a Refused) and what must be sent back at once. Every value that is answered is durable by the system's own word.
"""
import struct

PORT = 8001

# Our world's side of it, run by `eidolon exec`. Nothing in it knows that there are other nodes, or a disk.
WORLD_SERVER = f"""
import select, socket, _thread

def serve():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", {PORT}))
    listener.listen(8)
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while True:
        for ready, event in poll.poll():
            try:
                if ready is listener:
                    poll.register(listener.accept()[0], select.POLLIN)
                elif not answer(ready):
                    poll.unregister(ready)
                    ready.close()
            except OSError:
                poll.unregister(ready)
                ready.close()

def answer(connection):
    data = connection.recv(64)
    for _ in range(data.count(b"\\n")):
        root.counter += 1
        connection.send(b"%d\\n" % root.counter)
    return data

root.counter = 0
_thread.start_new_thread(serve, ())
"""


class Refused(Exception):
    """The system answered, but did not count, or cannot say that it did."""


class Line:
    """A line asks, a line answers."""

    def __init__(self):
        self.rest = b""

    def opening(self):
        return b""

    def request(self):
        return b"incr\n"

    def take(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        return [int(line) for line in lines], b""


class Redis:
    """INCR, and WAIT for one of the two replicas: with the master that is a majority."""

    INCREMENT = b"*2\r\n$4\r\nINCR\r\n$7\r\ncounter\r\n"
    WAIT = b"*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$4\r\n5000\r\n"

    def __init__(self):
        self.rest = b""
        self.value = None

    def opening(self):
        return b""

    def request(self):
        return self.INCREMENT + self.WAIT

    def take(self, data):
        *lines, self.rest = (self.rest + data).split(b"\r\n")
        answers = []
        for line in lines:
            if self.value is None:
                self.value = int(line[1:]) if line.startswith(b":") else Refused(line.decode())
            else:
                enough = line.startswith(b":") and int(line[1:]) >= 1
                answers.append(self.value if enough or isinstance(self.value, Refused) else Refused("no replica in time"))
                self.value = None
        return answers, b""


class LoneRedis(Redis):
    """INCR alone: a durable counter that is not replicated."""

    def request(self):
        return self.INCREMENT

    def take(self, data):
        *lines, self.rest = (self.rest + data).split(b"\r\n")
        return [int(line[1:]) if line.startswith(b":") else Refused(line.decode()) for line in lines], b""


class RedisReplicas(Redis):
    """How many replicas have what was written last."""

    WAIT = b"*3\r\n$4\r\nWAIT\r\n$1\r\n2\r\n$4\r\n1000\r\n"

    def request(self):
        return b"*3\r\n$3\r\nSET\r\n$5\r\nprobe\r\n$1\r\n1\r\n" + self.WAIT

    def take(self, data):
        *lines, self.rest = (self.rest + data).split(b"\r\n")
        for line in lines:
            if line.startswith(b"-"):
                return [Refused(line.decode())], b""
        return [int(line[1:]) for line in lines if line.startswith(b":")], b""


class SentinelMaster(Redis):
    """What a Sentinel knows of the master: names and values of fields."""

    def request(self):
        return b"*3\r\n$8\r\nSENTINEL\r\n$6\r\nMASTER\r\n$7\r\ncounter\r\n"

    def take(self, data):
        self.rest += data
        head, *lines = self.rest.split(b"\r\n")
        if head.startswith(b"-"):
            return [Refused(head.decode())], b""
        if not lines or len(lines) < 2 * int(head[1:]) + 1:
            return [], b""
        words = lines[1::2]
        return [dict(zip(words[::2], words[1::2]))], b""


class Etcd:
    """A Put by gRPC: the key's version, which etcd increments with each Put, is the counter. One Raft entry, no loop, no conflict.

    gRPC is HTTP/2 with a length before each message. A request's header block uses no dynamic table, and the answer's headers need not be read: a
    stream that ends without data has failed."""

    DATA, HEADERS, RESET, SETTINGS, PING, GO_AWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
    END_STREAM, ACK, END_HEADERS = 1, 1, 4
    PATH = b"/etcdserverpb.KV/Put"
    MESSAGE = b"\x0a\x07counter\x20\x01"  # PutRequest: key, prev_kv

    def __init__(self):
        self.rest = b""
        self.stream = -1
        self.message = b""

    def frame(self, kind, flags, stream, payload):
        return struct.pack("!I", len(payload))[1:] + bytes((kind, flags)) + struct.pack("!I", stream) + payload

    def opening(self):
        return (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(self.SETTINGS, 0, 0, b"") +
                self.frame(self.WINDOW, 0, 0, struct.pack("!I", 0x7fffffff - 65535)))

    def request(self):
        self.stream += 2
        self.message = b""
        headers = (b"\x83\x86\x04" + string(self.PATH) + b"\x01" + string(b"etcd") + b"\x0f\x10" + string(b"application/grpc") +
                   b"\x00" + string(b"te") + string(b"trailers"))
        return (self.frame(self.HEADERS, self.END_HEADERS, self.stream, headers) +
                self.frame(self.DATA, self.END_STREAM, self.stream, struct.pack("!BI", 0, len(self.MESSAGE)) + self.MESSAGE))

    def take(self, data):
        self.rest += data
        answers, reply = [], b""
        while len(self.rest) >= 9:
            length, = struct.unpack("!I", b"\0" + self.rest[:3])
            if len(self.rest) < 9 + length:
                break
            kind, flags = self.rest[3], self.rest[4]
            payload, self.rest = self.rest[9:9 + length], self.rest[9 + length:]
            if kind in (self.SETTINGS, self.PING) and not flags & self.ACK:
                reply += self.frame(kind, self.ACK, 0, payload if kind == self.PING else b"")
            elif kind == self.GO_AWAY:
                raise ConnectionError("the server goes away")
            elif kind == self.DATA:
                self.message += payload
            if kind == self.RESET or kind in (self.DATA, self.HEADERS) and flags & self.END_STREAM:
                answers.append(self.read(self.message[5:]) if self.message else Refused("no answer"))
        return answers, reply

    def read(self, message):
        """PutResponse: field 2 is the key as it was before, whose field 4 is its version."""
        return fields(fields(message).get(2, b"")).get(4, 0) + 1


class EtcdStatus(Etcd):
    """(this member, the leader, the term)"""

    PATH = b"/etcdserverpb.Maintenance/Status"
    MESSAGE = b""

    def read(self, message):
        status = fields(message)
        return fields(status[1])[2], status.get(4, 0), status.get(6, 0)


def string(text):
    return bytes((len(text),)) + text


def fields(message):
    """The fields of a protocol buffer, by number; of a repeated one the last."""
    found, at = {}, 0
    while at < len(message):
        tag, at = varint(message, at)
        value, at = varint(message, at)
        if tag & 7 == 2:
            value, at = message[at:at + value], at + value
        found[tag >> 3] = value
    return found


def varint(message, at):
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
