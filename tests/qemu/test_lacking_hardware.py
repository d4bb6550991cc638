"""Machines that lack something: a node does without it, or says in a sentence what is missing and what to do."""

import time

from lab import TestCase, altered_hardware, wait_until
from test_idle import processor_seconds

NO_SECOND_SERIAL_PORT = ("\n-serial\nchardev:management\n", "\n")
LOOK_S = 3
CORE_SHARE_MAX = 0.5


class LackingHardware(TestCase):
    def test_lacking_second_serial_port_node_takes_part_and_sleeps(self):
        cluster = self.cluster()
        cluster.wait_ok()
        host = cluster.wait_host()
        silent, other = [node for node in (1, 2, 3) if node != host]
        cluster.kill(silent)
        cluster.environment = altered_hardware(NO_SECOND_SERIAL_PORT)
        cluster.start_node(silent)
        wait_until(lambda: "no second serial port" in cluster.log(silent), "the node says that it has no management port")
        cluster.kill(other)
        self.assertEqual(cluster.execute("print(6 * 7)").strip(), "42")  # by the votes of the host and of the silent node
        pid = cluster.node(silent)["pid"]

        def sleeps():
            used = processor_seconds(pid)
            time.sleep(LOOK_S)
            return processor_seconds(pid) - used < CORE_SHARE_MAX * LOOK_S
        wait_until(sleeps, "the silent node halts its processor")
