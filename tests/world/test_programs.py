"""Programs: exec, threads, the object tree, the module eidolon, memory, asyncio, select, locks."""
import unittest

from world import WorldTest, parse_exec, wait_until


class ProgramTest(WorldTest):
    # --- exec

    def test_exec_prints_the_value_of_an_expression(self):
        self.assertEqual(self.world.exec("6 * 7"), ("42\n", False))

    def test_exec_of_none_prints_nothing(self):
        self.assertEqual(self.world.exec("None"), ("", False))

    def test_exec_runs_many_lines_in_the_sessions_names(self):
        self.assertEqual(self.world.exec("def f(n):\n    return n + 1\nx = f(1)\nprint(x)\n", "work"), ("2\n", False))
        self.assertEqual(self.world.exec("f(x)", "work"), ("3\n", False))
        client = self.world.session("work")
        client.send("x\n")
        client.expect("2\n>>> $")

    def test_exec_tells_an_exception(self):
        output, raised = self.world.exec("def g():\n    return 1 // 0\ng()")
        self.assertTrue(raised)
        self.assertIn("ZeroDivisionError", output)
        self.assertIn("line 2, in g", output)

    def test_exec_tells_a_syntax_error(self):
        output, raised = self.world.exec("def")
        self.assertTrue(raised)
        self.assertIn("SyntaxError", output)

    def test_exec_exit_status_of_systemexit(self):
        self.assertEqual(self.world.exec("import sys; sys.exit()"), ("", False))
        self.assertEqual(self.world.exec("import sys; sys.exit(3)"), ("", True))

    def test_exec_output_of_any_length_and_bytes_comes_whole(self):
        output, raised = self.world.exec("for i in range(20000): print('zeile', i, '\\x1b[1m\\u00e9')")
        self.assertFalse(raised)
        self.assertEqual(output, "".join(f"zeile {i} \x1b[1m\u00e9\n" for i in range(20000)))

    def test_exec_answers_while_the_session_is_busy(self):
        client = self.world.session("busy")
        client.send("while True: pass\n\n")
        client.expect(r"\.\.\. ")
        self.assertEqual(self.world.exec("'still here'", "busy"), ("'still here'\n", False))

    def test_exec_is_interrupted_by_control_c(self):
        client = self.world.start_exec("print('go')\nwhile True: pass")
        client.expect("go\n")
        client.send(b"\x03")
        output, raised = parse_exec(client.read_to_end() if client.taken == 0 else client.received[:0] + b"" + self.all_of(client))
        self.assertTrue(raised)
        self.assertIn("KeyboardInterrupt", output)

    def all_of(self, client):
        client.read_to_end()
        return client.received

    def test_exec_is_interrupted_by_control_c_that_comes_with_its_source(self):
        source = b"while True: pass"
        for name in (b"main", b"fresh"):
            client = self.world.connect(first=b"exec %s %d\n" % (name, len(source)) + source + b"\x03")
            output, raised = parse_exec(client.read_to_end())
            self.assertTrue(raised)
            self.assertIn("KeyboardInterrupt", output)

    def test_exec_program_runs_on_when_its_client_goes(self):
        client = self.world.start_exec("import time\nfor i in range(50):\n    print(i)\n    time.sleep(0.01)\nfinished = True")
        client.expect("0\n")
        client.close()
        wait_until(lambda: self.world.value("globals().get('finished')") == "True", "the program ends without its client")

    def test_exec_input_has_nobody_to_ask(self):
        output, raised = self.world.exec("input()")
        self.assertTrue(raised)
        self.assertIn("EOFError", output)

    def test_exec_source_too_long_is_refused(self):
        client = self.world.connect(first=b"exec main 9999999\n")
        output, raised = parse_exec(client.read_to_end())
        self.assertTrue(raised)
        self.assertIn("too long", output)

    def test_exec_runs_at_once_are_bounded(self):
        clients = [self.world.start_exec("print('go')\nwhile True: pass") for _ in range(8)]
        for client in clients:
            client.expect("go\n")
        output, raised = self.world.exec("1")
        self.assertTrue(raised)
        self.assertIn("too many", output)

    # --- threads

    def test_threads_take_turns_with_locks(self):
        source = """
import _thread, time
lock = _thread.allocate_lock()
total = 0
done = []
def work():
    global total
    for i in range(500):
        with lock:
            before = total
            for j in range(20): pass
            total = before + 1
    done.append(1)
for i in range(8):
    _thread.start_new_thread(work, ())
while len(done) < 8:
    time.sleep(0.01)
print(total)
"""
        self.assertEqual(self.world.exec(source), ("4000\n", False))

    def test_threads_are_bounded(self):
        source = """
import _thread
stop = []
def wait():
    import time
    while not stop: time.sleep(0.01)
n = 0
try:
    while True:
        _thread.start_new_thread(wait, ())
        n += 1
except RuntimeError as e:
    print(n, e)
stop.append(1)
"""
        output, raised = self.world.exec(source)
        self.assertFalse(raised)
        self.assertRegex(output, "^48 can't start a new thread")
        wait_until(lambda: not self.world.exec("import _thread; _thread.start_new_thread(lambda: None, ())")[1], "threads end")

    def test_thread_signals_an_asyncio_loop(self):
        source = """
import asyncio, _thread, time
async def main():
    flag = asyncio.ThreadSafeFlag()
    def signal():
        time.sleep(0.05)
        flag.set()
    _thread.start_new_thread(signal, ())
    await flag.wait()
    print('signalled')
asyncio.run(main())
"""
        self.assertEqual(self.world.exec(source), ("signalled\n", False))

    def test_thread_exception_is_told_in_its_session(self):
        client = self.world.session("uncaught")
        client.send("import _thread\nt = _thread.start_new_thread(lambda: 1//0, ())\n")
        client.expect("Unhandled exception in thread.*ZeroDivisionError")

    UNSHOWABLE = "class O:\n    def __repr__(self): return self.nme\n    def run(self, *args): raise ValueError(self)\n\n"

    def test_thread_exception_that_cannot_be_shown_ends_that_thread_only(self):
        client = self.world.session("unshowable")
        client.send(self.UNSHOWABLE + "import _thread\nt = _thread.start_new_thread(lambda: O().run(), ())\n")
        client.expect("Unhandled exception in thread.*could not be shown")
        client.send("t = _thread.start_new_thread(O().run, ())\n")
        client.expect("Unhandled exception in thread.*could not be shown")
        self.assertEqual(self.world.exec("'alive'"), ("'alive'\n", False))

    def test_scheduled_exception_that_cannot_be_shown_leaves_the_scheduler_working(self):
        client = self.world.session("scheduled")
        client.send(self.UNSHOWABLE + "import micropython\nmicropython.schedule(O().run, 0)\n")
        client.expect("could not be shown.*>>> $")
        client.send("micropython.schedule(print, 'called')\n")
        client.expect("called\n")

    def test_endless_recursion_is_an_exception(self):
        output, raised = self.world.exec("def f(): f()\nf()")
        self.assertTrue(raised)
        self.assertIn("maximum recursion depth", output)
        output, _ = self.world.exec("import _thread, time\ndef t():\n    try: f()\n    except RuntimeError as e: print(e); r.append(1)\n"
                                    "r = []\n_thread.start_new_thread(t, ())\nwhile not r: time.sleep(0.01)\n")
        self.assertEqual(self.world.value("r"), "[1]")

    # --- the tree

    def test_root_is_shared_by_sessions_and_shown_as_a_tree(self):
        self.world.exec("root.lab = Directory()\nroot.lab.rows = [1, 2]\nroot['note'] = 'hello'\nroot.lab['deep'] = Directory()\n", "one")
        self.assertEqual(self.world.value("root.lab.rows", "two"), "[1, 2]")
        self.assertEqual(self.world.exec("ls(root)", "two")[0], "<root>\n  lab/\n    deep/\n    rows = [1, 2]\n  note = 'hello'\n")
        self.assertEqual(self.world.value("sorted(root), 'lab' in root, len(root), root.get('none', 5)", "two"),
                         "(['lab', 'note'], True, 2, 5)")
        self.world.exec("del root.note\ndel root['lab']", "two")
        self.assertEqual(self.world.exec("ls()", "one")[0], "<root>\n")

    def test_root_missing_names_raise(self):
        self.assertIn("AttributeError", self.world.exec("root.none")[0])
        self.assertIn("KeyError", self.world.exec("root['none']")[0])
        self.assertIn("AttributeError", self.world.exec("del root.none")[0])
        self.assertIn("TypeError", self.world.exec("root[1] = 2")[0])

    def test_ls_of_a_directory_that_holds_itself_ends(self):
        source = "for name in 'abcd': root[name] = root\nls()\nfor name in 'abcd': del root[name]"
        self.assertEqual(self.world.exec(source), ("<root>\n  a/ ...\n  b/ ...\n  c/ ...\n  d/ ...\n", False))

    def test_ls_of_branches_that_meet_again_is_bounded(self):
        source = ("d = Directory()\nfor i in range(15):\n    above = Directory()\n    above.left = above.right = d\n    d = above\nls(d)")
        output, raised = self.world.exec(source)
        self.assertFalse(raised)
        self.assertLess(output.count("\n"), 2100)

    def test_ls_shows_what_stands_behind_a_value_without_a_text(self):
        source = ("class Bad:\n    def __repr__(self): return 1 / 0\nroot.bad, root.big, root.last = Bad(), bytearray(9000000), 7\n"
                  "ls()\ndel root.bad, root.big, root.last")
        output, raised = self.world.exec(source)
        self.assertFalse(raised, output)
        self.assertIn("  bad = <ZeroDivisionError>\n  big = bytearray(b'", output)
        self.assertIn("...\n  last = 7\n", output)
        self.assertLess(len(output), 300)

    def test_open_is_absent(self):
        self.assertIn("NameError", self.world.exec("open")[0])
        self.assertIn("AttributeError", self.world.exec("import io; io.open")[0])

    # --- eidolon

    def test_eidolon_tells_of_the_cluster(self):
        self.assertEqual(self.world.value("__import__('eidolon').node()"), "1")
        self.assertEqual(self.world.value("[n['up'] for n in __import__('eidolon').nodes()]"), "[True, True, False]")

    def test_eidolon_commit_waits_for_the_epoch(self):
        self.assertEqual(self.world.exec("import eidolon\ne = eidolon.epoch()\neidolon.commit()\nprint(eidolon.epoch() > e)"), ("True\n", False))

    def test_eidolon_commit_lets_other_threads_run(self):
        source = ("import eidolon, _thread\nn = [0]\ndef count():\n    while n[0] >= 0: n[0] += 1\n"
                  "_thread.start_new_thread(count, ())\neidolon.commit()\nprint(n[0] > 100)\nn[0] = -10**9")
        self.assertEqual(self.world.exec(source), ("True\n", False))

    def test_eidolon_move_goes_to_the_node_or_says_why_not(self):
        self.assertEqual(self.world.exec("import eidolon\neidolon.move(2)\nprint(eidolon.node())"), ("2\n", False))
        self.assertEqual(self.world.exec("eidolon.move(2)"), ("", False))
        self.assertIn("is down", self.world.exec("eidolon.move(3)")[0])
        self.assertIn("no such node", self.world.exec("eidolon.move(9)")[0])

    def test_eidolon_interrupt_ends_threads_and_execs_whose_clients_left(self):
        for source in ("while True: pass", "import time; time.sleep(1000)") * 4:
            client = self.world.start_exec(f"print('go')\n{source}", "left")
            client.expect("go\n")
            client.close()
        client = self.world.session("other")
        client.send("import _thread, time, eidolon; t = _thread.start_new_thread(time.sleep, (1000,))\n")
        client.expect(">>> $")
        self.assertIn("too many programs", self.world.exec("1")[0])
        client.send("sorted((t['kind'], t['session']) for t in eidolon.threads() if t['thread'] != _thread.get_ident() and t['kind'] != 'prompt')\n")
        client.expect(r"\[(\('exec', 'left'\), ){8}\('thread', 'other'\)\]\n>>> $")
        client.send("for t in eidolon.threads():\n    if t['kind'] != 'prompt': eidolon.interrupt(t['thread'])\n\n")
        client.expect(">>> ")  # before or after what the thread's end is told with
        wait_until(lambda: "too many" not in self.world.exec("1")[0], "places for programs are free")
        client.send("print([t['kind'] for t in eidolon.threads() if t['kind'] == 'thread'])\n")
        client.expect(r"\[\]\n>>> $")
        client.send("eidolon.interrupt(0)\n")
        client.expect("no such thread.*>>> $")

    STUBBORN = ("while True:\n    try:\n        while True: pass\n    except BaseException: pass\n",
                "import time\nwhile True:\n    try: time.sleep(1000)\n    except BaseException: pass\n",
                "while True:\n    try: sum(range(10**15))\n    except: pass\n    finally:\n        while True: pass\n",
                "def f():\n    try:\n        while True: pass\n    except BaseException: f()\nwhile True:\n    try: f()\n    except BaseException: pass\n")

    def end(self, kind, session):
        ended = self.world.exec(f"import eidolon\nfor t in eidolon.threads():\n    if (t['kind'], t['session']) == ('{kind}', '{session}'): eidolon.end(t['thread'])", "other")
        self.assertEqual(ended, ("", False))

    def test_eidolon_end_ends_programs_that_catch_interrupts(self):
        for number, source in enumerate(self.STUBBORN):
            session = f"stubborn{number}"
            client = self.world.session(session)
            client.send("kept = 5; print('go'); exec(%r)\n" % source)
            client.expect("go\n")
            client.send(b"\x03")
            self.end("prompt", session)
            client.expect("KeyboardInterrupt.*>>> $")
            client.send("kept\n")
            client.expect("5\n>>> $")
            client.send("[i for i in range(3000)][-1]\n")
            client.expect("2999\n>>> $")
            running = self.world.start_exec("print('go')\n" + source, session)
            running.expect("go\n")
            self.end("exec", session)
            self.assertIn("KeyboardInterrupt", parse_exec(running.read_to_end())[0])
            self.world.exec("import _thread\nt = _thread.start_new_thread(exec, (%r, {}))" % source, session)
            self.end("thread", session)
            client.expect("Unhandled exception in thread.*KeyboardInterrupt")
            self.assertEqual(self.world.value(f"[t['kind'] for t in __import__('eidolon').threads() if t['session'] == '{session}']", "other"), "['prompt']")

    def test_eidolon_end_at_a_waiting_prompt_does_nothing(self):
        client = self.world.session("idle")
        for begun, prompt in (("1 + 1\n", "2\n>>> $"), ("if True:\n", r"\.\.\. $")):
            client.send(begun)
            client.expect(prompt)
            self.end("prompt", "idle")
            client.send("\n[i for i in range(3000)][-1]\n")
            client.expect("2999\n>>> $")

    def test_eidolon_end_ends_what_tells_of_an_exception(self):
        client = self.world.session("telling")
        client.send("class R:\n    def __repr__(self):\n        print('go')\n        while True:\n            try:\n                while True: pass\n"
                    "            except BaseException: pass\n\nraise ValueError(R())\n")
        client.expect("go\n")
        self.end("prompt", "telling")
        client.expect("could not be shown.*>>> $")
        client.send("[i for i in range(3000)][-1]\n")
        client.expect("2999\n>>> $")

    def test_eidolon_end_of_an_asyncio_run_leaves_no_tasks(self):
        running = self.world.start_exec("import asyncio\nasync def stubborn():\n    print('go')\n    while True:\n        try:\n            while True: await asyncio.sleep(0)\n"
                                        "        except BaseException: pass\nasync def left():\n    await asyncio.sleep(0.01)\n    print('left')\nasync def main():\n    asyncio.create_task(left())\n    await asyncio.create_task(stubborn())\nasyncio.run(main())", "loops")
        running.expect("go\n")
        self.end("exec", "loops")
        self.assertTrue(parse_exec(running.read_to_end())[1])
        self.assertEqual(self.world.exec("async def f():\n    await asyncio.sleep(0.05)\n    print('alone')\nasyncio.run(f())", "loops"), ("alone\n", False))

    def test_eidolon_interrupt_of_a_foreground_is_its_control_c(self):
        client = self.world.session("runs")
        client.send("print('go')\nwhile True: pass\n\n")
        client.expect("go\n.*\\.\\.\\. $")
        source = "import eidolon\nfor t in eidolon.threads():\n    if t['kind'] == 'prompt': eidolon.interrupt(t['thread'])"
        self.assertEqual(self.world.exec(source, "other"), ("", False))
        client.expect("KeyboardInterrupt:? *\n>>> $")
        self.assertEqual(self.world.exec(source, "other"), ("", False))
        self.assertEqual(client.nothing_comes(0.1), b"")

    def test_threads_of_one_session_leave_places_for_others(self):
        source = "import _thread, time\nwhile True: _thread.start_new_thread(time.sleep, (1000,))"
        output, raised = self.world.exec(source, "many")
        self.assertIn("can't start a new thread", output)
        self.assertEqual(self.world.exec("import _thread, time; t = _thread.start_new_thread(time.sleep, (0.1,)); print('fits')", "few"), ("fits\n", False))

    def test_eidolon_entropy_is_bytes_that_differ(self):
        self.assertEqual(self.world.value("import eidolon; e = eidolon.entropy; print(len(e(256)), e(16) == e(16), e(0))"), "256 False b''")
        self.assertIn("ValueError", self.world.exec("eidolon.entropy(257)")[0])

    # --- memory

    FILL = "keep = []\ntry:\n    while True: keep.append(bytearray(%d))\nexcept MemoryError:\n    print('full')\n"

    def test_full_session_leaves_room_for_others_and_can_delete(self):
        hog = self.world.session("hog")
        for size in (1000, 100000, 20):
            hog.send(self.FILL % size + "\n")
            hog.expect("full\n>>> $")
            other = f"other{size}"
            self.assertEqual(self.world.exec("def f(n): return [n] * 3\nx = f(7)\nprint(x, 'ok')", other), ("[7, 7, 7] ok\n", False))
            viewer = self.world.session(other)
            viewer.send("print(sum(range(100)))\n")
            viewer.expect("4950\n>>> $")
            hog.send("[0] * 100000\n")
            hog.expect("MemoryError.*>>> $")
            hog.send("del keep\n")
            hog.expect(">>> $")
            hog.send("y = bytearray(3000000); len(y)\n")
            hog.expect("3000000\n>>> $")

    def test_full_session_answers_at_its_prompt(self):
        hog = self.world.session("prompt")
        hog.send(self.FILL % 1000 + "\n")
        hog.expect("full\n>>> $")
        for _ in range(20):
            hog.send("1 + 1\n")
            hog.expect("2\n>>> $")

    FILL_ROOT = ("import _thread, time\nroot.log = []\nfull = 0\ndef fill():\n    global full\n    while True:\n        try:\n"
                 "            while True: root.log.append('x' * 500)\n        except MemoryError:\n            full += 1; time.sleep(0.1)\n\n"
                 "t = _thread.start_new_thread(fill, ())\nwhile full < 5: time.sleep(0.01)\n\nprint('full')\n")

    def test_heap_filled_through_root_leaves_room_for_others(self):
        other = self.world.session("other")
        hog = self.world.session("hog")
        hog.send(self.FILL_ROOT)
        hog.expect("full\n>>> $")
        for _ in range(10):
            for client in (other, self.world.session("new")):
                client.send("print(sum([i for i in range(1000)]))\n")
                client.expect("499500\n>>> $")
            self.assertEqual(self.world.exec("x = list(range(100)); print(len(x))", "exec"), ("100\n", False))
            hog.send("1 + 1\n")
            hog.expect("2\n>>> $")
        other.send("root.log = None\n")
        other.expect(">>> $")
        hog.send("y = bytearray(3000000); len(y)\n")
        hog.expect("3000000\n>>> $")

    def assert_lines_leave_room_for_lines_of_others(self, line):
        rich = self.world.session("rich")
        rich.send("mine = [bytearray(1000) for i in range(1000)]\n")
        rich.expect(">>> $")
        typist = self.world.session("typist")
        typist.send("mine = [None] * 2000\n")
        typist.expect(">>> $")
        hog = self.world.session("hog")
        hog.send(self.FILL_ROOT)
        hog.expect("full\n>>> $")
        errors = lines = 0
        while errors < 3:
            lines += 1
            typist.send(line % lines + f" = '{'y' * 6000}'\n")
            errors += b"MemoryError" in typist.expect("(.*?)>>> $").group(0)
            self.assertLess(lines, 650)  # of about 870 that the reserve would take
        for client in (rich, self.world.session("new")):
            for _ in range(10):
                client.send("1 + 1\n")
                client.expect("2\n>>> $")
        rich.send("root.log = None\n")
        rich.expect(">>> $")
        hog.send("'freed'\n")
        hog.expect("'freed'\n>>> ")

    def test_lines_that_fill_root_leave_room_for_lines_of_others(self):
        self.assert_lines_leave_room_for_lines_of_others("root.line%d")

    def test_lines_that_fill_their_session_leave_room_for_lines_of_others(self):
        self.assert_lines_leave_room_for_lines_of_others("mine[%d]")

    def test_prompt_without_memory_for_a_line_answers_each_and_is_fair(self):
        rich, typist, hog = (self.world.session(name) for name in ("rich", "typist", "hog"))
        for client in (rich, typist):
            client.send("mine = [None] * 2000\n")
            client.expect(">>> $")
        hog.send(self.FILL_ROOT)
        hog.expect("full\n>>> $")
        errors = 0
        for i in range(650):
            typist.send(f"mine[{i}] = '{'y' * 6000}'\n")
            errors += b"MemoryError" in typist.expect("(.*?)>>> $").group(0)
            if errors == 3:
                break
        for i in range(8):  # a line of a session that is not to blame may take of the rest
            rich.send(f"mine[{i}] = '{'y' * 6000}'\n")
            rich.expect(">>> $")
        for _ in range(3):
            typist.send("1 + 1\n")
            typist.expect("MemoryError.*>>> $")
            self.assertEqual(typist.nothing_comes(0.1), b"")
        rich.send("print('served')\n")
        rich.expect("served\n>>> $")
        rich.send("root.log = None\n")
        rich.expect(">>> $")
        typist.send("[1] * 3\n")
        typist.expect(r"\[1, 1, 1\]\n>>> $")

    def test_growing_in_place_is_charged_too(self):
        hog = self.world.session("grow")
        hog.send("b = bytearray()\ntry:\n    while True: b.extend(bytes(100000))\nexcept MemoryError:\n    print('full')\n\n")
        hog.expect("full\n>>> $")
        self.assertEqual(self.world.exec("print('fine' * 2)", "small"), ("finefine\n", False))

    def test_garbage_does_not_spread_over_the_heap(self):
        self.world.exec("for i in range(1000): x = bytes(100)")
        self.world.command("watch")
        self.world.exec("for i in range(200000): x = bytes(100)")
        self.assertLess(self.world.stats()["pages_written"] * 4096, 6 << 20)

    # --- asyncio

    def test_asyncio_outside_a_loop_raises(self):
        self.raises("RuntimeError", "import asyncio\nasync def f(): await asyncio.sleep(1)\nf().send(None)")
        self.raises("RuntimeError", "import asyncio\nasync def g(): await asyncio.create_task(f())\ng().send(None)")
        self.raises("RuntimeError", "import asyncio\nasync def g(): await asyncio.Event().wait()\ng().send(None)")

    def test_asyncio_what_is_no_task_or_no_result_raises(self):
        self.raises("RuntimeError", "import asyncio.core as c\nc._task_queue.push(None)")
        self.raises("RuntimeError", "import asyncio.core as c\nc._task_queue.remove(5)")
        self.raises("TypeError", "import asyncio.core as c\nasync def f(): pass\nc._task_queue.push(c.Task(f(), c.__dict__), 'soon')")
        self.raises("TypeError", "import asyncio.core as c\nc.Task(f(), 5).cancel()")
        self.raises("TypeError", "import asyncio.core as c\nt = c.Task(f(), c.__dict__); t.state = None; t.data = 5\nnext(iter(t))")

    def test_asyncio_task_waits_in_one_queue_only(self):
        self.raises("RuntimeError", "import asyncio.core as c\nasync def f(): pass\nt = c.Task(f(), c.__dict__)\nfor i in range(3): c._task_queue.push(t)")

    def test_asyncio_event_awaited_in_another_session_raises_there(self):
        client = self.world.start_exec("import asyncio\nroot.event = asyncio.Event()\nasync def main():\n    print('go')\n    await root.event.wait()\n"
                                       "    print('set')\nasyncio.run(main())")
        client.expect("go\n")
        self.raises("RuntimeError", "import asyncio\nasync def f(): await root.event.wait()\nasyncio.run(f())", "other")
        self.world.exec("root.event.set()")
        self.assertEqual(self.world.exec("'alive'"), ("'alive'\n", False))

    def test_asyncio_second_run_in_a_session_is_refused(self):
        first = self.world.start_exec("import asyncio\nasync def main():\n    print('go')\n    for i in range(20): await asyncio.sleep(0.02)\n"
                                      "    return 'whole'\nprint(asyncio.run(main()))")
        first.expect("go\n")
        self.raises("RuntimeError", "import asyncio\nasync def other(): await asyncio.sleep(0)\nasyncio.run(other())")
        self.raises("RuntimeError", "asyncio.get_event_loop().run_until_complete(other())")
        self.assertEqual(self.world.exec("import asyncio\nasync def other(): return 1\nprint(asyncio.run(other()))", "elsewhere"), ("1\n", False))
        first.expect("whole\n")
        self.assertEqual(self.world.exec("print(asyncio.run(main()))"), ("go\nwhole\n", False))

    def test_asyncio_interrupted_run_can_run_again(self):
        client = self.world.start_exec("import asyncio\nasync def main():\n    print('go')\n    await asyncio.sleep(1000)\nasyncio.run(main())")
        client.expect("go\n")
        client.send(b"\x03")
        client.expect("KeyboardInterrupt")
        self.assertEqual(self.world.exec("async def quick(): return 5\nprint(asyncio.run(quick()))"), ("5\n", False))

    # --- select

    def test_poll_after_a_failed_register_polls_the_others(self):
        self.raises("OSError", "import select, sys\np = select.poll()\np.register(0)")
        self.assertEqual(self.world.exec("p.register(sys.stdout, select.POLLOUT)\nprint(len(p.poll(0)))"), ("1\n", False))

    POLLABLE = ("import io, select\nclass P(io.IOBase):\n    def ioctl(self, request, flags):\n        meanwhile()\n        return flags\n"
                "p = select.poll()\nobjects = [P() for i in range(10)]\n")

    def test_poll_of_a_set_that_changes_meanwhile_is_of_what_is_left(self):
        self.assertEqual(self.world.exec(self.POLLABLE + "def meanwhile():\n    for o in objects: p.unregister(o)\n"
                                         "for o in objects: p.register(o)\nprint(p.poll(0))"), ("[]\n", False))

    def test_poll_of_one_set_by_two_is_of_all_that_is_ready(self):
        self.assertEqual(self.world.exec("import io, select\nasked = 0\nclass P(io.IOBase):\n    def ioctl(self, request, flags):\n        global asked\n"
                                         "        asked += 1\n        if asked == 10: p.poll(0)\n        return flags if asked >= 10 else 0\n"
                                         "p = select.poll()\nobjects = [P() for i in range(10)]\nfor o in objects: p.register(o)\nprint(len(p.poll(0)))"),
                         ("10\n", False))

    def test_poll_longer_than_49_days_ends(self):
        client = self.world.start_exec("import select\nprint('go')\nprint(select.poll().poll(50 * 86400000))")
        client.expect("go\n")
        self.world.command(f"forward {50 * 86400000}")
        client.expect(r"\[\]\n")

    # --- locks

    def test_lock_acquire_honours_its_timeout(self):
        self.assertEqual(self.world.exec("import _thread\nl = _thread.allocate_lock()\nprint(l.acquire(), l.acquire(False), l.acquire(True, 0.05), "
                                         "l.acquire(timeout=0.05), l.acquire(True, 0), l.locked())\nl.release()\nprint(l.acquire(True, -1), l.locked())"),
                         ("True False False False False True\nTrue True\n", False))
        self.raises("ValueError", "l.acquire(False, 5)")
        self.raises("ValueError", "l.acquire(True, -5)")

    def test_lock_is_handed_over_to_who_waits(self):
        source = """
import _thread, time
lock = _thread.allocate_lock()
had = []
turns = 0
def hold():
    global turns
    while len(had) < 3:
        with lock:
            turns += 1
            time.sleep(0.001)
def ask(n):
    with lock:
        had.append(n)
        time.sleep(0.005)
_thread.start_new_thread(hold, ())
while not turns: time.sleep(0.001)
turns = 1
for i in range(3): _thread.start_new_thread(ask, (i,))
for i in range(2000):
    if len(had) == 3: break
    time.sleep(0.001)
print(had, turns < 6)
had.extend([0] * 3)
"""
        self.assertEqual(self.world.exec(source), ("[0, 1, 2] True\n", False))

    def test_lock_wait_that_is_interrupted_or_over_leaves_the_lock_to_the_others(self):
        self.world.exec("import _thread\nlock = _thread.allocate_lock()\nlock.acquire()")
        waiter = self.world.start_exec("print('go')\nlock.acquire()")
        waiter.expect("go\n")
        behind = self.world.start_exec("print('go')\nlock.acquire()\nprint('mine')")
        behind.expect("go\n")
        waiter.send(b"\x03")
        waiter.expect("KeyboardInterrupt")
        self.assertEqual(self.world.exec("lock.acquire(True, 0.02)"), ("False\n", False))
        self.world.exec("lock.release()")
        behind.expect("mine\n")
        self.assertEqual(self.world.exec("lock.locked()"), ("True\n", False))


if __name__ == "__main__":
    unittest.main()
