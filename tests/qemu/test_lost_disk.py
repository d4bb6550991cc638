"""A node's disk is gone (point 4 of tests/README.md: DURABLE, NO-AMNESIA)."""

import programs
from clients import CounterClient
from lab import wait_until
from scenario import Scenario

BALLAST_MIB = 12  # so that a catch-up takes a while


class LostDisk(Scenario):
    PROGRAM = programs.COUNTER

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        try:
            cls.ballast = cls.cluster.execute(programs.ballast("root.ballast", BALLAST_MIB)).strip()
        except BaseException:
            cls.cluster.explain()
            raise

    def setUp(self):
        super().setUp()
        self.client = CounterClient(self.cluster.address(programs.COUNTER_PORT))
        self.addCleanup(self.client.close)
        self.client.wait_more(20)

    def lose_disk(self, node):
        """Kill `node`, make its disk blank, start it. Returns the incarnation it had."""
        incarnation = self.cluster.node(node)["incarnation"]
        self.cluster.kill(node)
        self.cluster.lose_disk(node)
        self.cluster.start_node(node)
        return incarnation

    def assert_is_voter_again(self, node, incarnation):
        self.cluster.wait_ok()
        self.assertNotEqual(self.cluster.node(node)["incarnation"], incarnation, "a blank disk is a new incarnation")

    def assert_all_there(self):
        self.client.wait_more(20)
        self.assertEqual(self.cluster.execute(programs.digest("root.ballast")).strip(), self.ballast)

    def lose_disk_then_kill_another(self, victim, other):
        incarnation = self.lose_disk(victim)
        self.assert_is_voter_again(victim, incarnation)
        self.cluster.kill(other)
        self.assert_all_there()

    def test_lost_disk_of_standby_it_becomes_voter_then_host_dies(self):
        """DURABLE, NO-AMNESIA: two of three are enough, one of them the node with the new disk."""
        host = self.cluster.wait_host()
        self.lose_disk_then_kill_another(self.cluster.others(host)[0], host)

    def test_lost_disk_of_host_it_becomes_voter_then_new_host_dies(self):
        """DURABLE, NO-AMNESIA: the same with the disk of the host."""
        host = self.cluster.wait_host()
        incarnation = self.lose_disk(host)
        self.client.wait_other_host(host)
        self.assert_is_voter_again(host, incarnation)
        self.cluster.kill(self.cluster.wait_host())
        self.assert_all_there()

    def test_lost_disk_host_moves_during_catch_up_all_is_there(self):
        """DURABLE: a takeover while another node catches up."""
        host = self.cluster.wait_host()
        blank, heir = self.cluster.others(host)
        incarnation = self.lose_disk(blank)
        wait_until(lambda: self.cluster.node(blank)["state"] == "joining", "the node with the blank disk did not begin to join", pause_s=0)
        self.cluster.command("move", heir)
        self.client.wait(lambda: self.client.node == heir, f"a line of node {heir}")
        self.assert_is_voter_again(blank, incarnation)
        self.cluster.kill(heir)
        self.assert_all_there()

    def test_lost_disk_host_dies_during_catch_up_world_waits_for_it(self):
        """DURABLE, NO-AMNESIA: a blank node does not vote; with the host down there is no quorum until that returns, and nothing is lost."""
        host = self.cluster.wait_host()
        blank, _ = self.cluster.others(host)
        incarnation = self.lose_disk(blank)
        wait_until(lambda: self.cluster.node(blank)["state"] == "joining", "the node with the blank disk did not begin to join", pause_s=0)
        self.cluster.kill(host)
        self.cluster.start_node(host)
        self.assert_is_voter_again(blank, incarnation)
        self.assert_all_there()
