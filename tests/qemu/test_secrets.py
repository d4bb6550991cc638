"""What a thief finds (point 9 of tests/README.md)."""

import os

from scenario import Scenario

# The world makes the secret itself, so it never crosses the wire as somebody's input or output.
SECRET = b"the swallow flies at " + b"seventeen minutes past nine"
MASK = 0x5A
CONTROL = "a marker that the session itself says in clear"


def file_contains(path, needle):
    """Search a large, sparse file."""
    with open(path, "rb") as file:
        tail = b""
        while chunk := file.read(1 << 22):
            if needle in tail + chunk:
                return True
            tail = chunk[-len(needle):]
    return False


class Secrets(Scenario):
    def test_secrets_kept_in_objects_appear_on_no_disk_and_no_wire(self):
        """A stolen disk image and a capture of all frames hold no trace of a string that is kept in an object."""
        cluster = self.cluster
        capture = os.path.join(cluster.parent, "all.pcap")
        cluster.command("capture", capture)
        masked = bytes(byte ^ MASK for byte in SECRET)
        cluster.execute(f"root.secret = bytes(byte ^ {MASK} for byte in {masked!r})\n"
                     "root.copies = [bytes(root.secret) for _ in range(1000)]\n"
                     "import eidolon\neidolon.commit()")
        self.assertIn(CONTROL, cluster.execute(f"print({CONTROL!r})"))
        host = cluster.wait_host()
        blank, heir = cluster.others(host)
        cluster.kill(blank)
        cluster.lose_disk(blank)
        cluster.start_node(blank)
        cluster.wait_ok()
        cluster.command("move", heir)
        self.assertEqual(cluster.evaluate("len(root.copies), root.secret == root.copies[0]"), [1000, True])
        cluster.stop()
        self.assertTrue(file_contains(capture, CONTROL.encode()), "the capture holds the session's own traffic")
        self.assertFalse(file_contains(capture, SECRET), "the secret is on the wire")
        for node in cluster.nodes:
            disk = os.path.join(cluster.directory, f"node{node}", "disk.img")
            self.assertFalse(file_contains(disk, SECRET), f"the secret is on the disk of node {node}")
            self.assertFalse(file_contains(disk, CONTROL.encode()), f"session traffic is on the disk of node {node}")
            self.assertGreater(os.stat(disk).st_blocks * 512, 100_000, f"something was written to the disk of node {node}")
