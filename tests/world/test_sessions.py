"""Sessions: prompts, viewers, editing, replay, interrupts."""
import os
import socket
import time
import unittest

from world import World, parse_exec, wait_until


class SessionTest(unittest.TestCase):
    def setUp(self):
        self.world = World()

    def tearDown(self):
        self.assertTrue(self.world.alive(), open(self.world.log_path).read())
        self.world.stop()

    def run_line(self, client, line, expected):
        client.send(line + "\n")
        client.expect(expected + r"\n>>> $")

    def test_plain_line_is_evaluated_without_echo_and_escapes(self):
        client = self.world.session("plain")
        client.send("6*7\n")
        self.assertEqual(client.expect(r"(.*)>>> $").group(1), b"42\n")
        self.assertNotIn(b"\x1b", client.received)
        self.assertNotIn(b"\r", client.received)

    def test_plain_block_ends_with_an_empty_line(self):
        client = self.world.session("block")
        client.send("for i in range(2):\n    if i >= 0:\n        print('in', i)\n    print('out', i)\n\n")
        client.expect(r"in 0\nout 0\nin 1\nout 1\n>>> $")

    def test_no_first_line_gives_session_main(self):
        client = self.world.connect()
        client.expect(">>> ")
        client.send("import eidolon; eidolon.session()\n")
        client.expect("'main'")

    def test_late_session_line_switches(self):
        client = self.world.connect()
        client.expect(">>> ")
        client.send("session late\n")
        client.expect(">>> $")
        client.send("import eidolon; eidolon.session()\n")
        client.expect("'late'")

    def test_first_line_that_is_no_greeting_is_input_of_main(self):
        client = self.world.connect(first=b"print('direct')\n")
        client.expect("direct\n")

    def test_sessions_have_their_own_names(self):
        first, second = self.world.session("names1"), self.world.session("names2")
        self.run_line(first, "who = 'first'; print(who)", "first")
        second.send("who\n")
        second.expect("NameError.*>>> $")
        self.run_line(first, "who", "'first'")

    def test_bad_session_name_is_refused(self):
        client = self.world.connect(first=b"session a/b\n")
        self.assertIn(b"session's name", client.read_to_end())

    def test_second_viewer_sees_the_replay_and_the_same_output(self):
        first = self.world.session("shared")
        self.run_line(first, "print('before')", "before")
        second = self.world.connect(first=b"session shared\n")
        second.expect(r">>> print\('before'\)\nbefore\n>>> $")
        first.send("print('both')\n")
        first.expect("both\n>>> $")
        second.expect(r"print\('both'\)\nboth\n>>> $")

    def test_program_runs_on_with_nobody_attached(self):
        client = self.world.session("alone")
        client.send("import time\nfor i in range(30): time.sleep(0.01); n = i\n\n")
        client.expect(r"\.\.\. $")
        client.close()
        wait_until(lambda: self.world.value("globals().get('n')", "alone") == "29", "the loop ends unattended")

    def test_half_closed_viewer_gets_the_output_of_its_last_line(self):
        client = self.world.connect(first=b"session half\nimport time\ntime.sleep(0.2); print('done')")
        client.socket.shutdown(1)
        self.assertIn(b"done\n", client.read_to_end())

    def test_clients_that_left_a_busy_session_lock_nobody_out(self):
        busy = self.world.session("main")
        busy.send("import time; print('busy'); time.sleep(1000)\n")
        busy.expect("busy\n")
        for first in (b"session main\n", b"session main\n1 + 1\n"):
            for _ in range(60):
                client = self.world.connect(first=first)
                client.expect("busy\n")
                client.close()
            self.world.session(f"after{len(first)}").send("1 + 1\n")
        self.assertEqual(self.world.exec("'served'"), ("'served'\n", False))
        busy.send(b"\x03")
        busy.expect("KeyboardInterrupt")

    def test_connection_idle_longest_gives_way_when_all_are_taken(self):
        running = self.world.start_exec("import time; time.sleep(1000)")
        first = self.world.session("first")
        idle = self.world.terminal("idle")
        waiting = self.world.connect(first=b"exec main 262144\n")
        others = [self.world.session("first") for _ in range(44)]
        for _ in range(60):
            first.send("1 + 1\n")
            first.expect("2\n>>> $")
            self.assertEqual(self.world.exec("'served'"), ("'served'\n", False))
            others.append(self.world.session("later"))
        for client in (idle, waiting):
            self.assertIn(b"idle longest", client.read_to_end())
        self.assertEqual(waiting.received[-4:], b"x 1\n")
        self.assertFalse(running.receive(0.01) or running.ended)

    def test_source_that_does_not_come_is_given_up(self):
        client = self.world.connect(first=b"exec main 262144\nprint(1)")
        output, raised = parse_exec(client.read_to_end())
        self.assertIn("did not come", output)
        self.assertTrue(raised)

    def test_input_that_nobody_reads_deafens_nobody(self):
        busy = self.world.session("busy")
        busy.send("import time; print('busy'); time.sleep(1000)\n")
        busy.expect("busy\n")
        clients = [self.world.connect(first=b"session unread\n"), self.world.connect(first=b"terminal busy 80x24\n")]
        for client in clients:
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.receive()
            for _ in range(1200):
                client.send("y")
                time.sleep(0.0005)
        self.assertEqual(self.world.exec("'served'"), ("'served'\n", False))
        for _ in range(25):
            clients.append(self.world.connect(first=b"terminal busy 80x24\n"))
            clients[-1].receive()
            clients[-1].send("z" * 60000)
        self.assertEqual(self.world.exec("'served'"), ("'served'\n", False))
        self.world.session("other").send("print('y' * 3000)\n")
        busy.send(b"\x03")
        busy.expect("KeyboardInterrupt")
        clients[0].send("= 1\n6*7\n")
        clients[0].expect("42\n>>> $")

    def test_line_that_is_too_long_is_refused_whole(self):
        client = self.world.session("longline")
        for filler in (8200, 20000, 200000):
            client.send("print('cut')#" + "x" * filler + ";print('tail')\n6*7\n")
            text = client.expect(r"(.*too long.*)42\n>>> $").group(1)
            self.assertNotIn(b"cut\n", text)
            self.assertNotIn(b"tail", text)
        client.send("n = len('" + "y" * (8192 - 11) + "')\r\nn\n")
        client.expect("8181\n>>> $")
        client.send("try: input()\nexcept ValueError as e: print('told', e)\n\n" + "z" * 9000 + "\n")
        client.expect("told the line is too long.*>>> $")

    def test_print_of_a_thread_goes_to_the_session_that_started_it(self):
        first, second = self.world.session("threads1"), self.world.session("threads2")
        first.send("import _thread, time\n_thread.start_new_thread(lambda: (time.sleep(0.1), print('from thread')), ())\n")
        first.expect("from thread")
        self.run_line(second, "print('here')", "here")
        self.assertNotIn(b"from thread", second.received)

    def test_sessions_are_bounded_and_can_be_ended(self):
        clients = []
        for i in range(40):
            client = self.world.connect(first=b"session s%d\nprint('in', 'use')\n" % i)
            if b"as many as it may have" in client.expect("(.*in use\n|.*may have\n)").group(0):
                break
            clients.append(client)
        self.assertEqual(len(clients), 31)
        clients[0].send("import sys; sys.exit()\n")
        self.assertIn(b"ended", clients[0].read_to_end())
        again = self.world.connect(first=b"session another\nprint('fits')\n")
        again.expect("fits\n")
        fresh = self.world.connect(first=b"session s0\n")
        fresh.expect("may have\n")

    def test_exec_that_begins_while_the_session_ends_keeps_it(self):
        ending = self.world.session("ending")
        source = b"import gc, time; x = [1] * 3; time.sleep(60); gc.collect(); print('lives', x)"
        late = self.world.connect(first=b"exec ending %d\n" % len(source) + source[:40])
        line = b"import sys; print('x' * 80612); sys.exit()\n"  # what TCP and the session hold, but for the last words of the session
        self.world.exec("'here'")
        self.world.command("hold")
        ending.send(line)
        wait_until(lambda: self.world.is_stuck(3), "the session waits for its viewer")  # two frames may be acknowledgements to others
        before = self.world.stats()["frames_in"]
        late.send(source[40:])
        wait_until(lambda: self.world.stats()["frames_in"] > before and self.world.is_stuck(), "the exec has begun")
        self.world.command("release")
        ending.expect("it has threads that run.*>>> $")
        self.world.command("forward 60000")
        late.expect(r"lives \[1, 1, 1\]")

    # --- terminals

    def test_terminal_edits_the_line(self):
        client = self.world.terminal("edit")
        client.send("print('ac')\x1b[D\x1b[D\x1b[Db\r")
        client.expect("abc\r\n>>> ")

    def test_terminal_history_is_the_sessions(self):
        client = self.world.terminal("history")
        client.send("40 + 2\r")
        client.expect("\r\n42\r\n>>> ")
        again = self.world.terminal("history")
        again.send("\x1b[A\r")
        again.expect("40 \\+ 2\r\n42\r\n>>> ")
        other = self.world.terminal("history2")
        other.send("\x1b[A1\r")
        other.expect("\r\n1\r\n>>> ")

    def test_terminal_completes_names_of_the_session(self):
        client = self.world.terminal("complete")
        client.send("quite_long_name = 17\r")
        client.expect(">>> ")
        client.send("quite_l\t\r")
        client.expect("\r\n17\r\n>>> ")

    def test_terminal_completes_names_in_the_tree(self):
        client = self.world.terminal("complete_tree")
        client.send("root.completed_entry = 19\r")
        client.expect(">>> ")
        client.send("root.completed_e\t\r")
        client.expect("\r\n19\r\n>>> ")

    def test_terminal_paste_mode_runs_many_lines(self):
        client = self.world.terminal("paste")
        client.send("\x05")
        client.expect("=== ")
        client.send("def f():\r    return 1\r\r    # comment\rprint(f() + 1)\r\x04")
        client.expect("\r\n2\r\n>>> ")

    def test_terminal_indents_a_block_for_who_does_not(self):
        client = self.world.terminal("indented")
        for line in ("for i in range(2):", "if i > 0:", "print(i + 40)"):
            client.send(line + "\r")
            client.expect(r"\.\.\. +$")
        for _ in range(2):
            client.send("\r")
            client.expect(r"\.\.\. *$")
        client.send("\r")
        client.expect("\r\n41\r\n>>> $")

    def test_terminal_block_with_its_own_indentation_is_taken_as_typed(self):
        client = self.world.terminal("typed")
        for line in ("def beats(n):", "    while True:", "        n += 1", "        if n > 6:", "            return n"):
            client.send(line + "\r")
            client.expect(r"\.\.\. *$")
        client.send("\r")
        client.expect(">>> $")
        client.send("beats(1)\r")
        client.expect("\r\n7\r\n>>> $")
        client.send("for i in range(2):\r")
        client.expect(r"\.\.\.     $")  # the next statement is indented again

    def test_terminal_lines_that_were_pasted_are_taken_as_they_are(self):
        client = self.world.terminal("pasted")
        client.send("def longname(alpha,\r             beta):\r    x = 1\r    return alpha + beta + x\r\rlongname(1, 2)\r")
        client.expect("\r\n4\r\n>>> $")
        client.send("s = '''a:\r- b\r'''\rs\r")
        client.expect(r"'a:\\n- b\\n'\r\n>>> $")

    def test_terminal_newline_behind_enter_is_one_enter(self):
        client = self.world.terminal("windows")
        client.send("if 1:\r\n    print(40 + 1)\r\n    print(40 + 2)\r\n\r\n")
        client.expect("\r\n41\r\n42\r\n>>> $")

    def test_terminal_keys_of_an_empty_line_do_not_end_a_block(self):
        client = self.world.terminal("keys")
        client.send("if 1:\r")
        client.expect(r"\.\.\. +$")
        client.send("\x7f\x05")
        client.expect(r"\.\.\. +$")
        for line in ("print(40 + 3)", "", ""):
            client.send(line + "\r")
            client.expect(r"\.\.\. *$")
        client.send("\r")
        client.expect("\r\n43\r\n>>> $")

    def test_terminal_kills_a_word(self):
        client = self.world.terminal("word")
        client.send("14 + bar\x17" + "1\r")
        client.expect("\r\n15\r\n>>> $")

    def test_exit_with_a_reason_ends_the_session_and_tells_it(self):
        client = self.world.session("leaving")
        client.send("import sys; sys.exit('enough')\n")
        self.assertIn(b"enough\n(session ended)", client.read_to_end())

    def test_tour_of_the_readme_can_be_typed(self):
        with open(os.path.join(os.path.dirname(__file__), "..", "..", "README.md")) as readme:
            block = readme.read().split("## A tour")[1].split("In another terminal")[0]
        typed = [line[8:] for line in block.splitlines() if line.startswith(("    >>> ", "    ..."))]
        self.assertGreater(len(typed), 8)
        client = self.world.terminal("tour")
        for line in typed:
            client.send(line + "\r")
        client.expect(r"\r\n\(1, \d+\)\r\n>>> $")
        self.assertNotIn(b"Error", client.received)
        wait_until(lambda: int(self.world.value("root.lab.beats")) > 2, "the tour's thread to beat")

    def test_two_terminals_edit_in_two_sessions_at_once(self):
        first, second = self.world.terminal("two1"), self.world.terminal("two2")
        for key in "print('first')":
            first.send(key)
            second.send(key.upper() if key.isalpha() else key)
        first.expect(r"'first'\)")
        second.expect(r"'FIRST'\)")
        first.send("\r")
        first.expect("\r\nfirst\r\n>>> ")
        second.send("\r")
        second.expect("NameError")

    def test_terminal_control_c_at_the_prompt_gives_a_new_prompt(self):
        client = self.world.terminal("fresh")
        client.send("half a li\x03")
        client.expect("\r\n>>> $")

    def test_terminal_control_d_explains(self):
        client = self.world.terminal("controld")
        client.send("\x04")
        client.expect("lives on.*>>> $")

    def test_input_reads_a_line_in_either_mode(self):
        plain = self.world.session("input1")
        plain.send("name = input('who? ')\n")
        plain.expect(r"who\? ")
        plain.send("world\n")
        plain.expect(">>> ")
        self.run_line(plain, "name", "'world'")
        terminal = self.world.terminal("input2")
        terminal.send("name = input('who? ')\r")
        terminal.expect(r"\r\nwho\? ")
        terminal.send("you\r")
        terminal.expect(">>> ")
        terminal.send("name\r")
        terminal.expect("'you'")

    def test_threads_in_input_get_a_line_each(self):
        for client, enter in ((self.world.session("readers1"), "\n"), (self.world.terminal("readers2"), "\r")):
            client.send("import _thread, time; got = []" + enter)
            client.expect(">>> ")
            client.send("def ask(n): got.append((n, input('line %d? ' % n)))" + enter + enter)
            client.expect(">>> ")
            client.send("t = [_thread.start_new_thread(ask, (i,)) for i in range(3)]; ask(3); time.sleep(0.1)" + enter)
            client.expect(r"(line \d\? ){4}$")
            for answer in "abcd":
                client.send(answer * 5 + enter)
            client.expect(">>> $")
            client.send("sorted(n for n, line in got), sorted(line for n, line in got)" + enter)
            client.expect(r"\(\[0, 1, 2, 3\], \['aaaaa', 'bbbbb', 'ccccc', 'ddddd'\]\)\r?\n>>> $")

    # --- interrupts

    def interrupted(self, name, setup, blocking):
        client = self.world.session(name)
        client.send(setup + "\n")
        client.expect(">>> $")
        client.send("print('go'); " + blocking + "\n")
        client.expect("go\n")
        client.send(b"\x03")
        client.expect(r"KeyboardInterrupt:? *\n>>> $")
        self.run_line(client, "1+1", "2")

    def test_interrupt_of_a_busy_loop(self):
        client = self.world.session("busy")
        client.send("while True: pass\n\n")
        client.expect(r"\.\.\. $")
        client.send(b"\x03")
        client.expect(r"KeyboardInterrupt:? *\n>>> $")

    def test_interrupt_that_came_with_its_line(self):
        for count in range(3):
            client = self.world.session(f"together{count}")
            client.send(b"x = 1\n" * count + b"while True: pass\n\n\x03")
            client.expect(r"KeyboardInterrupt:? *\n>>> $")

    def test_interrupt_kept_outlives_its_session(self):
        client = self.world.session("kept")
        client.send("try:\n    print('go')\n    while True: pass\nexcept KeyboardInterrupt as e:\n    root.kept = e\n\n")
        client.expect("go\n")
        client.send(b"\x03")
        client.expect(">>> $")
        client.send("import sys; sys.exit()\n")
        client.wait_end()
        self.assertEqual(self.world.value("repr(root.kept), isinstance(root.kept, KeyboardInterrupt), root.kept.args"),
                         "('KeyboardInterrupt()', True, ())")

    def test_interrupt_of_sleep(self):
        self.interrupted("sleep", "import time", "time.sleep(1000)")

    def test_interrupt_of_accept(self):
        self.interrupted("accept", "import socket; s = socket.socket(); s.bind(('', 9001)); s.listen(1)", "s.accept()")

    def test_interrupt_of_recv(self):
        self.interrupted("recv", "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 9002))",
                         "s.recv(10)")

    def test_interrupt_of_select(self):
        self.interrupted("select", "import socket, select; s = socket.socket(); s.bind(('', 9003)); s.listen(1)",
                         "select.select([s], [], [])")

    def test_interrupt_of_lock(self):
        self.interrupted("lock", "import _thread; l = _thread.allocate_lock(); a = l.acquire()", "l.acquire()")

    def test_interrupt_of_asyncio(self):
        self.interrupted("asyncio", "import asyncio\nasync def forever(): await asyncio.sleep(1000)\n",
                         "asyncio.run(forever())")

    def test_interrupt_of_input(self):
        self.interrupted("inputc", "", "input()")

    def test_interrupt_spares_other_sessions_and_threads(self):
        client, other = self.world.session("spare1"), self.world.session("spare2")
        other.send("import time\ntime.sleep(0.5); print('slept')\n")
        client.send("import _thread, time\ncount = [0]\ndef tick():\n    while True:\n        count[0] += 1\n        time.sleep(0.01)\n\n"
                    "t = _thread.start_new_thread(tick, ())\nprint('go'); time.sleep(1000)\n")
        client.expect("go\n")
        client.send(b"\x03")
        client.expect("KeyboardInterrupt:? *\n>>> $")
        before = int(self.world.value("count[0]", "spare1"))
        wait_until(lambda: int(self.world.value("count[0]", "spare1")) > before, "the thread runs on")
        other.expect("slept\n>>> $")
        self.world.exec("def tick(): pass\ncount = None", "spare1")

    def test_two_sessions_run_asyncio_at_the_same_time(self):
        source = ("import asyncio\nasync def work(n):\n    for i in range(20):\n        await asyncio.sleep_ms(5)\n    return n\n\n"
                  "async def main():\n    return sum(await asyncio.gather(*[work(n) for n in range(5)]))\n\nasyncio.run(main())\n")
        clients = [self.world.session(f"loop{i}") for i in range(2)]
        for client in clients:
            client.send(source)
        for client in clients:
            client.expect(r"10\n>>> $")


if __name__ == "__main__":
    unittest.main()
