"""Clusters whose QEMUs are fake_qemu: for tests of the command itself, which then need neither kernel nor world."""
import os
import socket
import struct

import lab

FAKE_QEMU = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fake_qemu")
ENVIRONMENT = {"EIDOLON_QEMU": FAKE_QEMU, "EIDOLON_KERNEL": FAKE_QEMU}


def status_text(node, nodes=3, leader=1, majority=1, voter=1, role=None, world="standby", reason="", disk="ok", host=None, links=None,
                move="move state idle target 0 stopped_us 0 reason ", last_words=None):
    """What a node answers to `status`, in the format of include/management.h."""
    host = (leader == node) if host is None else host
    role = role or ("leader" if leader == node else "follower")
    if host and world == "standby":
        world = "running"
    lines = ["version 1",
             f"node {node} raft_id abc{node} incarnation abc boot 1 uptime_ms 5",
             f"raft role {role} term 3 commit_index 12 applied_index 12 last_index 12 leader {leader} voter {voter} majority {majority}",
             f"disk state {disk} reason {reason if disk != 'ok' else ''}"]
    for peer in range(1, nodes + 1):
        if peer != node:
            link = 1 if links is None else int(peer in links)
            lines.append(f"peer {peer} link {link} heard_ms 5 raft_id abc{peer} role voter match_index 12")
    lines.append(f"world main state {world} host {int(host)} epoch 7 committed 7 digest 00000000deadbeef resumed 1 reason {reason}")
    lines.append(move)
    if last_words:
        lines.append(f"last_words {last_words}")
    return "\n".join(lines + ["ok"]) + "\n"


class Card:
    """The test's side of a fake node's network card: sees what the node gets, sends as the node."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.buffer = b""

    def send(self, frame):
        self.socket.sendall(struct.pack("!I", len(frame)) + frame)

    def receive(self, timeout_s=lab.DEADLINE_S):
        """The next frame, or None when none comes in time."""
        self.socket.settimeout(timeout_s)
        while True:
            if len(self.buffer) >= 4:
                length, = struct.unpack("!I", self.buffer[:4])
                if len(self.buffer) >= 4 + length:
                    frame, self.buffer = self.buffer[4:4 + length], self.buffer[4 + length:]
                    return frame
            try:
                data = self.socket.recv(65536)
            except (TimeoutError, socket.timeout):
                return None
            if not data:
                return None
            self.buffer += data

    def wait_frame(self, frame, deadline_s=lab.DEADLINE_S):
        lab.wait_until(lambda: self.receive(1) == frame, f"the frame {frame[:40]!r} comes", deadline_s)

    def close(self):
        self.socket.close()


class FakeTestCase(lab.TestCase):
    def fake_cluster(self, nodes=3, world=True, speaking=True, start=True):
        """A cluster of fake nodes. `world`: the world's terminal answers on node 1. `speaking`: nodes answer to `status`."""
        cluster = self.cluster(nodes=nodes, start=False, environment=ENVIRONMENT)
        if world:
            self.set_file(cluster, 1, "fake-world", "")
        for node in range(1, nodes + 1):
            if speaking:
                self.set_status(cluster, node, nodes=nodes)
        if start:
            cluster.start(timeout_s=60)
        return cluster

    def path(self, cluster, node, name):
        return os.path.join(cluster.directory, f"node{node}", name)

    def set_file(self, cluster, node, name, text):
        with open(self.path(cluster, node, name) + ".new", "w") as file:
            file.write(text)
        os.rename(self.path(cluster, node, name) + ".new", self.path(cluster, node, name))

    def set_status(self, cluster, node, **facts):
        self.set_file(cluster, node, "fake-status", status_text(node, **facts))

    def card(self, cluster, node):
        card = Card(self.path(cluster, node, "fake-net.sock"))
        self.addCleanup(card.close)
        card.wait_frame(b"welcome")
        return card

    def destroy_fakes(self, cluster):
        """Remove what the command does not know of, so that it can destroy the cluster."""
        for folder, _, names in os.walk(cluster.directory):
            for name in names:
                if name.startswith("fake-"):
                    os.unlink(os.path.join(folder, name))

    def remove_cluster(self, cluster):
        cluster.try_command("stop")
        self.destroy_fakes(cluster)
        super().remove_cluster(cluster)

    def tap(self, cluster):
        card = Card(cluster.command("port").strip())
        self.addCleanup(card.close)
        return card

    def silence(self, cluster, node):
        os.unlink(self.path(cluster, node, "fake-status"))
