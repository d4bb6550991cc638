"""The power fails under real kernels, and what their disks had not flushed is gone (point 12 of tests/README.md: DURABLE, NO-AMNESIA).

EIDOLON_POWER_CUTS is how many cuts are made (5 in `make test`, more in `make test-long`); EIDOLON_POWER_CUT_SEED is the seed, which decides
which nodes, which moments and what becomes of each loose write. What a recording holds depends on the machine's timing; so a disk
that fails is kept.
"""

import os
import random
import re
import shutil
import subprocess
import time

import programs
from clients import CounterClient
from lab import RESULTS, wait_until
from recording import RecordedCluster, part_of_disk
from scenario import Scenario

CUTS = int(os.environ.get("EIDOLON_POWER_CUTS", "5"))
CUTS_OF_A_NODE = CUTS * 2 // 5
CUTS_OF_ALL = CUTS - CUTS_OF_A_NODE
CUTS_OF_A_RECORDING = 10
SEED = os.environ.get("EIDOLON_POWER_CUT_SEED") or str(random.SystemRandom().randrange(1 << 32))

CHECKPOINTS_S = 120


class PowerCut(Scenario):
    """The disks are as small as they may be."""

    CLUSTER = RecordedCluster
    OPTIONS = {"world_memory": 32, "disk": 100}
    PROGRAM = programs.COUNTER + programs.CHURN

    def setUp(self):
        if not self.cluster.recorded:
            self.begin_recording()
        super().setUp()
        self.random = random.Random(f"{SEED} {self.id()}")
        print(f"    seed {SEED}: EIDOLON_POWER_CUT_SEED={SEED} draws the same")

    def begin_recording(self):
        self.cluster.stop()
        shutil.rmtree(self.cluster.recordings, ignore_errors=True)
        self.cluster.record()
        self.cluster.start()
        self.cluster.wait_ok()

    def begin_load(self, pause_ms):
        """A client that reads numbers, moments of which are kept from here on, and 64 KiB of memory that change every `pause_ms`."""
        self.connections = self.cluster.evaluate("len(counters)")
        client = CounterClient(self.cluster.address(programs.COUNTER_PORT))
        self.addCleanup(client.close)
        client.wait_more(20)
        self.cluster.execute(f"churning = True\n_thread.start_new_thread(churn, ({pause_ms},))")
        self.cluster.recorder.watch(client)
        return client

    def end_load(self, client=None):
        """The world becomes idle; what the nodes hold must be the same then."""
        if client:
            client.close()
        self.cluster.execute("churning = False")
        self.cluster.wait_equal_digests()

    def lives(self):
        return {node["id"]: node["incarnation"] for node in self.cluster.status()["nodes"]}

    def assert_same_lives(self, lives, said):
        """Every node is the one that it was, and took its disk for whole. `said`: how much each had said before."""
        for node in self.cluster.status()["nodes"]:
            number = node["id"]
            log = self.cluster.log(number)[said[number]:]
            self.assertEqual(node["incarnation"], lives[number], f"NO-AMNESIA: node {number} is another one now\n{log}")
            self.assertEqual(node["disk"], "ok", log)
            self.assertFalse(node["last_words"], log)
            self.assertNotIn("corrupt", log)

    def said(self):
        return {node: len(self.cluster.log(node)) for node in self.cluster.nodes}

    def report(self, what, fates):
        """One line of what became of the loose writes; `fates` by node."""
        parts = []
        for node, fate in fates.items():
            where = sorted({part_of_disk(write.offset, self.cluster.disk_bytes) for write in fate.lost + fate.whole + fate.torn})
            counts = f"{len(fate.lost)} lost {len(fate.torn)} torn {len(fate.whole)} whole" if fate.loose else "none"
            parts.append(f"node {node} {counts}" + (f" ({', '.join(where)})" if where else ""))
        print(f"    {what}; loose writes: {'; '.join(parts)}", flush=True)

    def keep_disks(self, disks, name):
        """After a failure: the cluster as it was before it was started from `disks`."""
        place = os.path.join(RESULTS, self.id(), name)
        self.cluster.stop()
        for node, disk in disks.items():
            self.cluster.rebuild(node, *disk)
        shutil.rmtree(place, ignore_errors=True)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        subprocess.run(["cp", "-a", "--sparse=always", self.cluster.directory, place], check=True)
        print(f"kept: {place}")

    def fail_power(self, node, number, what):
        """The power of `node` fails; its disk is what that leaves. Returns the Fate, and what keep_disks needs."""
        folder, end = self.cluster.cut_power(node)
        disk = (folder, end, f"{SEED} {self.id()} {number}")
        fate = self.cluster.rebuild(node, *disk)
        self.report(f"cut {number} of node {node}, {what}", {node: fate})
        return fate, disk

    def wait_heard(self, node, said):
        """Wait until another node has heard from `node` of its new boot."""
        others = self.cluster.others(node)
        up = re.compile(rf"peer {node} lane \d: up")
        wait_until(lambda: any(up.search(self.cluster.log(other)[said[other]:]) for other in others), f"node {node} is heard", pause_s=0)

    def cut_one(self, node, number, again=False):
        """Cut the power of `node` while the others run, and `again` as soon as it has told another of its boot; it must come back as itself.
        Returns the fates."""
        cluster = self.cluster
        lives, said = self.lives(), self.said()
        fate, disk = self.fail_power(node, number, "host" if cluster.host() == node else "standby")
        fates = [fate]
        try:
            if again:
                heard = self.said()
                cluster.start_node(node)
                self.wait_heard(node, heard)
                fate, disk = self.fail_power(node, number + 1, "just booted")
                fates.append(fate)
            cluster.start_node(node)
            cluster.wait_ok()
            self.assert_same_lives(lives, said)
        except BaseException:
            cluster.explain()
            self.keep_disks({node: disk}, f"cut-{number}")
            raise
        return fates

    def test_power_cut_of_a_node_it_returns_as_itself(self):
        """DURABLE, NO-AMNESIA: the power of the host, of a standby fails while the others go on, and once more while it boots. The node
        returns with its votes and its log, no client notices, and all hold the same."""
        client = self.begin_load(pause_ms=100)
        fates = []
        while len(fates) < CUTS_OF_A_NODE:
            client.wait_more(self.random.randrange(20, 200))
            host = self.cluster.wait_host()
            node = self.random.choice([host, *self.cluster.others(host)])
            fates += self.cut_one(node, len(fates) + 1, again=len(fates) + 1 < CUTS_OF_A_NODE)
        client.wait_more(20)
        self.end_load(client)
        print(f"    {len(fates)} cuts of one node, {sum(1 for fate in fates if fate.loose)} of them with loose writes")

    def record_moments(self):
        """Load until every node has made a checkpoint, with a move and a loss of power of the host on the way."""
        cluster = self.cluster
        client = self.begin_load(pause_ms=50)
        said = self.said()
        cluster.command("move", self.random.choice(cluster.others(cluster.wait_host())))
        client.wait_more(50)
        self.cut_one(cluster.wait_host(), 0)

        def all_made_checkpoints():
            return all(re.search(r"checkpoint of epoch [1-9]\d* is durable", cluster.log(node)[said[node]:]) for node in cluster.nodes)
        wait_until(all_made_checkpoints, "every node makes a checkpoint", CHECKPOINTS_S)
        client.wait_more(20)
        cluster.stop()
        moments, fault = cluster.recorder.moments, cluster.recorder.fault
        cluster.stop_recording()
        client.close()
        self.assertIsNone(fault)
        for node in cluster.nodes:
            self.assertTrue(cluster.replay_is_disk(node), f"the recording of node {node} is not what it wrote")
        return client, moments

    def draw_moment(self, moments):
        """Take one out of `moments`. What is loose is drawn first, so that what is rare is tried too."""
        kinds = sorted({part for moment in moments for part in moment.loose})
        kind = self.random.choice(kinds) if kinds else None
        moment = self.random.choice([moment for moment in moments if kind is None or kind in moment.loose])
        moments.remove(moment)
        return moment

    def cut_all(self, moment, number, client, lives):
        """Start from the disks of `moment`: all that the client had received by then is there."""
        cluster, seed = self.cluster, f"{SEED} {self.id()} {number}"
        disks = {node: (folder, end, seed) for node, folder, end in zip(cluster.nodes, moment.folders, moment.ends)}
        fates = {node: cluster.rebuild(node, *disk) for node, disk in disks.items()}
        self.report(f"cut {number} of all nodes after {moment.received} lines", fates)
        said = self.said()
        cluster.digests = {}   # another history from here on
        began = time.monotonic()
        try:
            cluster.start()
            cluster.wait_ok()
            print(f"        up in {time.monotonic() - began:.1f} s", flush=True)
            self.assert_same_lives(lives, said)
            self.assert_received_is_there(moment.received, client)
            self.end_load()
        except BaseException:
            cluster.explain()
            self.keep_disks(disks, f"cut-{number}")
            raise
        cluster.stop()
        return sum(fate.loose for fate in fates.values())

    def assert_received_is_there(self, received, client):
        last, kept = received - 1, programs.SEALS_KEPT
        counter = f"counters[{self.connections}]"
        number, seal = self.cluster.evaluate(f"({counter}.number, {counter}.seals[{last % kept * 16}:{last % kept * 16 + 16}].decode())")
        self.assertGreaterEqual(number, last, "DURABLE: a number that the client had received is gone")
        self.assertLess(number, last + kept, "the world wrote so far ahead of the client that it cannot be judged")
        self.assertEqual(seal, client.seals[last].decode(), f"DURABLE: line {last} is not the one that the client had received")

    def test_power_cut_of_all_nodes_all_received_is_there(self):
        """DURABLE: the power of all nodes fails at one instant. Every number that the client had received by then is there."""
        lives = self.lives()
        loose = done = 0
        while done < CUTS_OF_ALL:
            if not self.cluster.recorded:
                self.begin_recording()
            client, moments = self.record_moments()
            kinds = {kind: sum(1 for moment in moments if kind in moment.loose) for kind in ("superblocks", "votes", "log", "store")}
            print(f"    {len(moments)} moments recorded; of these with something loose: {kinds}")
            for _ in range(min(CUTS_OF_A_RECORDING, CUTS_OF_ALL - done)):
                done += 1
                loose += self.cut_all(self.draw_moment(moments), done, client, lives) > 0
        print(f"    {done} cuts of all nodes, {loose} of them with loose writes")
