"""A node's disk is gone (point 4 of tests/README.md: DURABLE, NO-AMNESIA)."""

import re

import programs
from clients import CounterClient
from lab import wait_until
from scenario import Scenario

BALLAST_MIB = 6       # so that a catch-up has something to carry
REFILLS_MAX = 20      # of the ballast, until it has filled the log so far that it is cut
REFILLS_MISSED = 5    # so many that what a node misses is not in the log any more
PAGES_PULLED_MIN = 1000


class LostDisk(Scenario):
    """The disks are as small as they may be, so that the log is cut: a lost disk is then caught up by pages, not by the log alone."""

    OPTIONS = {"world_memory": 32, "disk": 100}
    PROGRAM = programs.COUNTER

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        try:
            for _ in range(REFILLS_MAX):
                cls.ballast = cls.cluster.execute(programs.ballast("root.ballast", BALLAST_MIB)).strip()
                if all(re.search(r"checkpoint of epoch [1-9]\d* is durable", cls.cluster.log(node)) for node in cls.cluster.nodes):
                    return
            raise AssertionError("not every node made a checkpoint")
        except BaseException:
            cls.cluster.explain()
            raise

    def setUp(self):
        super().setUp()
        self.client = CounterClient(self.cluster.address(programs.COUNTER_PORT))
        self.addCleanup(self.client.close)
        self.client.wait_more(20)

    def lose_disk(self, node):
        """Kill `node` and make its disk blank. Returns the incarnation it had."""
        incarnation = self.cluster.node(node)["incarnation"]
        self.cluster.kill(node)
        self.cluster.lose_disk(node)
        return incarnation

    def assert_is_voter_again(self, node, incarnation):
        self.cluster.wait_ok()
        self.assertNotEqual(self.cluster.node(node)["incarnation"], incarnation, "a blank disk is a new incarnation")

    def assert_all_there(self):
        self.client.wait_more(20)
        self.assertEqual(self.cluster.execute(programs.digest("root.ballast")).strip(), self.ballast)

    def begin_catch_up(self, node):
        """Start `node` and return while it pulls the pages that it lacks."""
        said = len(self.cluster.log(node))
        self.cluster.start_node(node)

        def under_way():
            log = self.cluster.log(node)[said:]
            return re.search(r"catch-up: .* (\d+) pages are missing here", log)

        pages = int(wait_until(under_way, f"node {node} begins to catch up", pause_s=0).group(1))
        self.assertGreater(pages, PAGES_PULLED_MIN)

    def lose_disk_then_kill_another(self, victim, other):
        incarnation = self.lose_disk(victim)
        self.begin_catch_up(victim)
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
        self.begin_catch_up(host)
        self.assert_is_voter_again(host, incarnation)
        self.cluster.kill(self.cluster.wait_host())
        self.assert_all_there()

    def test_lost_disk_host_moves_during_catch_up_all_is_there(self):
        """DURABLE: a planned takeover while another node catches up."""
        host = self.cluster.wait_host()
        blank, heir = self.cluster.others(host)
        incarnation = self.lose_disk(blank)
        self.begin_catch_up(blank)
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
        self.begin_catch_up(blank)
        self.cluster.kill(host)
        self.cluster.wait_state("no-quorum")
        self.cluster.start_node(host)
        self.assert_is_voter_again(blank, incarnation)
        self.assert_all_there()

    def test_catch_up_of_node_left_behind_host_dies_meanwhile_world_goes_on(self):
        """DURABLE: a node that kept its disk and missed more than the log holds votes while it catches up."""
        host = self.cluster.wait_host()
        late, _ = self.cluster.others(host)
        self.cluster.kill(late)
        for _ in range(REFILLS_MISSED):
            self.__class__.ballast = self.cluster.execute(programs.ballast("root.ballast", BALLAST_MIB)).strip()
        host = self.cluster.wait_host()
        self.begin_catch_up(late)
        self.cluster.kill(host)
        self.client.wait_other_host(host)
        self.assert_all_there()
        self.cluster.start_node(host)
        self.cluster.wait_ok()
        self.assert_all_there()
