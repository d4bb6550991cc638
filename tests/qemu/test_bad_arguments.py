"""What a user gets wrong before anything runs: one clear sentence, the right exit code, nothing half-made left behind."""

import os
import shutil
import tempfile

from lab import FAILED, NOT_FOUND, USAGE, Cluster, Sentences, eidolon


class BadArguments(Sentences):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="eidolon-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def test_create_bad_numbers_exits_2_and_leaves_nothing(self):
        for arguments in (("--nodes", 2), ("--nodes", "many"), ("--disk", 1), ("--memory", 1), ("--world-memory", 1), ("--no-such", 1),
                          ("--nodes",)):
            with self.subTest(arguments=arguments):
                self.assert_refused(eidolon("create", os.path.join(self.folder, "new"), *arguments), USAGE)
                self.assertEqual(os.listdir(self.folder), [])

    def test_create_over_existing_folder_exits_1_and_changes_nothing(self):
        existing = os.path.join(self.folder, "mine")
        os.mkdir(existing)
        with open(os.path.join(existing, "letter"), "w") as file:
            file.write("keep me")
        self.assert_refused(eidolon("create", existing), FAILED, existing)
        self.assertEqual(os.listdir(existing), ["letter"])

    def test_create_below_a_file_exits_1(self):
        with open(os.path.join(self.folder, "file"), "w"):
            pass
        self.assert_refused(eidolon("create", os.path.join(self.folder, "file", "place")), FAILED)
        self.assertEqual(os.listdir(self.folder), ["file"])

    def test_commands_without_a_cluster_exit_6(self):
        missing = os.path.join(self.folder, "nothing")
        for arguments in (("status",), ("start",), ("stop",), ("attach",), ("destroy",), ("port",)):
            with self.subTest(command=arguments[0]):
                self.assert_refused(eidolon(*arguments, missing), NOT_FOUND, missing)
        for command, rest in (("exec", ("1",)), ("forward", (80,)), ("move", (1,)), ("log", (1,))):
            with self.subTest(command=command):
                self.assert_refused(eidolon(command, missing, *rest), NOT_FOUND, missing)

    def test_unknown_commands_and_forms_exit_2(self):
        for arguments in ((), ("frobnicate",), ("create",), ("node",), ("node", "hug", "x", 1), ("fault", "cut", "x", 1), ("status", "a", "b"),
                          ("world", "x"), ("forward", "x", "99999"), ("forward", "x", "http")):
            with self.subTest(arguments=arguments):
                result = eidolon(*arguments)
                self.assertEqual(result.code, USAGE, str(result))
                self.assertEqual(result.out, "")
                self.assertTrue(result.err.strip())

    def test_damaged_cluster_file_is_said(self):
        with Cluster() as cluster:
            with open(os.path.join(cluster.directory, "cluster"), "w") as file:
                file.write("nonsense\n")
            self.assert_refused(cluster.try_run("start"), FAILED, "cluster")
