"""The command and its background process with fake nodes: starting, status, the way in, faults, recovery."""
import fcntl
import json
import os
import pty
import resource
import select
import signal
import socket
import struct
import subprocess
import time

import fakes
import lab
import wire
from lab import DEGRADED, FAILED, NO_QUORUM, OK, TIMED_OUT, USAGE, eidolon, wait_until

BROADCAST = b"\xff" * 6


def mac(node):
    return bytes([0x52, 0x54, 0x00, 0xE1, 0x00, node])


def frame(to, sender, text):
    return (to + sender + b"\x88\xb5" + text).ljust(60, b"\0")


def process_fields(pid):
    """Of /proc/PID/stat, from the third on; the name before them may hold anything."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()


def alive(pid):
    try:
        return process_fields(pid)[3 - 3] not in "ZX"
    except FileNotFoundError:
        return False


def switch_pid(cluster):
    with open(os.path.join(cluster.directory, "switch.pid")) as file:
        return int(file.read().split()[0])


def processor_ticks(pid):
    return sum(map(int, process_fields(pid)[14 - 3:16 - 3]))


def kill_switch(cluster):
    pid = switch_pid(cluster)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid), "the background process is gone")


class Terminal:
    """A program that runs on a terminal of its own; `output` is all that it wrote there."""

    def __init__(self, test, *command):
        self.output = b""
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.execve(command[0], command, {**os.environ, **fakes.ENVIRONMENT})
        test.addCleanup(os.close, self.descriptor)

    def type(self, keys):
        os.write(self.descriptor, keys)

    def wait_for(self, text):
        def came():
            if select.select([self.descriptor], [], [], 0.1)[0]:
                try:
                    self.output += os.read(self.descriptor, 65536)
                except OSError:
                    pass
            return text in self.output
        wait_until(came, f"{text!r} on the terminal, got {self.output!r}")

    def wait(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


class TestStart(fakes.FakeTestCase):
    def test_start_returns_when_the_terminal_answers(self):
        cluster = self.fake_cluster()
        connection = self.connect(cluster.attach_address())
        connection.wait_for(">>> ")

    def test_what_the_caller_has_open_is_not_kept_open(self):
        cluster = self.fake_cluster(start=False)
        ours, theirs = os.pipe()
        self.addCleanup(os.close, ours)
        result = subprocess.run([lab.EIDOLON, "start", cluster.directory], env={**os.environ, **fakes.ENVIRONMENT}, pass_fds=[theirs], capture_output=True)
        os.close(theirs)
        self.assertEqual(result.returncode, OK)
        self.assertTrue(select.select([ours], [], [], lab.DEADLINE_S)[0], "nobody has the other end any more")

    def test_start_of_a_running_cluster_changes_nothing(self):
        cluster = self.fake_cluster()
        before = cluster.status()
        cluster.start()
        after = cluster.status()
        self.assertEqual([node["pid"] for node in before["nodes"]], [node["pid"] for node in after["nodes"]])
        self.assertEqual(before["worlds"][0]["attach"], after["worlds"][0]["attach"])

    def test_a_world_that_does_not_come_is_a_time_out_with_reasons(self):
        cluster = self.fake_cluster(world=False, speaking=False, start=False)
        result = cluster.try_command("start", "--timeout", 1)
        self.assertExit(result, TIMED_OUT, "did not answer", "eidolon status", "node 1: down", "management port does not answer")
        self.assertTrue(all(node["pid"] for node in cluster.status()["nodes"]), "what was started goes on")

    def test_a_stopped_world_is_told_instead_of_waited_for(self):
        cluster = self.fake_cluster(world=False, start=False)
        self.set_status(cluster, 1, world="stopped", reason="write to a page it does not own")
        result = cluster.try_command("start", "--timeout", 100, timeout_s=60)
        self.assertExit(result, DEGRADED, "the world is stopped", "write to a page it does not own", "eidolon world reset")

    def test_a_world_that_no_majority_can_serve_is_told_instead_of_waited_for(self):
        for nodes, kept_out in ((1, 1), (3, 2)):
            with self.subTest(nodes=nodes):
                cluster = self.fake_cluster(nodes=nodes, world=False, start=False)
                for node in range(1, nodes + 1):
                    disk = "corrupt" if node <= kept_out else "ok"
                    self.set_status(cluster, node, nodes=nodes, leader=0, majority=0, host=False, disk=disk, reason="as it is")
                result = cluster.try_command("start", "--timeout", 30, timeout_s=60)
                self.assertExit(result, NO_QUORUM, f"only {nodes - kept_out} of {nodes} nodes can take part", "disk corrupt", "eidolon status")

    def test_a_missing_qemu_is_named_and_nothing_is_left_running(self):
        cluster = self.fake_cluster(start=False)
        cluster.environment = {**fakes.ENVIRONMENT, "EIDOLON_QEMU": "qemu-that-is-not-there"}
        result = cluster.try_command("start")
        self.assertExit(result, FAILED, "not installed", "apt-get install")
        self.assertEqual(result.stderr.count("not installed"), 1, "what concerns every node is said once")
        self.assertEqual(cluster.status()["switch"], "down")
        self.assertFalse(os.path.exists(os.path.join(cluster.directory, "node1", "qemu.pid")))

    def test_a_missing_kernel_is_named(self):
        cluster = self.fake_cluster(start=False)
        cluster.environment = {**fakes.ENVIRONMENT, "EIDOLON_KERNEL": "no-kernel.elf"}
        result = cluster.try_command("start")
        self.assertExit(result, FAILED, "no-kernel.elf", "make")
        self.assertEqual(result.stderr.count("no-kernel.elf"), 1, "what concerns every node is said once")

    def scripted_cluster(self, *lines):
        """A cluster, not started, whose QEMU is a shell script."""
        cluster = self.fake_cluster(start=False)
        script = os.path.join(self.folder(), "qemu")
        with open(script, "w") as file:
            file.write("\n".join(["#!/bin/sh", *lines, ""]))
        os.chmod(script, 0o755)
        cluster.environment = {**fakes.ENVIRONMENT, "EIDOLON_QEMU": script}
        return cluster

    def test_a_qemu_that_ends_at_once_is_quoted(self):
        cluster = self.scripted_cluster("echo 'qemu: out of luck' >&2", "exit 1")
        self.assertExit(cluster.try_command("start"), FAILED, "ended at once", "out of luck")

    def test_a_qemu_that_ends_without_a_word_is_not_said_to_have_spoken(self):
        cluster = self.scripted_cluster("exit 1")
        result = cluster.try_command("start")
        self.assertExit(result, FAILED, "ended at once and left nothing in", "qemu.log")
        self.assertNotIn("said", result.stderr)

    def test_a_qemu_that_cannot_be_run_is_named(self):
        cluster = self.fake_cluster(start=False)
        cluster.environment = {**fakes.ENVIRONMENT, "EIDOLON_QEMU": "/etc/passwd"}
        self.assertExit(cluster.try_command("start"), FAILED, "cannot start QEMU", "/etc/passwd")

    def test_a_qemu_that_leaves_its_folder_while_it_starts_is_alive(self):
        cluster = self.scripted_cluster("here=$(pwd)", "cd /", "sleep 0.5", 'cd "$here"', f'exec {fakes.FAKE_QEMU} "$@"')
        cluster.start()
        self.assertTrue(all(node["pid"] for node in cluster.status()["nodes"]))

    def test_a_node_that_cannot_start_does_not_keep_a_majority_from_it(self):
        for node in (1, 3):
            with self.subTest(node=node):
                cluster = self.fake_cluster(world=False, start=False)
                self.set_file(cluster, 2, "fake-world", "")
                os.unlink(self.path(cluster, node, "disk.img"))
                result = cluster.try_command("start")
                self.assertExit(result, DEGRADED, f"node {node} has no disk", "lose-disk")
                self.connect(cluster.attach_address()).wait_for(">>> ")

    def test_a_damaged_boot_configuration_is_named(self):
        cluster = self.fake_cluster(start=False)
        with open(self.path(cluster, 1, "boot.conf"), "r+b") as file:
            file.seek(100)
            file.write(b"\xff\xff\xff\xff")
        self.assertExit(cluster.try_command("node", "start", 1), FAILED, "boot configuration", "damaged")
        with open(self.path(cluster, 2, "boot.conf"), "r+b") as file:
            file.truncate(100)
        self.assertExit(cluster.try_command("node", "start", 2), FAILED, "wrong size")

    def test_an_interrupt_during_start_is_told_and_start_can_go_on(self):
        cluster = self.fake_cluster(world=False, start=False)
        process = subprocess.Popen([lab.EIDOLON, "start", cluster.directory], env={**os.environ, **fakes.ENVIRONMENT},
                                   stderr=subprocess.PIPE, text=True)
        wait_until(lambda: all(node["pid"] for node in cluster.status()["nodes"]), "all nodes run")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=lab.DEADLINE_S)
        self.assertEqual(process.returncode, FAILED)
        self.assertIn("interrupted", errors)
        self.set_file(cluster, 1, "fake-world", "")
        cluster.start()

    def test_start_that_is_ended_while_another_command_is_at_work_starts_nothing(self):
        cluster = self.fake_cluster(start=False)
        with open(os.path.join(cluster.directory, "lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            process = subprocess.Popen([lab.EIDOLON, "start", cluster.directory], env={**os.environ, **fakes.ENVIRONMENT},
                                       stderr=subprocess.PIPE, text=True)
            self.assertIn("waiting for another eidolon command", process.stderr.readline())
            process.terminate()  # an interrupt is ignored where the tests run in the background
            process.communicate(timeout=lab.DEADLINE_S)
        self.assertEqual(process.returncode, -signal.SIGTERM)
        self.assertFalse(os.path.exists(os.path.join(cluster.directory, "switch.pid")))

    def test_a_qemu_that_is_named_by_a_relative_path_is_found_from_where_the_user_is(self):
        cluster = self.fake_cluster(start=False)
        environment = {**os.environ, "EIDOLON_QEMU": "./" + os.path.basename(fakes.FAKE_QEMU), "EIDOLON_KERNEL": fakes.FAKE_QEMU}
        result = subprocess.run([lab.EIDOLON, "start", cluster.directory], cwd=os.path.dirname(fakes.FAKE_QEMU), env=environment)
        self.assertEqual(result.returncode, OK)

    def test_make_run_attaches_to_a_world_that_answers_though_a_node_cannot_start(self):
        cluster = self.fake_cluster(start=False)
        os.unlink(self.path(cluster, 3, "disk.img"))
        result = subprocess.run([os.path.join(lab.ROOT, "cluster-sim", "run"), cluster.directory], env={**os.environ, **fakes.ENVIRONMENT},
                                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.assertIn("attach needs a terminal", result.stderr)

    def test_no_background_process_is_left_where_no_node_runs(self):
        cluster = self.fake_cluster(start=False)
        os.unlink(self.path(cluster, 1, "disk.img"))
        self.assertExit(cluster.try_command("node", "start", 1), FAILED, "has no disk")
        self.assertFalse(os.path.exists(os.path.join(cluster.directory, "switch.pid")))

    def test_a_stale_pid_file_names_no_stranger(self):
        cluster = self.fake_cluster(start=False)
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
        stranger = subprocess.Popen(["sleep", "600"])
        self.addCleanup(stranger.wait)
        self.addCleanup(stranger.kill)
        started = process_fields(stranger.pid)[22 - 3]
        here = os.stat(cluster.directory)
        for content in (f"{stranger.pid} 1 {boot} {here.st_dev} {here.st_ino}\n", f"{stranger.pid} {started} another-boot {here.st_dev} {here.st_ino}\n",
                        f"{stranger.pid} {started} {boot} {here.st_dev} {here.st_ino + 1}\n", f"{stranger.pid} {started} {boot}\n",
                        f"{stranger.pid}\n", "garbage", "", f"-1 1 {boot} {here.st_dev} {here.st_ino}\n"):
            with self.subTest(content=content):
                self.set_file(cluster, 1, "qemu.pid", content)
                self.assertIsNone(cluster.node(1)["pid"])
                cluster.kill(1)
                self.assertIsNone(stranger.poll())

    def test_a_copy_of_a_running_cluster_is_stopped_and_leaves_the_original_alone(self):
        cluster = self.fake_cluster()
        before = cluster.status()
        copy = lab.Cluster(os.path.join(self.folder(), "copy"), fakes.ENVIRONMENT)
        subprocess.run(["cp", "-a", cluster.directory, copy.directory], check=True)
        self.addCleanup(self.remove_cluster, copy)
        self.assertEqual(copy.status()["state"], "stopped")
        copy.stop()
        subprocess.run(["cp", "-a", cluster.directory + "/.", copy.directory], check=True)  # the pid files are there again
        copy.start()
        self.assertFalse({node["pid"] for node in copy.status()["nodes"]} & {node["pid"] for node in before["nodes"]})
        self.destroy_fakes(copy)
        self.assertExit(copy.try_command("destroy"), OK)
        self.assertEqual(cluster.status(), before)
        self.connect(cluster.attach_address()).wait_for(">>> ")

    def test_a_renamed_folder_keeps_its_processes(self):
        cluster = self.fake_cluster()
        before = cluster.status()
        os.rename(cluster.directory, cluster.directory + "-renamed")
        cluster.directory += "-renamed"
        self.assertEqual(cluster.status(), before)
        cluster.stop()
        self.assertEqual([node["pid"] for node in before["nodes"] if alive(node["pid"])], [])

    def test_two_clusters_do_not_collide(self):
        first, second = self.fake_cluster(), self.fake_cluster()
        self.assertNotEqual(first.attach_address(), second.attach_address())
        first.stop()
        self.assertEqual(second.status()["state"], "ok")
        self.connect(second.attach_address()).wait_for(">>> ")

    def test_a_long_folder_name_works(self):
        deep = os.path.join(self.folder(), *["d" * 60] * 5, "c")
        self.assertExit(eidolon("create", deep), OK)
        cluster = lab.Cluster(deep, fakes.ENVIRONMENT)
        self.addCleanup(self.remove_cluster, cluster)
        self.set_file(cluster, 1, "fake-world", "")
        for node in (1, 2, 3):
            self.set_status(cluster, node)
        cluster.start()
        self.assertEqual(cluster.status()["state"], "ok")


class TestStop(fakes.FakeTestCase):
    def test_stop_ends_all_processes_and_leaves_no_sockets(self):
        cluster = self.fake_cluster()
        pids = [node["pid"] for node in cluster.status()["nodes"]] + [switch_pid(cluster)]
        cluster.stop()
        self.assertEqual([pid for pid in pids if alive(pid)], [])
        left = {name for _, _, names in os.walk(cluster.directory) for name in names}
        self.assertFalse({"control.sock", "port.sock", "mgmt.sock", "net.sock", "qemu.pid", "switch.pid"} & left)
        self.assertIn("eidolon stop", cluster.node(1)["reason"])

    def test_the_port_of_the_terminal_is_the_same_after_a_stop(self):
        cluster = self.fake_cluster()
        before = cluster.attach_address()
        cluster.stop()
        cluster.start()
        self.assertEqual(cluster.attach_address(), before)

    def test_a_busy_port_is_replaced_by_a_free_one(self):
        cluster = self.fake_cluster()
        port = int(cluster.attach_address().split(":")[1])
        cluster.stop()
        with socket.socket() as busy:
            busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            busy.bind(("127.0.0.1", port))
            busy.listen()
            cluster.start()
            self.assertNotEqual(cluster.attach_address(), f"127.0.0.1:{port}")
            self.connect(cluster.attach_address()).wait_for(">>> ")

    def test_destroy_of_a_running_cluster_stops_it_first(self):
        cluster = self.fake_cluster()
        pids = [node["pid"] for node in cluster.status()["nodes"]] + [switch_pid(cluster)]
        self.destroy_fakes(cluster)
        self.assertExit(cluster.try_command("destroy"), OK)
        self.assertEqual([pid for pid in pids if alive(pid)], [])
        self.assertFalse(os.path.exists(cluster.directory))


class TestNodes(fakes.FakeTestCase):
    def test_kill_is_a_kill_and_only_of_that_node(self):
        cluster = self.fake_cluster()
        pids = [node["pid"] for node in cluster.status()["nodes"]]
        cluster.kill(2)
        self.assertEqual([alive(pid) for pid in pids], [True, False, True])
        self.assertIn("node kill", cluster.node(2)["reason"])
        self.assertNotIn("terminating", open(self.path(cluster, 2, "qemu.log")).read())

    def test_stop_and_start_of_a_node(self):
        cluster = self.fake_cluster()
        cluster.command("node", "stop", 3)
        self.assertIn("node stop", cluster.node(3)["reason"])
        cluster.start_node(3)
        wait_until(lambda: cluster.node(3)["state"] == "up", "node 3 is up")

    def test_a_qemu_that_dies_by_itself_is_reported_with_its_last_words(self):
        cluster = self.fake_cluster()
        os.kill(cluster.node(2)["pid"], signal.SIGTERM)
        wait_until(lambda: cluster.node(2)["pid"] is None, "QEMU of node 2 is gone")
        self.assertIn("no command ended it", cluster.node(2)["reason"])
        self.assertIn("terminating on signal 15", cluster.node(2)["reason"])

    def test_last_words_of_an_earlier_life_are_not_quoted(self):
        cluster = self.fake_cluster()
        for signal_number in (signal.SIGTERM, signal.SIGKILL):
            os.kill(cluster.node(2)["pid"], signal_number)
            wait_until(lambda: cluster.node(2)["pid"] is None, "QEMU of node 2 is gone")
            reason = cluster.node(2)["reason"]
            cluster.start_node(2)
        self.assertIn("no command ended it", reason)
        self.assertNotIn("terminating on signal 15", reason)

    def test_last_words_of_an_earlier_life_are_not_why_a_later_start_failed(self):
        cluster = self.fake_cluster()
        os.kill(cluster.node(2)["pid"], signal.SIGTERM)
        wait_until(lambda: "terminating on signal 15" in cluster.node(2)["reason"], "QEMU of node 2 is gone")
        os.unlink(self.path(cluster, 2, "disk.img"))
        self.assertExit(cluster.try_command("node", "start", 2), FAILED, "node 2 has no disk")
        self.assertEqual(cluster.node(2)["reason"], "not started")

    def test_a_disk_that_cannot_be_made_blank_is_the_old_one(self):
        cluster = self.fake_cluster(start=False)
        with open(self.path(cluster, 1, "disk.img"), "rb") as file:
            before = file.read(4096)
        size = os.path.getsize(self.path(cluster, 1, "disk.img"))
        result = subprocess.run([lab.EIDOLON, "node", "lose-disk", cluster.directory, "1"], stderr=subprocess.PIPE, text=True,
                                preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2)))
        self.assertNotEqual(result.returncode, OK)
        with open(self.path(cluster, 1, "disk.img"), "rb") as file:
            self.assertEqual((file.read(4096), os.path.getsize(file.name)), (before, size))

    def test_a_disk_is_not_lost_under_a_running_node(self):
        cluster = self.fake_cluster()
        self.assertExit(cluster.try_command("node", "lose-disk", 1), FAILED, "while its node is down", "node kill")

    def test_the_log_goes_to_stdout_and_survives_restarts(self):
        cluster = self.fake_cluster()
        cluster.kill(1)
        cluster.start_node(1)
        wait_until(lambda: cluster.log(1).count("fake node starts") == 2, "the log has both starts")


class TestStatus(fakes.FakeTestCase):
    def assertState(self, cluster, state, code):
        result = cluster.try_command("status", "-o", "json")
        self.assertEqual((json.loads(result.stdout)["state"], result.returncode), (state, code), result.stdout)
        return json.loads(result.stdout)

    def test_all_well_is_ok(self):
        cluster = self.fake_cluster()
        status = self.assertState(cluster, "ok", OK)
        self.assertEqual({key: status["nodes"][0][key] for key in ("id", "state", "reason", "role", "term", "commit_index", "incarnation")},
                         {"id": 1, "state": "up", "reason": "", "role": "leader", "term": 3, "commit_index": 12, "incarnation": "abc"})
        self.assertEqual(status["nodes"][1]["worlds"][0]["name"], "main")
        self.assertEqual(status["nodes"][1]["worlds"][0]["digest"], "00000000deadbeef")
        world = status["worlds"][0]
        self.assertEqual((world["name"], world["host"], world["epoch"], world["state"], world["address"]), ("main", 1, 7, "running", "10.77.0.100"))

    def test_a_dead_node_degrades(self):
        cluster = self.fake_cluster()
        cluster.kill(3)
        status = self.assertState(cluster, "degraded", DEGRADED)
        self.assertEqual(status["nodes"][2]["state"], "down")
        self.assertIn("node start", cluster.try_command("status").stdout)

    def test_a_silent_node_is_down_with_the_last_line_of_its_log(self):
        cluster = self.fake_cluster()
        self.silence(cluster, 2)
        status = self.assertState(cluster, "degraded", DEGRADED)
        self.assertEqual(status["nodes"][1]["state"], "down")
        self.assertIn("management", status["nodes"][1]["reason"])

    def test_a_node_that_was_silent_is_heard_again(self):
        cluster = self.fake_cluster()
        self.silence(cluster, 2)
        self.assertState(cluster, "degraded", DEGRADED)
        self.set_status(cluster, 2)
        wait_until(lambda: cluster.status()["state"] == "ok", "the cluster is ok")

    def test_a_node_without_a_vote_is_joining(self):
        cluster = self.fake_cluster()
        self.set_status(cluster, 3, voter=0)
        self.assertEqual(self.assertState(cluster, "degraded", DEGRADED)["nodes"][2]["state"], "joining")

    def test_a_node_without_a_vote_is_said_to_wait_where_there_is_no_quorum(self):
        cluster = self.fake_cluster()
        cluster.kill(1)
        self.set_status(cluster, 2, leader=0, majority=0, voter=0, role="joining", host=False)
        self.set_status(cluster, 3, leader=0, majority=0, host=False)
        self.assertIn("waits for a majority", self.assertState(cluster, "no-quorum", NO_QUORUM)["nodes"][1]["reason"])
        self.assertIn("node 2 waits for a majority", cluster.try_command("status").stdout)

    def test_a_bad_disk_is_told(self):
        cluster = self.fake_cluster()
        self.set_status(cluster, 3, role="joining", disk="corrupt", reason="record 17 has a bad checksum")
        self.assertIn("record 17", self.assertState(cluster, "degraded", DEGRADED)["nodes"][2]["reason"])

    def test_a_node_that_its_disk_keeps_out_is_not_said_to_catch_up(self):
        cluster = self.fake_cluster()
        for disk, advised in (("failed", ("node stop", "node start")), ("foreign", ("own disk", "lose-disk")), ("small", ("own disk", "lose-disk")),
                              ("corrupt", ("until a majority repairs it",))):
            with self.subTest(disk=disk):
                self.set_status(cluster, 3, role="joining", voter=0, disk=disk, reason="until a majority repairs it" if disk == "corrupt" else "as it is")
                output = cluster.try_command("status").stdout
                self.assertNotIn("catching up", output)
                for words in (f"node 3 takes no part: disk {disk}", *advised):
                    self.assertIn(words, output)
                if disk == "corrupt":
                    self.assertNotIn("lose-disk", output, "others may need what is on it")

    def test_the_one_node_without_its_disk_has_lost_its_world(self):
        cluster = self.fake_cluster(nodes=1)
        self.set_status(cluster, 1, nodes=1, leader=0, majority=0, voter=0, role="joining", disk="blank", reason="the disk is blank")
        output = cluster.try_command("status").stdout
        self.assertNotIn("catching up", output)
        self.assertNotIn("hear each other", output)
        for words in ("its world is lost", "eidolon destroy", "eidolon create --nodes 1"):
            self.assertIn(words, output)

    def test_no_leader_is_no_quorum(self):
        cluster = self.fake_cluster()
        for node in (1, 2, 3):
            self.set_status(cluster, node, leader=0, majority=0, host=False)
        status = self.assertState(cluster, "no-quorum", NO_QUORUM)
        self.assertIsNone(status["worlds"][0]["host"])

    def test_a_deposed_leader_is_not_believed(self):
        cluster = self.fake_cluster()
        self.set_status(cluster, 1, majority=0, host=True, world="waiting-commit")
        self.set_status(cluster, 2, leader=2)
        self.set_status(cluster, 3, leader=2)
        status = self.assertState(cluster, "degraded", DEGRADED)
        self.assertEqual(status["worlds"][0]["host"], 2)

    def test_a_link_that_the_leader_misses_degrades(self):
        cluster = self.fake_cluster()
        self.set_status(cluster, 1, links=[2])
        self.assertIn("no link", self.assertState(cluster, "degraded", DEGRADED)["nodes"][2]["reason"])

    def test_a_stopped_world_degrades_and_is_explained(self):
        cluster = self.fake_cluster()
        self.set_status(cluster, 1, world="stopped", reason='a "bad" page\\')
        status = self.assertState(cluster, "degraded", DEGRADED)
        self.assertEqual((status["worlds"][0]["state"], status["worlds"][0]["reason"]), ("stopped", 'a "bad" page\\'))
        self.assertIn("eidolon world reset", cluster.try_command("status").stdout)
        self.assertExit(cluster.try_command("exec", "1"), DEGRADED, "the world is stopped")

    def test_last_words_are_shown(self):
        cluster = self.fake_cluster()
        self.set_status(cluster, 2, last_words="check failed at x.c:1")
        self.assertIn("check failed at x.c:1", cluster.try_command("status").stdout)

    def test_nonsense_from_a_node_does_no_harm(self):
        cluster = self.fake_cluster()
        for text in ("ok\n", "error FULL a reason\n", "raft\nworld\npeer\nnode\nmove\ndisk\nok\n", "x" * 20000 + "\nok\n", "raft role \xff term -1\nok\n",
                     "world " + "w" * 900 + " state running host 1\nok\n", "peer 99 link 1\nraft term 99999999999999999999999\nok\n"):
            with self.subTest(text=text[:40]):
                self.set_file(cluster, 2, "fake-status", text)
                self.assertEqual(len(cluster.status()["nodes"]), 3)
        self.set_status(cluster, 2)
        wait_until(lambda: cluster.status()["state"] == "ok", "the cluster is ok")


class TestBackground(fakes.FakeTestCase):
    def test_nodes_outlive_it_status_says_so_and_start_recovers(self):
        cluster = self.fake_cluster()
        pids = [node["pid"] for node in cluster.status()["nodes"]]
        forward = cluster.forward(8000)
        kill_switch(cluster)
        status = cluster.status()
        self.assertEqual((status["switch"], status["state"]), ("down", "degraded"))
        self.assertEqual([node["state"] for node in status["nodes"]], ["up"] * 3, "nodes are asked directly")
        self.assertIn("background process", cluster.try_command("status").stdout)
        self.assertExit(cluster.try_command("exec", "1"), FAILED, "not running", "eidolon start")
        cluster.start()
        self.assertEqual([node["pid"] for node in cluster.status()["nodes"]], pids)
        self.assertEqual(cluster.status()["state"], "ok")
        self.assertEqual(cluster.forward(8000), forward, "forwards keep their ports")

    def test_cuts_outlive_it(self):
        cluster = self.fake_cluster()
        cluster.isolate(3)
        kill_switch(cluster)
        cluster.start()
        self.assertIn("node 3 is isolated", cluster.status()["faults"])

    def test_one_that_hangs_is_replaced(self):
        cluster = self.fake_cluster()
        pid = switch_pid(cluster)
        os.kill(pid, signal.SIGSTOP)
        self.assertExit(cluster.try_command("forward", "80"), TIMED_OUT, "does not answer")
        cluster.start()
        self.assertFalse(alive(pid))
        self.assertEqual(cluster.status()["state"], "ok")

    def test_nonsense_on_its_sockets_does_no_harm(self):
        cluster = self.fake_cluster()
        for name in ("control.sock", "port.sock"):
            for junk in (b"\0" * 100000, b"forward 9 9 9\n" * 50, b"manage 1 99999999999 status\n", b"cut 1\n", b"raw 1 100 zz\n", os.urandom(70000),
                         b"x" * 20000 + b"\n", b"\xff\xff\xff\xff"):
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(0.2)
                    client.connect(os.path.join(cluster.directory, name))
                    try:
                        client.sendall(junk)
                        client.recv(4096)
                    except OSError:
                        pass
        self.assertEqual(cluster.status()["state"], "ok")

    def connect_control(self, cluster, count):
        for _ in range(count):
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(lab.DEADLINE_S)
            client.connect(os.path.join(cluster.directory, "control.sock"))
            self.addCleanup(client.close)
            yield client

    def test_many_idle_clients_hinder_nobody(self):
        cluster = self.fake_cluster()
        pid = switch_pid(cluster)
        clients = list(self.connect_control(cluster, 100))
        cluster.start()
        self.assertEqual((cluster.status()["state"], switch_pid(cluster)), ("ok", pid))
        for client in clients:
            client.close()

    def test_clients_beyond_the_bound_wait_in_line(self):
        cluster = self.fake_cluster()
        clients = list(self.connect_control(cluster, 128 + 5))
        clients[-1].sendall(b"ping\n")
        self.assertEqual(select.select([clients[-1]], [], [], 0.2)[0], [])
        for client in clients[:5]:
            client.close()
        self.assertEqual(clients[-1].recv(100), b"ok\n")

    def test_a_request_behind_one_that_waits_longer_costs_nothing(self):
        cluster = self.fake_cluster()
        self.silence(cluster, 2)
        first, second = self.connect_control(cluster, 2)
        first.sendall(b"manage 2 20000 status\n")
        second.sendall(b"manage 2 1 status\n")
        wait_until(lambda: cluster.status()["state"] == "degraded", "the requests wait")
        before = processor_ticks(switch_pid(cluster))
        cluster.try_command("node", "manage", 2, "status")  # some seconds pass: it waits behind them
        self.assertLess(processor_ticks(switch_pid(cluster)) - before, os.sysconf("SC_CLK_TCK"))

    def test_it_costs_nothing_while_nothing_happens(self):
        cluster = self.fake_cluster()
        cluster.status()

        before = processor_ticks(switch_pid(cluster))
        time.sleep(2)
        self.assertLess(processor_ticks(switch_pid(cluster)) - before, 0.1 * 2 * os.sysconf("SC_CLK_TCK"))


class TestWayIn(fakes.FakeTestCase):
    def test_forward_is_the_same_for_the_same_port(self):
        cluster = self.fake_cluster()
        first = cluster.forward(8000)
        self.assertRegex(first, r"^127\.0\.0\.1:\d+$")
        self.assertEqual(cluster.forward(8000), first)
        self.assertNotEqual(cluster.forward(8001), first)
        self.assertNotEqual(cluster.forward(8000, node=1), first)

    def test_forwards_are_bounded(self):
        cluster = self.fake_cluster(nodes=1)
        for port in range(2000, 2063):
            cluster.forward(port)
        self.assertExit(cluster.try_command("forward", 3000), FAILED, "bound")
        self.assertEqual(cluster.status()["state"], "ok")

    def test_exec_prints_what_came_and_passes_the_exit_code_on(self):
        cluster = self.fake_cluster()
        result = cluster.try_command("exec", "print('hello')\n")
        self.assertEqual((result.returncode, result.stdout), (OK, "print('hello')\n"))
        result = cluster.try_command("exec", "--session", "other", "-", stdin="raise X\nöäü\n" + "line\n" * 5000)
        self.assertEqual((result.returncode, result.stdout), (FAILED, "raise X\nöäü\n" + "line\n" * 5000))

    def test_exec_ends_when_nobody_takes_its_output(self):
        cluster = self.fake_cluster()
        process = subprocess.Popen([lab.EIDOLON, "exec", cluster.directory, "endless\n"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual(process.stdout.readline(), "endless\n")
        process.stdout.close()
        self.assertEqual(process.wait(timeout=lab.DEADLINE_S), FAILED)
        self.assertIn("standard output cannot be written", process.stderr.read())
        process.stderr.close()

    def test_exec_ends_in_time_also_while_output_comes(self):
        cluster = self.fake_cluster()
        self.assertExit(cluster.try_command("exec", "--timeout", 1, "endless\n"), TIMED_OUT, "did not end in time", "eidolon.interrupt(thread)")

    def test_exec_takes_each_name_of_a_session_that_the_world_takes(self):
        cluster = self.fake_cluster()
        self.assertExit(cluster.try_command("exec", "--session", "a.B-c_9", "1"), OK)

    def test_exec_runs_nothing_after_its_time(self):
        cluster = self.fake_cluster()
        card = self.card(cluster, 1)
        self.silence(cluster, 2)  # so that the look at the cluster takes longer
        self.assertExit(cluster.try_command("exec", "--timeout", 1, "too late"), TIMED_OUT, "nothing was run")
        cluster.command("exec", "in time")
        frames = []
        while not frames or b"in time" not in frames[-1]:
            frames.append(card.receive())
            self.assertIsNotNone(frames[-1], "the later source reaches the world")
        self.assertFalse([one for one in frames if b"too late" in one])

    def test_exec_refuses_what_the_world_could_not_take(self):
        cluster = self.fake_cluster()
        self.assertExit(cluster.try_command("exec", "-", stdin="x" * (256 * 1024 + 1)), USAGE, "longer")
        self.assertExit(cluster.try_command("exec", "--session", "two words", "1"), USAGE, "session")

    def test_exec_waits_for_a_takeover_but_not_without_a_majority(self):
        cluster = self.fake_cluster()
        for node in (1, 2, 3):
            self.set_status(cluster, node, leader=0, host=False)
        process = subprocess.Popen([lab.EIDOLON, "exec", cluster.directory, "1"], stdout=subprocess.PIPE, text=True)
        wait_until(lambda: cluster.log(3).count("'status'") >= 3, "the command looks again")
        for node in (1, 2, 3):
            self.set_status(cluster, node)
        self.assertEqual(process.communicate(timeout=lab.DEADLINE_S)[0], "1")
        cluster.kill(2)
        cluster.kill(3)
        self.set_status(cluster, 1, leader=0, majority=0, host=False)
        self.assertExit(cluster.try_command("exec", "1"), NO_QUORUM, "no quorum")

    def test_attach_needs_a_terminal(self):
        cluster = self.fake_cluster()
        self.assertExit(cluster.try_command("attach"), FAILED, "terminal", "eidolon exec")

    def test_attach_speaks_its_protocol_detaches_and_restores_the_terminal(self):
        cluster = self.fake_cluster()
        terminal = Terminal(self, lab.EIDOLON, "attach", cluster.directory, "--session", "s1")
        terminal.wait_for(b"<terminal s1 80x24\n>")
        terminal.type(b"abc\x03")
        terminal.wait_for(b"\x03>")
        self.assertIn(b"abc", terminal.output)
        terminal.type(b"\x1d")
        terminal.wait_for(b"eidolon stop")
        self.assertIn(b"come back", terminal.output)
        self.assertEqual(terminal.wait(), OK)

    def test_a_session_that_ends_itself_is_no_failure_and_a_connection_that_ends_is_one(self):
        cluster = self.fake_cluster()
        for keys, told, code in ((b"bye", b"session main ended by itself", OK), (b"(session ended)\r\nhang", b"connection to session main ended", FAILED)):
            with self.subTest(keys=keys):
                terminal = Terminal(self, lab.EIDOLON, "attach", cluster.directory)
                terminal.wait_for(b"<terminal main 80x24\n>")
                terminal.type(keys)
                terminal.wait_for(told)
                self.assertEqual(terminal.wait(), code)

    def test_make_run_says_how_to_come_back_to_the_same_cluster(self):
        cluster = self.fake_cluster()
        os.rename(cluster.directory, cluster.directory + " 2")
        cluster.directory += " 2"
        terminal = Terminal(self, os.path.join(lab.ROOT, "cluster-sim", "run"), cluster.directory)
        terminal.wait_for(b"<terminal main 80x24\n>")
        terminal.type(b"\x1d")
        terminal.wait_for(b"make run DIR='%s'" % cluster.directory.encode())
        self.assertEqual(terminal.wait(), OK)


class TestMove(fakes.FakeTestCase):
    def test_move_prints_how_long_the_world_was_stopped(self):
        cluster = self.fake_cluster()
        self.set_file(cluster, 1, "fake-move", "ok\n")
        process = subprocess.Popen([lab.EIDOLON, "move", cluster.directory, "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.set_status(cluster, 1, leader=2, move="move state done target 2 stopped_us 12345 reason ")
        self.set_status(cluster, 2, leader=2)
        self.set_status(cluster, 3, leader=2)
        output, errors = process.communicate(timeout=lab.DEADLINE_S)
        self.assertEqual(process.returncode, OK, errors)
        self.assertRegex(output, r"(to node 2, stopped for 12\.3 ms|already)")

    def test_a_refused_move_gives_the_reason(self):
        cluster = self.fake_cluster()
        self.set_file(cluster, 1, "fake-move", "error BUSY not now reason that node is not a voter yet\n")
        self.assertExit(cluster.try_command("move", 2), FAILED, "that node is not a voter yet")

    def test_a_failed_move_gives_the_reason(self):
        cluster = self.fake_cluster()
        self.set_file(cluster, 1, "fake-move", "ok\n")
        self.set_status(cluster, 1, move="move state failed target 2 stopped_us 5 reason the other side went away")
        self.assertExit(cluster.try_command("move", 2), FAILED, "the other side went away", "stays on node 1")

    def test_a_move_to_where_it_is_does_nothing(self):
        cluster = self.fake_cluster()
        self.assertIn("already", cluster.command("move", 1))

    def test_a_move_to_a_dead_node_is_refused(self):
        cluster = self.fake_cluster()
        cluster.kill(2)
        self.assertExit(cluster.try_command("move", 2), DEGRADED, "node 2", "down")

    def test_reset_only_of_a_stopped_world(self):
        cluster = self.fake_cluster()
        self.set_file(cluster, 1, "fake-reset", "ok\n")
        self.assertExit(cluster.try_command("world", "reset"), FAILED, "not stopped")
        self.set_status(cluster, 1, world="stopped", reason="x")
        process = subprocess.Popen([lab.EIDOLON, "world", "reset", cluster.directory], stderr=subprocess.PIPE, text=True)
        wait_until(lambda: "'reset'" in cluster.log(1), "the reset reaches the host")
        self.set_status(cluster, 1)
        _, errors = process.communicate(timeout=lab.DEADLINE_S)
        self.assertEqual(process.returncode, OK, errors)

    def test_a_refused_reset_gives_the_reason(self):
        cluster = self.fake_cluster()
        self.set_status(cluster, 1, world="stopped", reason="x")
        self.set_file(cluster, 1, "fake-reset", "error REFUSED no reason it still drains\n")
        self.assertExit(cluster.try_command("world", "reset"), FAILED, "it still drains")

    def test_management_lines_reach_the_node(self):
        cluster = self.fake_cluster()
        self.assertEqual(cluster.command("node", "manage", 2, "ping hello"), "pong hello\n")
        self.assertExit(cluster.try_command("node", "manage", 2, "fly"), FAILED, "no such command")
        self.assertExit(cluster.try_command("node", "manage", 2, "--raw", stdin="\x00garbage\x7f" * 100), OK)
        self.assertIn("garbage", cluster.log(2))
        self.assertEqual(cluster.command("node", "manage", 2, "ping again"), "pong again\n")

    def test_management_of_a_node_that_is_down_says_so(self):
        cluster = self.fake_cluster()
        cluster.kill(2)
        for words in (["ping"], ["--raw"]):
            self.assertExit(cluster.try_command("node", "manage", 2, *words), FAILED, "node 2 is down", "node start")


class TestSwitch(fakes.FakeTestCase):
    def cards(self, cluster):
        return {node: self.card(cluster, node) for node in (1, 2, 3)}

    def assertSilent(self, card, unwanted):
        """`unwanted` does not come although a frame sent after it over another way does (by then the switch has seen both)."""
        while True:
            got = card.receive(0.5)
            if got is None:
                return
            self.assertNotEqual(got, unwanted)

    def test_a_frame_reaches_its_node_and_a_broadcast_all(self):
        cluster = self.fake_cluster()
        cards = self.cards(cluster)
        cards[1].send(frame(BROADCAST, mac(1), b"hello"))
        for node in (2, 3):
            cards[node].wait_frame(frame(BROADCAST, mac(1), b"hello"))
        cards[2].send(frame(mac(1), mac(2), b"answer"))
        cards[1].wait_frame(frame(mac(1), mac(2), b"answer"))
        self.assertSilent(cards[3], frame(mac(1), mac(2), b"answer"))

    def test_an_address_follows_its_owner(self):
        cluster = self.fake_cluster()
        cards = self.cards(cluster)
        world = bytes([0x02, 0xE1, 0xD0, 0, 0, 9])
        cards[1].send(frame(BROADCAST, world, b"here"))
        cards[3].wait_frame(frame(BROADCAST, world, b"here"))
        cards[3].send(frame(world, mac(3), b"one"))
        cards[1].wait_frame(frame(world, mac(3), b"one"))
        cards[2].send(frame(BROADCAST, world, b"moved"))
        cards[3].wait_frame(frame(BROADCAST, world, b"moved"))
        cards[3].send(frame(world, mac(3), b"two"))
        cards[2].wait_frame(frame(world, mac(3), b"two"))
        self.assertSilent(cards[1], frame(world, mac(3), b"two"))

    def test_an_address_of_a_dead_node_is_forgotten(self):
        cluster = self.fake_cluster()
        cards = self.cards(cluster)
        world = bytes([0x02, 0xE1, 0xD0, 0, 0, 9])
        cards[1].send(frame(BROADCAST, world, b"here"))
        cards[3].wait_frame(frame(BROADCAST, world, b"here"))
        cluster.kill(1)
        cards[3].send(frame(world, mac(3), b"anyone?"))
        cards[2].wait_frame(frame(world, mac(3), b"anyone?"))

    def test_the_gateway_does_not_answer_for_a_dead_node(self):
        cluster = self.fake_cluster()
        card = self.card(cluster, 1)
        own = (mac(1), "10.77.0.11", 5000)

        def ask_gateway():
            """All frames up to the gateway's answer: by then it has dealt with what was sent before."""
            card.send(BROADCAST + mac(1) + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, 1) + mac(1) + socket.inet_aton(own[1]) +
                      bytes(6) + socket.inet_aton("10.77.0.2"))
            frames = []
            while not (frames and frames[-1][12:14] == b"\x08\x06" and frames[-1][20:22] == b"\0\2"):
                frames.append(card.receive())
                self.assertIsNotNone(frames[-1], "the gateway answers")
            return frames
        ask_gateway()
        cluster.kill(2)
        card.send(wire.tcp_frame(own, (mac(2), "10.77.0.12", 7), 1, 1, 0x10))
        answers = [segment for one in ask_gateway() if (segment := wire.segment_of(one))]
        self.assertEqual([], [segment for segment in answers if segment.source_ip == "10.77.0.12"])

    def test_cuts_are_of_a_direction_and_heal(self):
        cluster = self.fake_cluster()
        cards = self.cards(cluster)
        cluster.cut(1, 2, one_way=True)
        cards[1].send(frame(BROADCAST, mac(1), b"a"))
        cards[3].wait_frame(frame(BROADCAST, mac(1), b"a"))
        self.assertSilent(cards[2], frame(BROADCAST, mac(1), b"a"))
        cards[2].send(frame(mac(1), mac(2), b"b"))
        cards[1].wait_frame(frame(mac(1), mac(2), b"b"))
        cluster.cut(1, 2)
        cards[2].send(frame(mac(1), mac(2), b"c"))
        self.assertSilent(cards[1], frame(mac(1), mac(2), b"c"))
        self.assertIn("cut from node 1 to node 2", cluster.status()["faults"])
        cluster.heal()
        self.assertEqual(cluster.status()["faults"], "")
        cards[2].send(frame(mac(1), mac(2), b"d"))
        cards[1].wait_frame(frame(mac(1), mac(2), b"d"))

    def test_all_cuts_are_told(self):
        cluster = self.fake_cluster(nodes=5)
        for node in (1, 2, 3, 4):
            for other in range(node + 1, 6):
                cluster.cut(node, other)
        self.assertEqual(cluster.status()["faults"].count("cut from node"), 20)
        self.assertIn("cut from node 5 to node 4", cluster.status()["faults"])

    def test_an_isolated_node_hears_and_teaches_nobody_but_still_reports(self):
        cluster = self.fake_cluster()
        cards = self.cards(cluster)
        world = bytes([0x02, 0xE1, 0xD0, 0, 0, 9])
        cards[2].send(frame(BROADCAST, world, b"mine"))
        cards[3].wait_frame(frame(BROADCAST, world, b"mine"))
        cluster.isolate(1)
        cards[1].send(frame(BROADCAST, world, b"no, mine"))
        self.assertSilent(cards[3], frame(BROADCAST, world, b"no, mine"))
        cards[3].send(frame(world, mac(3), b"whose?"))
        cards[2].wait_frame(frame(world, mac(3), b"whose?"))
        self.assertEqual(cluster.node(1)["state"], "up")
        with self.assertRaises(AssertionError):
            self.connect(cluster.attach_address()).wait_for(">>> ", deadline_s=2)

    def test_a_cut_from_the_outside(self):
        cluster = self.fake_cluster()
        cluster.cut("outside", 1)
        with self.assertRaises(AssertionError):
            self.connect(cluster.attach_address()).wait_for(">>> ", deadline_s=2)
        cluster.heal()
        self.connect(cluster.attach_address()).wait_for(">>> ")

    def test_a_cut_needs_two_ends(self):
        cluster = self.fake_cluster()
        self.assertExit(cluster.try_command("fault", "cut", "1", "1"), USAGE, "two different ends")

    def test_a_tap_sees_broadcasts_and_sends(self):
        cluster = self.fake_cluster()
        cards, tap = self.cards(cluster), self.tap(cluster)
        tap.send(frame(mac(2), mac(77), b"from outside"))
        cards[2].wait_frame(frame(mac(2), mac(77), b"from outside"))  # so the switch has accepted the tap
        cards[1].send(frame(BROADCAST, mac(1), b"to all"))
        tap.wait_frame(frame(BROADCAST, mac(1), b"to all"))

    def test_broken_frames_end_a_tap_only(self):
        cluster = self.fake_cluster()
        cards, tap = self.cards(cluster), self.tap(cluster)
        tap.send(b"short")
        tap.send(b"\xff" * 60000)
        tap.socket.sendall(b"\xff\xff\xff\xff junk")
        wait_until(lambda: tap.socket.recv(4096) == b"", "the tap is closed")
        cards[1].send(frame(mac(2), mac(1), b"still"))
        cards[2].wait_frame(frame(mac(2), mac(1), b"still"))

    def test_a_node_that_does_not_read_harms_no_other(self):
        cluster = self.fake_cluster()
        cards = self.cards(cluster)
        os.kill(cluster.node(3)["pid"], signal.SIGSTOP)
        big = frame(BROADCAST, mac(1), b"x" * 1400)
        for _ in range(3000):
            cards[1].send(big)
            cards[2].receive(0.05)
        cards[1].send(frame(mac(2), mac(1), b"last"))
        cards[2].wait_frame(frame(mac(2), mac(1), b"last"))
        os.kill(cluster.node(3)["pid"], signal.SIGCONT)

    def test_capture_has_every_frame(self):
        cluster = self.fake_cluster()
        cards = self.cards(cluster)
        path = os.path.join(self.folder(), "all.pcap")
        cluster.command("capture", path)
        for number in range(50):
            cards[1].send(frame(mac(2), mac(1), b"number %d" % number))
        cards[2].wait_frame(frame(mac(2), mac(1), b"number 49"))
        cluster.command("capture", "--stop")
        with open(path, "rb") as file:
            content = file.read()
        self.assertEqual(content[:4], b"\xd4\xc3\xb2\xa1")
        for number in range(50):
            self.assertIn(frame(mac(2), mac(1), b"number %d" % number), content)

    def test_a_capture_into_a_pipe_is_refused_as_its_reader_could_hold_up_the_switch(self):
        cluster = self.fake_cluster()
        pipe = os.path.join(self.folder(), "pipe")
        os.mkfifo(pipe)
        self.assertExit(cluster.try_command("capture", pipe), FAILED, "no ordinary file")
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        self.assertExit(cluster.try_command("capture", pipe), FAILED, "no ordinary file")
        self.assertEqual(cluster.status()["state"], "ok")

    def test_a_capture_that_cannot_be_written_is_named(self):
        cluster = self.fake_cluster()
        self.assertExit(cluster.try_command("capture", "/no/such/folder/x.pcap"), FAILED, "/no/such/folder/x.pcap", "No such file")
