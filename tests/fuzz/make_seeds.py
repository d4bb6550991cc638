#!/usr/bin/env python3
"""Writes the seeds: small inputs that get each target past its first checks. Run in tests/fuzz; the results are in the repository."""
import os
import struct


def seed(target, name, *parts):
    os.makedirs(f"seeds/{target}", exist_ok=True)
    with open(f"seeds/{target}/{name}", "wb") as out:
        out.write(b"".join(bytes(part) if not isinstance(part, bytes) else part for part in parts))


def boot_config(node, count, mib, heartbeat, election):
    return struct.pack("<QII16sIIQII", 0, 1, 368, b"cluster", node, count, mib << 20, heartbeat, election) + bytes(312)


seed("boot_config", "good", [3], boot_config(2, 3, 256, 50, 500))
seed("boot_config", "unsealed", [0], boot_config(2, 3, 256, 50, 500))

# version, abi_version, world_number, life; memory, epoch, clock, wall clock; waiting, host; wait deadline, resumed, epoch; segments, stop code
record = struct.pack("<4I4Q2I3Q2I", 1, 1, 1, 1, 16 << 20, 1, 5, 6, 0, 1, 0, 0, 0, 2, 0)
record += struct.pack("<8I", 0, 16, 2, 0, 512, 100, 3, 0)
seed("world_record", "two_segments", [3], record)
seed("world_record", "overlap", [3], record.replace(struct.pack("<2I", 512, 100), struct.pack("<2I", 15, 100)))

front = struct.pack("<3Q", 0x0101, 0x0102, 5)
entry = struct.pack("<QII", 5, 2, 0) + bytes(80)
command = struct.pack("<QII", 5, 1, 16) + struct.pack("<IIQIIII", 1, 1, 3, 0, 1, 16, 0) + bytes(48)
seed("message", "append", [1, 16, 0, 0], front, struct.pack("<3QII", 7, 5, 6, 2, 0), entry, command)
seed("message", "append_result", [2, 0, 0, 0], front, struct.pack("<2Q2HI", 0, 7, 0, 0, 0))
seed("message", "vote", [3, 0, 0, 0], front, struct.pack("<2Q8B", 7, 5, 0, 1, *[0] * 6))
seed("message", "vote_result", [4, 0, 0, 0], front, struct.pack("<2B3H", 1, 1, 0, 0, 0))
seed("message", "timeout_now", [5, 0, 0, 0], front, struct.pack("<2Q", 7, 5))
seed("message", "removed", [6, 0, 0, 0], front)
seed("message", "members", [0, 0, 0, 0], struct.pack("<II", 2, 0), struct.pack("<QIIQII", 0x0101, 1, 0, 0x0102, 0, 0))


def item(page, kind, body=b"", runs=()):
    packed = b"".join(struct.pack("<I", offset | (count - 1) << 12)[:3] for offset, count in runs)
    return struct.pack("<IH", page, kind << 14 | len(runs)) + packed + body


items = item(3, 0, b"x" * 9, [(8, 4), (100, 5)]) + item(9, 2) + item(18, 0, b"z", [(4095, 1)])
seed("delta", "runs_and_zero", [3], struct.pack("<H", len(items)), items, record)
raw = item(5, 1, bytes(range(256)) * 16)
seed("delta", "raw", [3], struct.pack("<H", len(raw)), raw, record)
seed("delta", "encoded_record", [1], struct.pack("<H", 0), struct.pack("<H", 1), struct.pack("<I", 0 | 15 << 12)[:3], record[:16])

seed("vote", "two_slots", [2, 0, 4, 7, 2, 3, 2, 0, 5, 8, 2, 3], [9, 1, 2])
seed("vote", "foreign_and_good", [2, 1, 9, 7, 2, 3, 3, 0x20, 5, 8, 2, 3, 9, 1, 1, 7, 2, 2], [9, 1, 2])


def batch(block, flags, sequence, before, *records):
    return bytes([block, flags | len(records), sequence, before]) + b"".join(records) + b"\0"


barrier, body, members = b"\1", b"\0\5\x20", b"\2\1\x41"
seed("log", "three_batches", [1, 0, 3], batch(0, 0x40, 1, 1, body), batch(1, 0x40, 2, 2, body, barrier), batch(2, 0x40, 3, 4, body))
seed("log", "truncation", [1, 0, 3], batch(0, 0x40, 1, 1, body, body), batch(1, 0x80, 2, 2, barrier), batch(2, 0x80, 3, 3))
seed("log", "torn", [0, 0, 2], batch(0, 0x40, 1, 0, members), batch(1, 0x40, 2, 1, body)[:-1], [0x80, 50, 0])

