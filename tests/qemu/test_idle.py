"""Nothing happens (point 8 of tests/README.md: IDLE)."""

import os
import socket
import time

from lab import wait_until
from scenario import Scenario

IDLE_SECONDS = 10
SETTLED_SECONDS = 6  # without an epoch: the connections of earlier commands have been forgotten by then
CORE_SHARE_MAX = 0.10

BLOCKED_PROGRAM = """
import socket, _thread

def block():
    listener = socket.socket()
    listener.bind(("0.0.0.0", 8003))
    listener.listen(1)
    listener.accept()

_thread.start_new_thread(block, ())
"""


def processor_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Idle(Scenario):
    PROGRAM = BLOCKED_PROGRAM

    def progress(self):
        status = self.cluster.status()
        return [(node["commit_index"], node["term"], node["worlds"][0]["epoch"]) for node in status["nodes"]]

    def test_idle_client_attached_and_thread_in_accept_nothing_moves(self):
        """IDLE: no epochs, no log entries, and hardly any processor time."""
        host, _, port = self.cluster.status()["worlds"][0]["attach"].partition(":")
        with socket.create_connection((host, int(port))) as viewer:
            viewer.sendall(b"terminal viewer 80x24\n")
            self.assertTrue(viewer.recv(1))

            def stands_still():
                before = self.progress()
                time.sleep(SETTLED_SECONDS)
                return before == self.progress()

            wait_until(stands_still, "the world did not become idle")
            pids = self.cluster.pids()
            before, used = self.progress(), {node: processor_seconds(pid) for node, pid in pids.items()}
            began = time.monotonic()
            time.sleep(IDLE_SECONDS)
            elapsed = time.monotonic() - began
            shares = {node: (processor_seconds(pid) - used[node]) / elapsed for node, pid in pids.items()}
            self.assertEqual(before, self.progress())
        print("    share of a core:", ", ".join(f"node {node} {share:.1%}" for node, share in shares.items()))
        self.assertLess(max(shares.values()), CORE_SHARE_MAX, f"share of a core by node: {shares}")
