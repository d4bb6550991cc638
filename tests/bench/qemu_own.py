"""QEMU's own answer: savevm, and live migration, of one Linux guest with a durable counter (Redis, appendfsync always, not replicated)."""
import json
import os
import socket
import subprocess
import time

import counters
from crowd import ask_once
from guests import Guests
from lab import wait_until

START_S = 120
MOVE_S = 120


class Qmp:
    """QEMU's control socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(MOVE_S)
        self.socket.connect(path)
        self.file = self.socket.makefile("rwb")
        self.file.readline()
        self.execute("qmp_capabilities")

    def execute(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        self.file.flush()
        while line := self.file.readline():
            said = json.loads(line)
            if "error" in said:
                raise AssertionError(f"QEMU, {command}: {said['error']}")
            if "return" in said:
                return said["return"]
        raise ConnectionError(f"QEMU closed its control socket during {command}")

    def close(self):
        self.file.close()
        self.socket.close()


class LoneGuest(Guests):
    """One guest; a cluster of `nodes` machines on which it can be."""

    def __init__(self, nodes, disk_format):
        super().__init__(nodes, "redis-alone")
        self.disk_format = disk_format
        self.host = 1
        if disk_format == "qcow2":
            raw = os.path.join(self.parent, "disk.raw")
            os.rename(self.disk(1), raw)
            subprocess.run(["qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", raw, self.disk(1)], check=True, timeout=60)
            os.unlink(raw)

    def start(self):
        self.begin(1)
        self.at = self.address(6379, 1)
        wait_until(self.answers, "the counter of the guest answers", START_S)

    def begin(self, node, options=""):
        """Boot on `node`, or with -incoming wait for the guest there: always the same disk and the same card."""
        path = os.path.join(self.parent, f"qmp{node}")
        self.environment.update({
            "GUEST_DISK": f"file=node1/disk.img,format={self.disk_format}",
            "GUEST_MAC": "52:54:00:e1:00:01",
            "GUEST_OPTIONS": f"-qmp unix:{path},server=on,wait=off {options}",
        })
        self.start_node(node)

    def qmp(self, node):
        return Qmp(os.path.join(self.parent, f"qmp{node}"))

    def answers(self):
        try:
            return ask_once(counters.LoneRedis, self.at, timeout_s=2)
        except (OSError, counters.Refused):
            return None

    def snapshot(self, name):
        """savevm; returns how long the command took. The guest stands still meanwhile."""
        qmp = self.qmp(self.host)
        try:
            began = time.monotonic()
            said = qmp.execute("human-monitor-command", **{"command-line": f"savevm {name}"})
            taken = time.monotonic() - began
            said += qmp.execute("human-monitor-command", **{"command-line": f"delvm {name}"})
        finally:
            qmp.close()
        if said:
            raise AssertionError(f"savevm: {said}")
        return taken

    def move(self):
        """Live migration to the other machine; returns QEMU's own account of it. The old QEMU is ended."""
        source, target = self.host, 3 - self.host
        channel = os.path.join(self.parent, "channel")
        self.begin(target, f"-incoming unix:{channel}")
        wait_until(lambda: os.path.exists(channel), "the other QEMU waits for the guest")
        qmp = self.qmp(source)
        try:
            qmp.execute("migrate", uri=f"unix:{channel}")
            account = wait_until(lambda: ended(qmp.execute("query-migrate")), "the guest has moved", MOVE_S)
        finally:
            qmp.close()
        self.kill(source)
        if os.path.exists(channel):
            os.unlink(channel)
        self.host = target
        return account


def ended(account):
    if account.get("status") in ("failed", "cancelled"):
        raise AssertionError(f"migration: {account}")
    return account if account.get("status") == "completed" else None
