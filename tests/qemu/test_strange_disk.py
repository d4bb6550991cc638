"""A node finds a disk that is not what it left (VERIFY, NO-AMNESIA)."""

import filecmp
import os
import shutil

from lab import DEGRADED, wait_until
from scenario import Scenario, WatchedCluster


class StrangeDisk(Scenario):
    def disk(self, node):
        return os.path.join(self.cluster.directory, f"node{node}", "disk.img")

    def standby(self):
        return self.cluster.others(self.cluster.wait_host())[0]

    def stays_out_with(self, node, change_disk, word, unchanged=None):
        """`node` starts with another disk: it says so in words and takes no part, and the world goes on. With its own disk back it is a
        voter again. `unchanged`: a file that its disk is equal to all the while."""
        cluster, own = self.cluster, self.disk(node) + ".own"
        cluster.kill(node)
        os.rename(self.disk(node), own)
        try:
            change_disk(self.disk(node))
            result = cluster.try_command("node", "start", node)
            wait_until(lambda: word in result.stderr or word in cluster.node(node)["reason"], f"somebody says `{word}` of the disk: {result}")
            self.assertEqual(cluster.try_command("status").returncode, DEGRADED)
            self.assertEqual(cluster.evaluate("1 + 1"), 2)
            if unchanged is not None:
                self.assertTrue(filecmp.cmp(self.disk(node), unchanged, shallow=False), "the disk was written to")
        finally:
            if node in cluster.pids():
                cluster.kill(node)
            os.replace(own, self.disk(node))
        cluster.start_node(node)
        cluster.wait_ok()

    def test_disk_corrupt_is_said_and_node_rejoins_as_new(self):
        """NO-AMNESIA: whoever cannot read its own past is a stranger."""
        node = self.standby()
        before = self.cluster.node(node)["incarnation"]
        self.cluster.kill(node)
        said = len(self.cluster.log(node))
        with open(self.disk(node), "r+b") as file:
            file.write(os.urandom(16384))
        self.cluster.start_node(node)
        self.cluster.wait_ok()
        self.assertNotEqual(self.cluster.node(node)["incarnation"], before)
        self.assertIn("the disk is corrupt", self.cluster.log(node)[said:])

    def test_disks_of_majority_corrupt_are_kept_until_one_is_whole_again(self):
        """NO-AMNESIA: a disk is given up only when a majority can do without it."""
        cluster, (first, second) = self.cluster, self.cluster.others(self.cluster.wait_host())
        cluster.execute("kept = 'what everybody saw'")
        front, fronts = 16384, {}
        for node in (1, 2, 3):
            cluster.kill(node)
        for node in (first, second):
            with open(self.disk(node), "r+b") as file:
                fronts[node] = file.read(front)
                file.seek(0)
                file.write(bytes(255 - byte for byte in fronts[node]))
        for node in (1, 2, 3):
            cluster.start_node(node)
        for node in (first, second):
            wait_until(lambda node=node: "until a majority" in cluster.node(node)["reason"], f"node {node} says that it keeps its disk")
        cluster.kill(first)
        for node in (first, second):
            with open(self.disk(node), "rb") as file:
                self.assertEqual(file.read(front), bytes(255 - byte for byte in fronts[node]))
        with open(self.disk(first), "r+b") as file:
            file.write(fronts[first])
        cluster.start_node(first)
        cluster.wait_ok()
        self.assertEqual(cluster.evaluate("kept"), "what everybody saw")

    def test_disk_of_another_cluster_is_refused(self):
        """VERIFY: nothing of a foreign disk is used or destroyed."""
        node = self.standby()
        with WatchedCluster() as other:
            foreign = os.path.join(other.directory, f"node{node}", "disk.img")
            self.stays_out_with(node, lambda path: shutil.copy(foreign, path), "another cluster", unchanged=foreign)

    def test_disk_truncated_is_refused(self):
        """VERIFY: a disk that is too small to work with."""
        def make_small(path):
            with open(path, "wb") as file:
                file.truncate(1 << 20)

        self.stays_out_with(self.standby(), make_small, "small")
