"""What a recording of writes says, and what a loss of power leaves of it (write_log.py)."""

import os
import random
import shutil
import tempfile
import unittest

import write_log
from write_log import ENTRY, FLUSH, FUA, MAGIC, SECTOR_BYTES, SUPERBLOCK, VERSION

DISK_SECTORS = 64
DISCARD, MARK = 4, 8


def sectors(letters):
    """One sector full of each letter."""
    return b"".join(letter.encode() * SECTOR_BYTES for letter in letters)


class WriteLog(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="eidolon-")
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.disk = os.path.join(self.folder, "disk")
        with open(os.path.join(self.folder, "before"), "wb") as file:
            file.write(sectors("." * DISK_SECTORS))
        self.log = SUPERBLOCK.pack(MAGIC, VERSION, 0, SECTOR_BYTES).ljust(SECTOR_BYTES, b"\0")

    def add(self, flags, sector=0, letters="", length=0):
        self.log += ENTRY.pack(sector, len(letters), flags, length).ljust(SECTOR_BYTES, b"\0") + sectors(letters)

    def rebuilt(self, seed=None, end=None):
        """One letter for each sector that the disk has after the loss of power, and the fate of the loose writes."""
        with open(os.path.join(self.folder, "writes"), "wb") as file:
            file.write(self.log)
        fate = write_log.rebuild(self.folder, len(self.log) if end is None else end, self.disk, seed if seed is None else random.Random(seed))
        with open(self.disk, "rb") as file:
            content = file.read()
        parts = [content[at:at + SECTOR_BYTES] for at in range(0, len(content), SECTOR_BYTES)]
        self.assertTrue(all(len(set(part)) == 1 for part in parts), "a sector is never torn")
        return "".join(chr(part[0]) for part in parts).rstrip("."), fate

    def every_outcome(self):
        return {self.rebuilt(seed)[0] for seed in range(60)}

    def test_write_log_without_a_flush_anything_may_be_lost(self):
        self.add(0, 0, "a")
        self.add(0, 1, "b")
        self.assertEqual(self.every_outcome(), {"", "a", ".b", "ab"})

    def test_write_log_before_a_flush_nothing_is_lost(self):
        self.add(0, 0, "a")
        self.add(FLUSH)
        self.add(0, 1, "b")
        self.assertEqual(self.every_outcome(), {"a", "ab"})

    def test_write_log_fua_its_own_write_only_is_durable(self):
        self.add(0, 0, "a")
        self.add(FUA, 1, "b")
        self.assertEqual(self.every_outcome(), {".b", "ab"})

    def test_write_log_loose_write_is_torn_between_sectors(self):
        self.add(0, 0, "abc")
        outcomes = self.every_outcome()
        self.assertLessEqual({"", "a", "ab", ".bc", "a.c", "abc"}, outcomes)

    def test_write_log_overwritten_old_or_new_content_is_there(self):
        self.add(0, 0, "a")
        self.add(FLUSH)
        self.add(0, 0, "b")
        self.assertEqual(self.every_outcome(), {"a", "b"})

    def test_write_log_same_seed_same_disk(self):
        for sector in range(20):
            self.add(0, sector, "abc")
        self.assertEqual(self.rebuilt(7), self.rebuilt(7))

    def test_write_log_cut_in_an_entry_it_is_not_there(self):
        self.add(0, 0, "a")
        whole = len(self.log)
        self.add(0, 1, "b")
        for end in range(whole, len(self.log), 100):
            self.assertEqual(self.rebuilt(end=end)[0], "a")
        self.assertEqual(self.rebuilt()[0], "ab")

    def test_write_log_that_is_none_is_refused(self):
        for flags, letters, length in ((DISCARD, "", 0), (MARK, "", 5), (FLUSH, "a", 0), (0, "", 0)):
            self.add(flags, 0, letters, length)
            self.add(FLUSH)
            with self.assertRaises(ValueError):
                self.rebuilt()
            self.log = self.log[:SECTOR_BYTES]
        self.add(FLUSH)
        self.log = b"x" + self.log[1:]
        with self.assertRaises(ValueError):
            self.rebuilt()

    def test_write_log_growing_what_is_loose_is_known(self):
        self.add(0, 3, "ab")
        self.rebuilt()
        tail = write_log.Tail(self.folder)
        self.addCleanup(tail.close)
        tail.advance(tail.size())
        self.assertEqual([(write.offset, write.bytes) for write in tail.loose], [(3 * SECTOR_BYTES, 2 * SECTOR_BYTES)])
        self.add(FLUSH)
        self.rebuilt()
        tail.advance(tail.size())
        self.assertEqual(tail.loose, [])
