"""Nodes on a wire that takes ordinary frames only: the card says nothing of larger ones."""

import programs
from lab import TestCase, altered_hardware
from scenario import CATCH_UP_S

BALLAST_MIB = 16
REFILLS = 3


class OrdinaryWire(TestCase):
    def test_ordinary_wire_carries_large_epochs_and_a_blank_disk_and_no_link_is_torn(self):
        cluster = self.cluster(environment=altered_hardware((r",host_mtu=\d+", "")))
        cluster.wait_ok()
        self.assertIn("packets of 1500 bytes", cluster.log(1))
        for _ in range(REFILLS):
            cluster.execute(programs.ballast("ballast", BALLAST_MIB))
        standby = cluster.wait_host() % 3 + 1
        cluster.kill(standby)
        cluster.lose_disk(standby)
        cluster.start_node(standby)
        cluster.wait_ok(CATCH_UP_S)
        for node in (1, 2, 3):
            self.assertNotIn("out of segments", cluster.log(node))
