"""What recording_qemu recorded of a disk, and the disk as a loss of power leaves it.

The format is that of the Linux kernel's dm-log-writes (drivers/md/dm-log-writes.c), little-endian, in sectors: a superblock; then for each request
a sector with `sector, nr_sectors, flags, data_len`, and behind it the data of a write. An entry stands where the write was done, or the
flush was asked for. A flush makes durable every write before it; FUA makes its own write durable. What is behind the last flush is
loose: when power fails, each such write may be on the disk, or not, or some of its sectors are.

A write done later can be in the file while the one before it is on its way there: then there are zeros for that. QEMU is asked to
end, which completes them all, before a recording is replayed; only Tail reads one that grows.
"""

import os
import struct
import subprocess
from typing import NamedTuple

SECTOR_BYTES = 512
SUPERBLOCK = struct.Struct("<QQQI")
MAGIC, VERSION = 0x6A736677736872, 1
ENTRY = struct.Struct("<QQQQ")
FLUSH, FUA = 1, 2


class Entry(NamedTuple):
    flags: int
    offset: int    # on the disk
    bytes: int     # of data
    data: int      # where the data stands in the recording


class Fate(NamedTuple):
    """What became of the loose writes of one disk."""
    lost: list
    whole: list
    torn: list

    @property
    def loose(self):
        return len(self.lost) + len(self.whole) + len(self.torn)


def read_entry(log, at):
    """The entry at byte `at` of the recording, or None if nothing is there yet."""
    sector, count, flags, length = ENTRY.unpack(log_read(log, at, ENTRY.size))
    if (sector, count, flags, length) == (0, 0, 0, 0):
        return None
    if flags & ~(FLUSH | FUA) or length != 0 or (flags & FLUSH and count != 0):
        raise ValueError(f"byte {at} of the recording: sector {sector} count {count} flags {flags} length {length} is nothing that a node asks for")
    return Entry(flags, sector * SECTOR_BYTES, count * SECTOR_BYTES, at + SECTOR_BYTES)


def log_read(log, at, count):
    data = os.pread(log, count, at)
    if len(data) != count:
        raise ValueError(f"the recording ends within {count} bytes at {at}")
    return data


def read_entries(log, end):
    """All entries that are whole in the first `end` bytes of the recording `log` (a descriptor)."""
    if end <= SECTOR_BYTES:
        return []
    entries = []
    magic, version, _, sector_bytes = SUPERBLOCK.unpack(log_read(log, 0, SUPERBLOCK.size))
    at = SECTOR_BYTES
    while at + SECTOR_BYTES <= end:
        entry = read_entry(log, at)
        if entry is None:
            raise ValueError(f"the recording has no entry at byte {at} of {end}")
        at = entry.data + entry.bytes
        if at <= end:
            entries.append(entry)
    # QEMU writes the superblock with the first flush.
    if (magic, version, sector_bytes) != (MAGIC, VERSION, SECTOR_BYTES) and any(entry.flags & FLUSH for entry in entries):
        raise ValueError(f"not a recording of this format: magic {magic:#x} version {version} sectors of {sector_bytes}")
    return entries


def split(entries):
    """(durable writes, loose writes), each in order."""
    flushes = [at for at, entry in enumerate(entries) if entry.flags & FLUSH]
    covered = flushes[-1] if flushes else 0
    durable = [entry for at, entry in enumerate(entries) if entry.bytes and (at < covered or entry.flags & FUA)]
    loose = [entry for at, entry in enumerate(entries) if entry.bytes and at >= covered and not entry.flags & FUA]
    return durable, loose


def draw_fate(loose, random):
    """Which of the loose writes are lost, whole or torn, and the sectors that are there of each. All are whole without a `random`."""
    fate, sectors = Fate([], [], []), []
    kept, torn = random.choice([(0, 0), (0.5, 0), (0, 1), (0.35, 0.3)]) if random else (1, 0)
    for write in loose:
        all_sectors = range(write.bytes // SECTOR_BYTES)
        draw = random.random() if random else 0
        if draw < kept:
            fate.whole.append(write)
            sectors.append(all_sectors)
        elif draw < kept + torn:
            fate.torn.append(write)
            present = random.randrange(1, max(2, len(all_sectors)))
            sectors.append(random.choice([all_sectors[:present], random.sample(all_sectors, present)]))
        else:
            fate.lost.append(write)
            sectors.append([])
    return fate, sectors


def rebuild(folder, end, disk, random=None):
    """Make `disk` what a loss of power leaves when the recording in `folder` was `end` bytes long; without `random`, as it was just before
    that. Returns the Fate of the loose writes."""
    subprocess.run(["cp", "--sparse=always", os.path.join(folder, "before"), disk + ".new"], check=True)
    with open(os.path.join(folder, "writes"), "rb", buffering=0) as file, open(disk + ".new", "r+b", buffering=0) as image:
        log, disk_file = file.fileno(), image.fileno()
        durable, loose = split(read_entries(log, end))
        for write in durable:
            os.pwrite(disk_file, log_read(log, write.data, write.bytes), write.offset)
        fate, sectors = draw_fate(loose, random)
        for write, present in zip(loose, sectors):
            for sector in present:
                at = sector * SECTOR_BYTES
                os.pwrite(disk_file, log_read(log, write.data + at, SECTOR_BYTES), write.offset + at)
    os.replace(disk + ".new", disk)
    return fate


class Tail:
    """Follows a recording that grows, to know what is loose at this moment."""

    def __init__(self, folder):
        self.folder = folder
        self.file = open(os.path.join(folder, "writes"), "rb", buffering=0)
        self.at = SECTOR_BYTES
        self.loose = []     # writes behind the last flush

    def size(self):
        return os.fstat(self.file.fileno()).st_size

    def advance(self, size):
        """Take in what stands in the first `size` bytes. An entry that is not there yet, before others that are, ends the look."""
        while self.at + SECTOR_BYTES <= size:
            entry = read_entry(self.file.fileno(), self.at)
            if entry is None or entry.data + entry.bytes > size:
                return
            self.at = entry.data + entry.bytes
            if entry.flags & FLUSH:
                self.loose = []
            elif not entry.flags & FUA:
                self.loose.append(entry)

    def close(self):
        self.file.close()
