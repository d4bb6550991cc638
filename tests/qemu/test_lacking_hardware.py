"""Machines that lack something: a node does without it, or says in a sentence what is missing and what to do."""

import re
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

    def first_words(self, alterations, sentence, **options):
        """What a node with this hardware says: one sentence that ends its boot, and the next boot repeats it as the last words."""
        cluster = self.cluster(nodes=1, start=False, environment=altered_hardware(*alterations), **options)
        cluster.start_node(1)
        wait_until(lambda: len(re.findall(rf"error .*{sentence}.*; the node restarts", cluster.log(1))) >= 2, f"the node says: {sentence}")
        self.assertNotIn("check failed", cluster.log(1))

    def test_lacking_interval_timer_is_said(self):
        self.first_words([("\nq35\n", "\nq35,pit=off\n")], r"interval timer.*give the node one")

    def test_lacking_memory_for_the_kernel_is_said(self):
        self.first_words([("\n-m\n\\d+\n", "\n-m\n32\n")], r"too little memory \(\d+ MiB\).*give the node more")

    def test_lacking_memory_for_the_world_is_said_with_how_much(self):
        self.first_words([("\n-m\n\\d+\n", "\n-m\n90\n")], r"of 64 MiB in one piece \d+ are missing; give the node at least so much more")

    def test_lacking_memory_in_one_piece_for_the_world_is_said_with_what_would_do(self):
        self.first_words([("\n-m\n\\d+\n", "\n-m\n3000\n")], r"of 2040 MiB in one piece \d+ are missing; give the node less than 2816 MiB.*or at least 4088",
                         world_memory=2040, memory=2800, disk=16384)

    def test_lacking_source_of_entropy_is_said(self):
        self.first_words([("\n-cpu\nmax\n", "\n-cpu\nqemu64,-rdrand\n")], "no source of entropy: .*give the node one of them")

    def test_lacking_disk_is_said(self):
        self.first_words([("\n-device\nvirtio-blk-pci,[^\n]*", "")], "the disk: .*give the node a disk")

    def test_lacking_network_card_is_said(self):
        self.first_words([("\n-device\nvirtio-net-pci,[^\n]*", "")], "the network: .*give the node a network card")
