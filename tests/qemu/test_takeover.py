"""The host dies, and nobody notices (points 1, 2 and 6 of tests/README.md: GATE, NO-TEAR, DURABLE)."""

import programs
from clients import CounterClient, EchoClient
from scenario import Scenario

MIB = 1 << 20


class Takeover(Scenario):
    PROGRAM = programs.COUNTER + programs.ECHO

    def counter_client(self):
        client = CounterClient(self.cluster.address(programs.COUNTER_PORT))
        self.addCleanup(client.close)
        client.wait_more(20)
        return client

    def test_takeover_host_killed_ten_times_counter_has_no_gap(self):
        """GATE, NO-TEAR: one connection survives ten deaths of its host, with every number once."""
        client = self.counter_client()
        for death in range(10):
            host = self.cluster.wait_host()
            client.mark()
            self.cluster.kill(host)
            client.wait_other_host(host)
            client.wait_more(20)
            print(f"    death {death + 1}: node {host} -> {client.node}, longest pause {client.longest_pause * 1000:.0f} ms")
            self.cluster.start_node(host)
            self.cluster.wait_ok()
            client.wait_more(20)
        self.assertGreaterEqual(len(client.hosts), 11)

    def test_takeover_two_kills_during_echo_every_byte_returns_once(self):
        """GATE: 8 MiB through the world during two kills come back whole, once and in order."""
        client = EchoClient(self.cluster.address(programs.ECHO_PORT), 8 * MIB)
        self.addCleanup(client.close)
        for returned in (2 * MIB, 5 * MIB):
            client.wait_returned(returned)
            host = self.cluster.wait_host()
            self.cluster.kill(host)
            self.assertFalse(client.finished, "the echo ended before the kill")
            client.wait_returned(returned + MIB)
            self.cluster.start_node(host)
            self.cluster.wait_ok()
        client.wait_finished()

    def test_takeover_moved_to_each_node_under_load_no_client_notices(self):
        """GATE, NO-TEAR: planned moves while one client reads and another echoes."""
        counter = self.counter_client()
        echo = EchoClient(self.cluster.address(programs.ECHO_PORT), 4 * MIB)
        self.addCleanup(echo.close)
        first = self.cluster.wait_host()
        for number, node in enumerate([*self.cluster.others(first), first]):
            echo.wait_returned(number * MIB + MIB // 4)
            self.assertFalse(echo.finished, "the echo ended before the move")
            self.cluster.command("move", node)
            counter.wait(lambda: counter.node == node, f"a line of node {node}")
            self.assertEqual(self.cluster.wait_host(), node)
            counter.wait_more(20)
        echo.wait_finished()
        counter.wait_more(20)
