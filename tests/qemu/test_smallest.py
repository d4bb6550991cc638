"""The smallest cluster that `create` accepts is one that works (BOUND): the limits are stated where they are checked, so they are asked for here."""

import os
import re
import tempfile
import unittest

from lab import OK, USAGE, eidolon
from scenario import WatchedCluster


def least(option, *others):
    """The smallest number that `create` takes for `option`, by what it answers to a smaller one."""
    with tempfile.TemporaryDirectory(prefix="eidolon-") as folder:
        result = eidolon("create", os.path.join(folder, "c"), "--nodes", 5, *others, option, 1)
    found = re.search(rf"{option} takes (\d+) to", result.stderr)
    if result.returncode != USAGE or not found:
        raise AssertionError(f"create {option} 1: exit {result.returncode}, {result.stderr}")
    return int(found.group(1))


def create(world, memory):
    """What `create` answers; what it made is removed."""
    with tempfile.TemporaryDirectory(prefix="eidolon-") as folder:
        return eidolon("create", os.path.join(folder, "c"), "--world-memory", world, "--memory", memory, "--disk", 16384)


class Smallest(unittest.TestCase):
    def test_smallest_world_in_the_smallest_nodes_is_born_and_moves(self):
        world = least("--world-memory")
        memory = least("--memory", "--world-memory", world)
        disk = least("--disk", "--world-memory", world, "--memory", memory)
        with WatchedCluster(5, world_memory=world, memory=memory, disk=disk) as cluster:
            cluster.start()
            cluster.wait_ok()
            cluster.execute("kept = 6 * 7\n")
            target = cluster.others(cluster.wait_host())[0]
            cluster.command("move", target)
            self.assertEqual(cluster.evaluate("kept"), 42)

    def test_smallest_node_whose_memory_is_in_two_parts_holds_the_world_in_one_of_them(self):
        """QEMU puts what a large node has beyond 2 GiB above 4 GiB; a world lies in one piece."""
        world = 2040
        refused = create(world, 3000)
        self.assertEqual(refused.returncode, USAGE, refused)
        found = re.search(r"neither holds a world of 2040 MiB.*takes (\d+) to (\d+) here, or (\d+) to", refused.stderr)
        self.assertTrue(found, refused.stderr)
        least_memory, below_split, above_split = map(int, found.groups())
        for memory, outcome in ((least_memory - 1, USAGE), (least_memory, OK), (below_split, OK), (below_split + 1, USAGE),
                                (above_split - 1, USAGE), (above_split, OK)):
            answer = create(world, memory)
            self.assertEqual(answer.returncode, outcome, f"{memory} MiB: {answer.stderr}")
        self.assertEqual(create(1900, 3000).returncode, OK)

    def test_smallest_upper_part_of_memory_that_create_takes_holds_the_largest_world(self):
        for memory in (2815, 4096):
            with WatchedCluster(1, world_memory=2048, memory=memory, disk=16384) as cluster:
                cluster.start()
                cluster.wait_ok()
                self.assertEqual(cluster.evaluate("6 * 7"), 42)
