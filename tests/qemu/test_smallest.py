"""The smallest cluster that `create` accepts is one that works (BOUND): the limits are stated where they are checked, so they are asked for here."""

import os
import re
import tempfile
import unittest

from lab import USAGE, eidolon
from scenario import WatchedCluster


def least(option, *others):
    """The smallest number that `create` takes for `option`, by what it answers to a smaller one."""
    with tempfile.TemporaryDirectory(prefix="eidolon-") as folder:
        result = eidolon("create", os.path.join(folder, "c"), "--nodes", 5, *others, option, 1)
    found = re.search(rf"{option} takes (\d+) to", result.stderr)
    if result.returncode != USAGE or not found:
        raise AssertionError(f"create {option} 1: exit {result.returncode}, {result.stderr}")
    return int(found.group(1))


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
