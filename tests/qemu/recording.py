"""A cluster whose nodes' writes are recorded (recording_qemu), and whose power can fail: of one node, or of all at one moment of the past.

Recorder follows the recordings while they grow and keeps moments: how long each recording was at one and the same instant, and what the
client had received by then. It looks for instants at which something is loose, written and not flushed.
"""

import contextlib
import filecmp
import os
import random
import signal
import threading
import time
from typing import NamedTuple

import write_log
from lab import wait_until
from scenario import WatchedCluster

FOLDER = os.path.dirname(os.path.abspath(__file__))
BLOCK_BYTES = 4096          # include/disk_format.h has what follows
SUPERBLOCKS, VOTES_END = 2 * BLOCK_BYTES, 4 * BLOCK_BYTES
LOG_OFFSET, LOG_BYTES_MIN = 1 << 20, 16 << 20

LOOK_S = 0.02               # for something loose, at most
PAUSE_S = 0.01              # between two moments, on the average
HALTS_MAX = 20              # of a node, until one finds something loose
MOMENTS_MAX = 20000


class Moment(NamedTuple):
    """One instant. `folders` and `ends`: each node's recording, and its length then."""
    folders: tuple
    ends: tuple
    received: int           # lines that the client had
    loose: frozenset        # parts of disks with writes that were not flushed


def part_of_disk(offset, disk_bytes):
    if offset < VOTES_END:
        return "superblocks" if offset < SUPERBLOCKS else "votes"
    return "log" if offset < LOG_OFFSET + max(LOG_BYTES_MIN, disk_bytes // 4) else "store"


class Recorder:
    """Watches the recordings of all nodes from a thread of its own. Idle while a node is not followed, or no client is there."""

    def __init__(self, nodes, disk_bytes):
        self.nodes = nodes
        self.disk_bytes = disk_bytes
        self.client = None
        self.moments = []
        self.random = random.Random()
        self.tails = {}
        self.lock = threading.Lock()
        self.fault = None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def follow(self, node, folder):
        with self.lock:
            self.tails[node] = write_log.Tail(folder)

    def leave(self, node):
        """What `node` does from here on is no moment. Returns the Tail of its recording."""
        with self.lock:
            return self.tails.pop(node)

    def watch(self, client):
        """Moments from here on are of what `client` receives; None: there are no moments."""
        with self.lock:
            self.client = client
            self.moments = []

    def end(self):
        self.ended.set()
        self.thread.join()
        for tail in self.tails.values():
            tail.close()

    def _run(self):
        try:
            while not self.ended.wait(self.random.uniform(0, 2 * PAUSE_S)):
                self._keep_moment()
        except (OSError, ValueError) as error:
            self.fault = error

    def _keep_moment(self):
        stop = time.monotonic() + LOOK_S
        moment = None
        while time.monotonic() < stop and not (moment and moment.loose):
            with self.lock:
                if self.client is None or len(self.tails) != len(self.nodes) or len(self.moments) >= MOMENTS_MAX:
                    return
                moment = self._look() or moment
        if moment:
            with self.lock:
                self.moments.append(moment)

    def _look(self):
        tails = [self.tails[node] for node in self.nodes]
        received = self.client.count
        ends = [tail.size() for tail in tails]
        if ends != [tail.size() for tail in tails]:
            return None    # no instant is known at which all were so long
        for tail, end in zip(tails, ends):
            tail.advance(end)
        loose = frozenset(part_of_disk(write.offset, self.disk_bytes) for tail in tails for write in tail.loose)
        return Moment(tuple(tail.folder for tail in tails), tuple(ends), received, loose)


class RecordedCluster(WatchedCluster):
    def __init__(self, **options):
        super().__init__(**options)
        self.recordings = os.path.join(self.parent, "recordings")
        self.disk_bytes = options["disk"] << 20
        self.record()

    @property
    def recorded(self):
        return self.recorder is not None

    def record(self):
        """From the next start on."""
        self.environment = {"EIDOLON_QEMU": os.path.join(FOLDER, "recording_qemu"), "EIDOLON_RECORDING": self.recordings}
        self.recorder = Recorder(self.nodes, self.disk_bytes)

    def stop_recording(self):
        """Nodes that run are recorded on, but without moments."""
        if self.recorder:
            self.recorder.end()
        self.environment = {}
        self.recorder = None

    def remove(self):
        self.stop_recording()
        super().remove()

    def start(self, *arguments, **options):
        super().start(*arguments, **options)
        if self.recorded:
            for node in self.nodes:
                self._follow(node)

    def start_node(self, node):
        super().start_node(node)
        if self.recorded:
            self._follow(node)

    def _follow(self, node):
        self.recorder.follow(node, self.newest_recording(node))

    def newest_recording(self, node):
        starts = os.path.join(self.recordings, f"node{node}")
        return os.path.join(starts, max(os.listdir(starts), key=int))

    def disk(self, node):
        return os.path.join(self.directory, f"node{node}", "disk.img")

    def cut_power(self, node):
        """The power of `node` fails. Returns the folder of its recording and how long that was then.

        Its QEMU is halted in the midst of what it does, preferably with something loose; then its cables are cut before it goes on, so that
        nobody hears what it did later; and it is asked to end, so that its recording becomes complete."""
        pid = self.pids()[node]
        tail = self.recorder.leave(node)
        try:
            halt(pid)
            for _ in range(HALTS_MAX - 1):
                tail.advance(tail.size())
                if tail.loose:
                    break
                os.kill(pid, signal.SIGCONT)
                time.sleep(random.uniform(0, 2 * PAUSE_S))
                halt(pid)
            end = tail.size()
            self.isolate(node)
        finally:
            os.kill(pid, signal.SIGCONT)
        tail.close()
        self.stop_node(node)
        self.heal()
        return tail.folder, end

    def rebuild(self, node, folder, end, seed):
        return write_log.rebuild(folder, end, self.disk(node), random.Random(f"{seed} {node}"))


    def replay_is_disk(self, node):
        """Is the whole recording of `node`, which is down, the disk that it left?"""
        folder = self.newest_recording(node)
        copy = os.path.join(folder, "replayed")
        write_log.rebuild(folder, os.stat(os.path.join(folder, "writes")).st_size, copy)
        same = filecmp.cmp(copy, self.disk(node), shallow=False)
        os.unlink(copy)
        return same


def halt(pid):
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: is_halted(pid), f"all threads of process {pid} are halted", pause_s=0.001)


def is_halted(pid):
    tasks = f"/proc/{pid}/task"
    for task in os.listdir(tasks):
        with contextlib.suppress(FileNotFoundError), open(f"{tasks}/{task}/stat") as file:
            if file.read().rpartition(")")[2].split()[0] != "T":
                return False
    return True
