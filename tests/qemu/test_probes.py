"""The management port's `probe`, `metrics` and `dirty-age`: what the benchmarks stand on works, and refuses what it should (BOUND)."""

from lab import FAILED, OK, wait_until
from scenario import Scenario

NAMES = "entry flush fault copy compare hash seal open memcpy memcmp clock echo stream write bulk read gap".split()


class Probes(Scenario):
    def manage(self, line, node=1):
        return self.cluster.try_command("node", "manage", node, line)

    def answer(self, line, node=1):
        result = self.manage(line, node)
        self.assertEqual(result.returncode, OK, result.stderr)
        return [text.split() for text in result.stdout.splitlines()]

    def probed(self, name, samples):
        self.answer(f"probe {name} {samples}")
        return wait_until(lambda: self.done(name), f"probe {name} is done")

    def done(self, name, node=1):
        first, histogram = self.answer("probe", node)[:2]
        self.assertEqual(first[1], name)
        self.assertNotEqual(first[3], "failed")
        return histogram if first[3] == "done" else None

    def test_probes_each_is_done_with_as_many_samples_as_asked(self):
        for name in NAMES:
            histogram = self.probed(name, 20)
            count = int(histogram[histogram.index("count") + 1])
            buckets = sum(int(word.split(":")[1]) for word in histogram[histogram.index("buckets") + 1:])
            self.assertEqual((count, buckets), (20, 20), name)

    def test_probes_what_is_no_probe_is_refused(self):
        for line in ("probe nothing 5", "probe copy", "probe copy 0", "probe copy 100001", "probe copy 5x", "probe copy -1", "probe  5",
                     "dirty-age", "dirty-age 99", "dirty-age 10000001", "dirty-age x", "dirty-age 99999999999999999999999"):
            self.assertEqual(self.manage(line).returncode, FAILED, line)

    def test_probes_second_while_one_is_under_way_is_busy(self):
        self.answer("probe seal 5000", node=2)
        result = self.manage("probe copy 1", node=2)
        self.assertEqual(result.returncode, FAILED)
        self.assertIn("BUSY", result.stderr)
        wait_until(lambda: self.done("seal", node=2), "the long probe is done")

    def test_probes_echo_without_a_peer_fails_and_the_next_one_works(self):
        self.cluster.isolate(1)

        def failed():
            self.manage("probe echo 1")
            return wait_until(lambda: self.ended(), "the echo has ended") == "failed"
        wait_until(failed, "no peer answers an isolated node")
        self.probed("hash", 5)

    def ended(self):
        state = self.answer("probe")[0][3]
        return state if state != "running" else None

    def test_probes_histograms_of_the_host_grow_with_its_epochs(self):
        host = self.cluster.wait_host()

        def reading():
            lines = self.answer("metrics", host)
            return {line[1]: int(line[3]) for line in lines if line[0] == "histogram"}
        before = reading()
        self.cluster.execute("import eidolon\nfor number in range(5):\n    eidolon.commit()\n")
        after = reading()
        for name in ("world_freeze", "world_capture", "world_seal", "world_commit"):
            self.assertGreaterEqual(after[name], before[name] + 5, name)
