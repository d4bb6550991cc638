"""Everything goes dark, or too much of it (points 3 and 7 of tests/README.md: DURABLE, GATE)."""

import programs
from clients import CounterClient
from lab import DEGRADED, NO_QUORUM, wait_until
from scenario import Scenario

OBSERVED_SECONDS = 3


class PowerLoss(Scenario):
    PROGRAM = programs.COUNTER + programs.TICKER

    def test_power_loss_all_nodes_killed_everything_seen_is_back(self):
        """DURABLE: after SIGKILL of all nodes at once nothing that a client had seen is missing, and programs run on."""
        cluster = self.cluster
        cluster.execute("kept = {'answer': [40, 2]}\nroot.lab = Directory()\nroot.lab.note = 'written before the dark'")
        client = CounterClient(cluster.address(programs.COUNTER_PORT))
        self.addCleanup(client.close)
        client.wait_more(50)
        ticks = cluster.evaluate("ticks")
        client.wait_more(50)
        cluster.kill_all()
        seen = client.count
        cluster.start()
        self.assertEqual(cluster.evaluate("kept"), {"answer": [40, 2]})
        self.assertEqual(cluster.evaluate("root.lab.note"), "written before the dark")
        self.assertGreaterEqual(cluster.evaluate("counters[-1].number"), seen)
        after = cluster.evaluate("ticks")
        self.assertGreaterEqual(after, ticks)
        wait_until(lambda: cluster.evaluate("ticks") > after, "the thread that counts did not go on")
        cluster.wait_ok()
        fresh = CounterClient(cluster.address(programs.COUNTER_PORT))
        self.addCleanup(fresh.close)
        fresh.wait_more(20)

    def test_power_loss_two_nodes_down_world_waits_until_one_returns(self):
        """GATE: without a majority nothing leaves the world; it continues, on the same connection, when one node returns."""
        cluster = self.cluster
        client = CounterClient(cluster.address(programs.COUNTER_PORT))
        self.addCleanup(client.close)
        client.wait_more(20)
        host = cluster.wait_host()
        first, second = cluster.others(host)
        cluster.kill(first)
        client.wait_more(20)
        result = cluster.try_command("status")
        self.assertEqual(result.returncode, DEGRADED, str(result))
        cluster.kill(second)
        cluster.wait_state("no-quorum")
        result = cluster.try_command("status")
        self.assertEqual(result.returncode, NO_QUORUM, str(result))
        self.assertIn("quorum", result.stdout)
        client.wait_quiet(OBSERVED_SECONDS)
        result = cluster.try_command("exec", "print(1)")
        self.assertEqual(result.returncode, NO_QUORUM, str(result))
        self.assertEqual(result.stdout, "")
        cluster.start_node(first)
        client.wait_more(20)
        cluster.start_node(second)
        cluster.wait_ok()
        client.wait_more(20)