for number, text in enumerate(["status", "metrics", "ping some words", "move 2", "move", "move 99999999999999999999", "reset", "x" * 300, "a\tb", ""]):
    seed("management", f"line_{number}", [7], text.encode() + b"\n")
seed("management", "several", [63], b"ping a\nstatus\n\nmove 1\nping b\n")

for side in (0, 1):
    seed("channel", f"mended_{side}", [2 | side, 20], bytes([7]) * 240)
    seed("channel", f"raw_{side}", [side, 255], b"EIDC" + bytes(100))

hello = [0, 0, 0]
seed("peers", "messages", hello, [4, 0, 5, 7, 1, 2, 3, 4, 9], [4, 2, 3, 1, 1, 1, 2, 0], [5, 0x10, 2, 9, 9, 1])
seed("peers", "altered", hello, [4, 0, 5, 7, 1, 2, 3, 4, 9], [4, 8, 2, 9, 9, 1, 0, 1])
seed("peers", "again", hello, [4, 0, 2, 7, 1, 9, 1], hello, [4, 4, 2, 255, 1, 1], [2 | 31 << 3])
seed("peers", "refused", [3, 1, 0], [4, 0, 1, 7, 1])

manifest = [5, 0, 1, 9, 4]
seed("catchup", "install", [0], [0], manifest, [1, 0, 0, 0], [1, 0, 0, 0], [0x1f] * 6)
seed("catchup", "wrong_page", [0], [0], manifest, [1, 1, 9, 9, 9, 9, 9, 0, 0])
seed("catchup", "serve", [3], [3, 0, 0, 3, 0, 5, 10], [3, 0, 1, 2, 1, 1], [0x34])

seed("store", "two_pages", [2], [5, 1], [1, 0, 2, 3, 5, 0, 4, 9, 6, 0, 7, 10], [8, 1, 0, 9])
seed("store", "empty", [2], [0, 1])
seed("store", "two_superblocks", [3], [1, 1, 1, 0, 9], [1, 2, 1, 0, 10])

seed("group", "follower", [3], [1, 1, 1, 0, 0], [2, 1, 1, 0, 0], [0x80, 0, 2, 1, 1, 1, 0], [0x85, 0, 3, 3, 3, 3, 1, 2, 3, 0])
seed("group", "votes", [3], [1, 1, 1, 0, 0], [2, 1, 1, 0, 0], [0, 0, 2, 1, 1, 1, 0], [5, 2, 4, 3, 3, 1, 0, 0], [0xf9])
seed("group", "alone", [11], [1, 1, 1, 0, 0], [2, 1, 1, 0, 0], [0xf9], [0x42], [0x42], [0xf9])
seed("group", "with_log", [33], [2, 2, 1, 0, 0], [2], batch(0, 0x40, 1, 1, body), batch(1, 0x40, 2, 2, barrier))

seed("world", "output", [0], [2, 3, 0, 0, 0, 4], [0x11, 0], [2, 131, 14, 0], [0x11])
seed("world", "calls", [0], [4, 4, 1, 6, 20], [4, 6, 0x11, 6, 0, 5], [4, 1, 0, 255] + [255] * 8 + [1, 0, 0], [4, 8, 0])
seed("world", "takeover", [0], [11, 0, 1, 9, 5], [2, 2, 0, 0, 0], [8], [2, 1, 0, 0], [0], [8], [0x31])
seed("world", "rings", [0], [3, 1, 200], [0x11], [3, 2, 200], [6, 8], [3, 4, 255])
seed("world", "full", [255], [10], [11, 0, 1, 200, 1], [11, 0, 2, 200, 1], [0x71], [0xfa], [0xf0])

program = 64 + 56  # the second program header
seed("world_elf", "whole", [0])
seed("world_elf", "huge", [1, program + 40, 8, 255], struct.pack("<Q", 1 << 62))
seed("world_elf", "at_the_end", [1, program + 16, 8, 255], struct.pack("<Q", 0x10000000 + (16 << 20) - 4096), [0, 0])
seed("world_elf", "cut", [0], struct.pack("<H", 5000))

seed("node", "whole", [0] * 8)
seed("node", "changed", [0, 1, 0, 4, 9, 0], [0])
seed("node", "made", [0, 2, 7, 0, 1, 40], bytes(40), [0xf0])
seed("node", "messages", [3, 0x20], bytes(16), [1], [3, 0x12], bytes(8), [0], [3, 1], [1])
