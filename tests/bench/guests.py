"""Linux guests on the machines that nodes of ours would have been: same command, switch, emulation, disks' caching (tests/bench/guest/)."""
import os
import shutil
import subprocess

from lab import ROOT
from scenario import WatchedCluster

FOLDER = os.path.join(ROOT, "build", "bench", "guest")
SOURCES = os.path.join(ROOT, "tests", "bench", "guest")
DISK_MIB = 512
MEMORY_MIB = 512


class Guests(WatchedCluster):
    """A cluster whose nodes boot Linux with `service` instead of our kernel. Only processes, network and disks of it are ours: `eidolon status`
    knows pids, and nothing else."""

    def __init__(self, nodes, service, fast=False):
        super().__init__(nodes, memory=MEMORY_MIB, disk=DISK_MIB)
        self.environment = {
            "EIDOLON_QEMU": os.path.join(SOURCES, "qemu"),
            "EIDOLON_KERNEL": os.path.join(FOLDER, "vmlinuz"),
            "GUEST_INITRD": os.path.join(FOLDER, "initrd"),
            "GUEST_APPEND": f"service={service}{' detection=fast' if fast else ''}",
        }
        for node in self.nodes:
            make_disk(self.disk(node))

    def disk(self, node):
        return os.path.join(self.directory, f"node{node}", "disk.img")

    def start(self):
        for node in self.nodes:
            self.start_node(node)


def make_disk(path):
    """An empty file system of the size of a node's disk, with nothing left to be done to it in the background."""
    with open(path, "wb") as file:
        file.truncate(DISK_MIB << 20)
    tool = shutil.which("mke2fs", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    subprocess.run([tool, "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", path], check=True, timeout=60)
