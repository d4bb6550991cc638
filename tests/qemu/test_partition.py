"""Cables are cut (points 5 and 11 of tests/README.md: GATE, ONE-STORY)."""

import re

import programs
from clients import CounterClient
from scenario import Scenario

UNDO_ATTEMPTS_MAX = 5


class Partition(Scenario):
    PROGRAM = programs.COUNTER + programs.SCRIBBLER

    def setUp(self):
        super().setUp()
        self.cluster.execute("scribbling = True\n_thread.start_new_thread(scribble, ())")
        self.client = self.counter_client()
        self.deposed = self.cluster.wait_host()

    def counter_client(self):
        client = CounterClient(self.cluster.address(programs.COUNTER_PORT))
        self.addCleanup(client.close)
        client.wait_more(20)
        return client

    def assert_deposed_returns(self):
        """Another host goes on with the client; after healing, the deposed one is a standby with the same image, without having started
        anew."""
        before = self.cluster.node(self.deposed)
        self.client.wait_other_host(self.deposed)
        self.client.wait_more(20)
        self.cluster.heal()
        self.cluster.wait_ok()
        self.client.wait_more(20)
        self.cluster.execute("scribbling = False")  # the world becomes idle: digests of one epoch can be compared
        self.client.close()
        self.cluster.wait_equal_digests()
        after = self.cluster.node(self.deposed)
        for fact in ("pid", "incarnation", "boot"):
            self.assertEqual(before[fact], after[fact], f"node {self.deposed} did not return by undoing")

    def test_partition_host_isolated_others_take_over_and_it_returns_equal(self):
        """GATE, ONE-STORY: nothing that the isolated host computes is seen; healed, it is an equal standby."""
        self.cluster.isolate(self.deposed)
        self.client.wait_other_host(self.deposed)
        self.assertIsNotNone(self.cluster.node(self.deposed)["role"], "an isolated node still reports over its management port")
        self.assert_deposed_returns()

    def test_partition_host_cut_from_peers_only_leaks_nothing_to_its_client(self):
        """GATE: a host that reaches its client, but no majority, says nothing more to it."""
        self.cluster.cut_from_peers(self.deposed)
        self.assert_deposed_returns()

    def test_partition_host_not_heard_others_take_over(self):
        """GATE, ONE-STORY: the host hears its peers, they do not hear it."""
        for other in self.cluster.others(self.deposed):
            self.cluster.cut(self.deposed, other, one_way=True)
        self.assert_deposed_returns()

    def test_partition_host_deaf_others_take_over(self):
        """GATE, ONE-STORY: the peers hear the host, it does not hear them."""
        for other in self.cluster.others(self.deposed):
            self.cluster.cut(other, self.deposed, one_way=True)
        self.assert_deposed_returns()

    def test_partition_several_epochs_in_flight_undo_is_exact(self):
        """ONE-STORY: a host that is deposed with several epochs in flight undoes them all and has the others' digest."""
        undone = 0
        for _ in range(UNDO_ATTEMPTS_MAX):
            said = len(self.cluster.log(self.deposed))
            self.cluster.cut_from_peers(self.deposed)
            self.assert_deposed_returns()
            undone = max([undone, *(int(count) for count in re.findall(r"(\d+) epochs in flight undone", self.cluster.log(self.deposed)[said:]))])
            if undone >= 2:
                return
            self.setUp()
        self.fail(f"in {UNDO_ATTEMPTS_MAX} partitions never more than {undone} epochs were in flight")
