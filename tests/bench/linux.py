"""The same MicroPython, built for Linux, in a Linux guest on the machine that a node of ours would have been: tests/perf_bench again."""
import os
import re

from guests import FOLDER, Guests
from lab import ROOT, wait_until

PYTHON = os.path.join(ROOT, "build", "bench", "micropython", "micropython")
HEAP = "32m"       # about what the world gives to one session
DEADLINE_S = 900

INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev 2>/dev/null
for program in /perf_bench/*; do
    echo "program ${program##*/}"
    micropython -X heapsize=HEAP $program
done
echo "programs ended"
exec sleep 1000000
""".replace("HEAP", HEAP)


def archive(files):
    """A cpio archive (newc) of `files`: bytes by name. Unpacked over another one, it replaces what has the same name."""
    parts = []
    for number, (name, content) in enumerate([*files.items(), ("TRAILER!!!", b"")], 1):
        fields = (number, 0o40755 if content is None else 0o100755, 0, 0, 1, 0, len(content or b""), 0, 0, 0, 0, len(name) + 1, 0)
        head = ("070701" + "".join(f"{field:08x}" for field in fields)).encode() + name.encode() + b"\0"
        for part in (head, content or b""):
            parts.append(part + bytes(-len(part) % 4))
    return b"".join(parts)


def available():
    return os.path.exists(PYTHON) and os.path.exists(os.path.join(FOLDER, "initrd"))


def measure_on_linux(sources):
    """What each of `sources` (by name) prints there."""
    with open(PYTHON, "rb") as file:
        files = {"bin/micropython": file.read(), "init": INIT.encode(), "perf_bench": None}
    files.update({f"perf_bench/{name}": source.encode() for name, source in sources.items()})
    path = os.path.join(FOLDER, "initrd-micropython")
    with open(os.path.join(FOLDER, "initrd"), "rb") as base, open(path, "wb") as file:
        file.write(base.read())
        file.write(bytes(-file.tell() % 4) + archive(files))
    with Guests(1, "none") as guest:
        guest.environment["GUEST_INITRD"] = path
        guest.start()
        wait_until(lambda: "programs ended" in guest.log(1), "the programs have ended on Linux", DEADLINE_S, pause_s=1)
        parts = re.split(r"^program (\S+)\s*$", guest.log(1), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))
