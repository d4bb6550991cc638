"""A world that corrupts itself is stopped on all nodes, says why, and makes way for a fresh one (RING: it hurts nobody else)."""

import os
import pty
import subprocess

from lab import DEGRADED, EIDOLON, wait_until
from scenario import Scenario

# uctypes gives Python any address of its own world; the interpreter's code stands there and is not writable.
CORRUPT = "import uctypes\nuctypes.bytearray_at(0x10200000, 1)[0] = 7"
REASON = "wrote at 0x10200000"


class StoppedWorld(Scenario):
    def test_stopped_world_says_why_on_every_node_and_is_replaced(self):
        cluster = self.cluster
        cluster.execute("before = 1")
        self.assertNotEqual(cluster.try_command("exec", CORRUPT).returncode, 0)
        wait_until(lambda: all(world["state"] == "stopped" for node in cluster.status()["nodes"] for world in node["worlds"]),
                   "every node knows that the world was stopped")
        for node in cluster.nodes:
            self.assertIn(REASON, cluster.log(node))
        result = cluster.try_command("status")
        self.assertEqual(result.returncode, DEGRADED, str(result))
        self.assertIn(REASON, result.stdout)
        self.assertIn("world reset", result.stdout)
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        attach = subprocess.run([EIDOLON, "attach", cluster.directory], stdin=slave, capture_output=True, text=True, timeout=60)
        os.close(slave)
        self.assertNotEqual(attach.returncode, 0)
        self.assertIn(REASON, attach.stderr)

        host = cluster.status()["worlds"][0]["host"]
        cluster.kill(host)
        wait_until(lambda: cluster.status()["worlds"][0]["host"] not in (None, host), "another node hosts")
        self.assertIn(REASON, cluster.status()["worlds"][0]["reason"])
        cluster.start_node(host)

        cluster.command("world", "reset")
        cluster.wait_ok()
        self.assertEqual(cluster.execute("print('before' in globals())"), "False\n")
        self.assertNotEqual(cluster.try_command("world", "reset").returncode, 0)
        cluster.execute("after = 1")
