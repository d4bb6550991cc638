"""The command's contract where no node runs: usage, create, destroy, and what is said about folders that are no cluster."""
import ctypes
import errno
import os
import shlex
import stat
import struct
import subprocess

import lab
from lab import FAILED, NOT_FOUND, NO_QUORUM, OK, USAGE, eidolon


def refuse_flags_of_renameat2():
    """From here on, also after exec, renameat2 with flags ends in EINVAL, as on NFS: a filter of system calls (x86-64)."""
    call, flags, renameat2, error = 0, 16 + 4 * 8, 316, 0x00050000 | errno.EINVAL  # offsets in struct seccomp_data; SECCOMP_RET_ERRNO
    load, unless_equal, answer = 0x20, 0x15, 0x06
    steps = [(load, 0, 0, call), (unless_equal, 0, 3, renameat2), (load, 0, 0, flags), (unless_equal, 1, 0, 0), (answer, 0, 0, error),
             (answer, 0, 0, 0x7FFF0000)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(38, 1, 0, 0, 0)  # no new privileges
    if libc.prctl(22, 2, struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(program)), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no filter of system calls")


class TestUsage(lab.TestCase):
    def test_no_command_prints_usage_to_stderr(self):
        result = eidolon()
        self.assertExit(result, USAGE, "usage:")
        self.assertEqual(result.stdout, "")

    def test_help_prints_usage_to_stdout(self):
        result = eidolon("help")
        self.assertExit(result, OK)
        for command in ("create", "start", "attach", "lose-disk", "isolate", "destroy"):
            self.assertIn(command, result.stdout)

    def test_wrong_words_are_usage_errors(self):
        for arguments in (["fly", "x"], ["create"], ["create", "a", "b"], ["status"], ["status", "x", "-o"], ["status", "x", "-o", "xml"],
                          ["create", "x", "--colour", "red"], ["create", "x", "--nodes"], ["create", "x", "--nodes=1", "--nodes=3"],
                          ["node", "x", "1"], ["node", "fly", "x", "1"], ["fault", "cut", "x", "1"], ["fault"], ["world", "x"],
                          ["capture", "x"], ["capture", "x", "y", "--stop"], ["forward", "x", "http"], ["forward", "x", "0"],
                          ["forward", "x", "65536"], ["start", "x", "--timeout", "soon"], ["exec", "x"]):
            with self.subTest(arguments=arguments):
                result = eidolon(*arguments)
                self.assertExit(result, USAGE, "eidolon: ")
                self.assertEqual(result.stdout, "")


class TestNoCluster(lab.TestCase):
    def test_commands_on_a_missing_folder_say_so(self):
        missing = os.path.join(self.folder(), "missing")
        for arguments in (["status"], ["start"], ["stop"], ["destroy"], ["exec", "1"], ["attach"], ["forward", "80"], ["move", "1"],
                          ["log", "1"], ["capture", "x"], ["port"]):
            with self.subTest(command=arguments[0]):
                result = eidolon(arguments[0], missing, *arguments[1:])
                self.assertExit(result, NOT_FOUND, missing, "eidolon create")
        for words in (["node", "kill"], ["node", "lose-disk"], ["fault", "isolate"]):
            with self.subTest(command=words):
                self.assertExit(eidolon(*words, missing, "1"), NOT_FOUND, missing)

    def test_a_file_is_not_advised_as_the_folder_of_a_cluster(self):
        path = os.path.join(self.folder(), "file")
        with open(path, "w"):
            pass
        self.assertExit(eidolon("status", path), NOT_FOUND, "that is no folder", "eidolon create DIR")

    def test_a_folder_that_is_no_cluster_is_left_alone(self):
        folder = self.folder()
        with open(os.path.join(folder, "precious"), "w") as file:
            file.write("mine")
        self.assertExit(eidolon("destroy", folder), NOT_FOUND, "no cluster")
        self.assertEqual(os.listdir(folder), ["precious"])

    def test_a_damaged_cluster_file_is_named(self):
        for content in ("", "garbage", "eidolon-cluster 9\n", "eidolon-cluster 1\nid 00\nnodes 3\n", "eidolon-cluster 1\nnodes 99\n", "\0" * 64):
            with self.subTest(content=content):
                cluster = self.cluster(start=False)
                path = os.path.join(cluster.directory, "cluster")
                with open(path) as file:
                    whole = file.read()
                with open(path, "w") as file:
                    file.write(content)
                self.assertExit(cluster.try_command("status"), FAILED, "damaged")
                with open(path, "w") as file:
                    file.write(whole)


class TestCreate(lab.TestCase):
    def test_creates_what_it_was_told_and_nothing_readable_by_others(self):
        cluster = self.cluster(nodes=5, start=False, disk=200)
        for folder, _, names in os.walk(cluster.directory):
            self.assertEqual(stat.S_IMODE(os.stat(folder).st_mode), 0o700)
            for name in names:
                self.assertEqual(stat.S_IMODE(os.stat(os.path.join(folder, name)).st_mode), 0o600)
        for node in range(1, 6):
            about = os.stat(os.path.join(cluster.directory, f"node{node}", "disk.img"))
            self.assertEqual(about.st_size, 200 << 20)
            self.assertLess(about.st_blocks * 512, 1 << 20, "the image is sparse")

    def test_each_cluster_and_node_has_secrets_of_its_own(self):
        seen = set()
        for _ in range(2):
            cluster = self.cluster(nodes=3, start=False)
            for node in range(1, 4):
                with open(os.path.join(cluster.directory, f"node{node}", "boot.conf"), "rb") as file:
                    content = file.read()
                self.assertEqual(len(content), 368)
                seen.add(content[88:120])        # the node's identity seed
        self.assertEqual(len(seen), 6)

    def test_the_sealing_key_is_not_on_the_disk(self):
        cluster = self.cluster(nodes=1, start=False)
        with open(os.path.join(cluster.directory, "node1", "boot.conf"), "rb") as file:
            key = file.read()[56:88]
        with open(os.path.join(cluster.directory, "node1", "disk.img"), "rb") as file:
            self.assertNotIn(key, file.read(1 << 20))

    def test_an_existing_folder_is_refused_and_untouched(self):
        folder = self.folder()
        result = eidolon("create", folder)
        self.assertExit(result, FAILED, "exists already")
        self.assertEqual(os.listdir(folder), [])

    def test_numbers_that_make_no_cluster_are_refused_and_leave_nothing(self):
        folder = self.folder()
        for options in (["--nodes", "2"], ["--nodes", "0"], ["--nodes", "-3"], ["--nodes", "three"], ["--nodes", "99999999999999999999"],
                        ["--disk", "16"], ["--disk", "0"], ["--world-memory", "31"], ["--world-memory", "4096"], ["--memory", "64"],
                        ["--world-memory", "512"], ["--election-timeout", "40"], ["--heartbeat", "1"]):
            with self.subTest(options=options):
                result = eidolon("create", os.path.join(folder, "c"), *options)
                self.assertExit(result, USAGE, "eidolon: ")
                self.assertEqual(os.listdir(folder), [])

    def test_what_is_no_number_is_told_no_bound_that_is_not_the_options(self):
        for option in ("--nodes", "--disk", "--election-timeout"):
            with self.subTest(option=option):
                result = eidolon("create", os.path.join(self.folder(), "c"), option, "x")
                self.assertExit(result, USAGE, f"{option} takes a whole number", "not `x`")
                self.assertNotRegex(result.stderr, r"[0-9]")

    def test_a_heartbeat_that_the_default_does_not_fit_is_told_with_it(self):
        self.assertExit(eidolon("create", os.path.join(self.folder(), "c"), "--heartbeat", "100"), USAGE, "heartbeat of 100 ms", "timeout of 200 ms")

    def test_numbers_that_are_advised_are_taken(self):
        target = os.path.join(self.folder(), "c")
        options = {"--nodes": "1", "--world-memory": "2048"}
        for advised in ("--disk", "--memory"):
            result = eidolon("create", target, *[word for option in options.items() for word in option])
            self.assertExit(result, USAGE, f"{advised} takes ")
            options[advised] = result.stderr.split(f"{advised} takes ")[1].split()[0]
        self.assertExit(eidolon("create", target, *[word for option in options.items() for word in option]), OK)

    def test_a_number_that_is_too_large_is_not_called_too_small(self):
        target = os.path.join(self.folder(), "c")
        for option, most in (("--memory", "16384"), ("--disk", "65536")):
            with self.subTest(option=option):
                self.assertExit(eidolon("create", target, option, "99999"), USAGE, "too large", f"to {most} here")

    def test_an_existing_folder_that_is_no_cluster_is_told_from_one(self):
        folder = self.folder()
        self.assertExit(eidolon("create", folder), FAILED, "is no cluster")

    def test_parents_that_were_made_for_nothing_are_removed(self):
        folder = self.folder()
        self.assertExit(eidolon("create", os.path.join(folder, "a", "b", "x" * 300)), FAILED, "nothing was left behind")
        self.assertEqual(os.listdir(folder), [])

    def test_a_command_that_is_advised_can_be_typed_as_it_stands(self):
        folder = os.path.join(self.folder(), "it's a place")
        self.assertExit(eidolon("create", folder), OK)
        result = eidolon("create", folder)
        self.assertExit(result, FAILED, "exists already")
        advised = shlex.split(result.stderr.split("with: ")[1])
        self.assertEqual(advised[1:], ["destroy", folder])
        result = eidolon("status", folder)
        advised = shlex.split(result.stdout.split("start it: ")[1])
        self.assertEqual(advised[1:], ["start", folder])
        self.assertExit(eidolon("destroy", folder), OK)

    def test_the_command_itself_is_advised_as_it_can_be_typed(self):
        folder = os.path.join(self.folder(), "in a place")
        os.mkdir(folder)
        command = os.path.join(folder, "eidolon")
        os.symlink(lab.EIDOLON, command)
        missing = os.path.join(folder, "c")
        result = subprocess.run([command, "status", missing], capture_output=True, text=True)
        self.assertExit(result, NOT_FOUND, "no cluster")
        self.assertEqual(shlex.split(result.stderr.split("with: ")[1]), [command, "create", missing])

    def test_a_place_that_cannot_be_written_is_named_and_nothing_is_left(self):
        result = eidolon("create", "/proc/eidolon-test/c")
        self.assertExit(result, FAILED, "/proc/eidolon-test/c", "nothing was left behind")

    def test_a_file_system_that_cannot_rename_exclusively_holds_a_cluster_all_the_same(self):
        folder = self.folder()
        result = subprocess.run([lab.EIDOLON, "create", "c"], cwd=folder, capture_output=True, text=True, preexec_fn=refuse_flags_of_renameat2)
        self.assertExit(result, OK)
        self.assertExit(eidolon("status", "c", folder=folder), NO_QUORUM)
        self.assertEqual(os.listdir(folder), ["c"])

    def test_the_longest_name_that_a_folder_may_have_works(self):
        folder = self.folder()
        name = "x" * os.pathconf(folder, "PC_NAME_MAX")
        self.assertExit(eidolon("create", name, folder=folder), OK)
        self.assertExit(eidolon("status", name, folder=folder), NO_QUORUM)
        self.assertEqual(os.listdir(folder), [name])

    def test_missing_parents_are_made(self):
        target = os.path.join(self.folder(), "a", "b", "c")
        self.assertExit(eidolon("create", target), OK)
        self.assertTrue(os.path.exists(os.path.join(target, "cluster")))

    def test_relative_folders_and_trailing_slashes_work(self):
        folder = self.folder()
        self.assertExit(eidolon("create", "c/", folder=folder), OK)
        self.assertExit(eidolon("status", "c", folder=folder), NO_QUORUM)


class TestStoppedCluster(lab.TestCase):
    def test_status_lists_every_node_with_a_reason(self):
        cluster = self.cluster(nodes=3, start=False)
        result = cluster.try_command("status", "-o", "json")
        self.assertExit(result, NO_QUORUM)
        status = cluster.status()
        self.assertEqual((status["schema"], status["state"]), (1, "stopped"))
        self.assertEqual([node["id"] for node in status["nodes"]], [1, 2, 3])
        for node in status["nodes"]:
            self.assertEqual((node["state"], node["pid"], node["role"], node["worlds"]), ("down", None, None, []))
            self.assertEqual(node["reason"], "not started")
        self.assertEqual(status["worlds"][0]["name"], "main")
        self.assertIsNone(status["worlds"][0]["host"])

    def test_the_table_says_what_to_type_next(self):
        cluster = self.cluster(start=False)
        result = cluster.try_command("status")
        self.assertIn(f"eidolon start {cluster.directory}", result.stdout)

    def test_commands_that_need_the_world_say_that_it_is_stopped(self):
        cluster = self.cluster(start=False)
        for arguments in (["exec", "1"], ["move", "1"], ["world", "reset"]):
            with self.subTest(command=arguments):
                self.assertExit(cluster.try_command(*arguments), NO_QUORUM, "stopped", "eidolon start")

    def test_commands_that_need_the_background_process_say_that_it_is_not_there(self):
        cluster = self.cluster(start=False)
        for arguments in (["forward", "80"], ["fault", "heal"], ["fault", "isolate", "1"], ["port"], ["capture", "x"]):
            with self.subTest(command=arguments):
                self.assertExit(cluster.try_command(*arguments), FAILED, "not running", "eidolon start")

    def test_a_node_that_does_not_exist_is_not_found(self):
        cluster = self.cluster(nodes=1, start=False)
        for arguments in (["node", "start", "2"], ["node", "kill", "0"], ["log", "6"], ["move", "2"], ["fault", "isolate", "2"]):
            with self.subTest(command=arguments):
                self.assertExit(cluster.try_command(*arguments), NOT_FOUND, "there is no node")
        self.assertExit(cluster.try_command("node", "start", "one"), USAGE)

    def test_stop_of_a_stopped_cluster_is_fine(self):
        cluster = self.cluster(start=False)
        self.assertExit(cluster.try_command("stop"), OK)

    def test_destroy_removes_the_folder(self):
        cluster = self.cluster(start=False)
        self.assertExit(cluster.try_command("destroy"), OK)
        self.assertFalse(os.path.exists(cluster.directory))
        self.assertExit(cluster.try_command("destroy"), NOT_FOUND)

    def test_destroy_leaves_what_is_not_ours(self):
        cluster = self.cluster(start=False)
        mine = os.path.join(cluster.directory, "mine")
        with open(mine, "w"):
            pass
        self.assertExit(cluster.try_command("destroy"), FAILED, "other files")
        self.assertEqual(os.listdir(cluster.directory), ["mine"])

    def test_lose_disk_makes_an_image_of_zeros_of_the_same_size(self):
        cluster = self.cluster(start=False)
        path = os.path.join(cluster.directory, "node2", "disk.img")
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            self.assertNotEqual(file.read(4096), bytes(4096))
        cluster.lose_disk(2)
        self.assertEqual(os.path.getsize(path), size)
        with open(path, "rb") as file:
            self.assertEqual(file.read(1 << 20), bytes(1 << 20))
        self.assertIn("blank", cluster.node(2)["reason"])

    def test_the_log_of_a_node_that_never_ran_is_not_there(self):
        cluster = self.cluster(start=False)
        self.assertExit(cluster.try_command("log", "1"), FAILED, "never been started")
