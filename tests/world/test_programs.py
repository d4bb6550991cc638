"""Programs: exec, threads, the object tree, the module eidolon, memory."""
import unittest

from world import World, parse_exec, wait_until


class ProgramTest(unittest.TestCase):
    def setUp(self):
        self.world = World(ports=(8001,))

    def tearDown(self):
        self.assertTrue(self.world.alive(), open(self.world.log_path).read())
        self.world.stop()

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

    # --- programs that would hold all others up

    def assert_fair(self, source, name="greedy"):
        """While `source` runs in one session others are served, and Ctrl-C ends it."""
        client = self.world.session(name)
        client.send("import micropython\nprint('go'); exec(%r)\n" % source)
        client.expect("go\n")
        self.assertEqual(self.world.exec("'served'", "other"), ("'served'\n", False))
        client.send(b"\x03")
        client.expect("KeyboardInterrupt.*>>> $")

    def test_recursion_without_loops_is_fair(self):
        self.assert_fair("def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)\nfib(60)")

    def test_generators_are_fair(self):
        self.assert_fair("def g():\n    while True: yield 1\nsum(g())")

    def test_c_loops_over_iterators_are_fair(self):
        self.assert_fair("sum(range(10**15))")
        self.assert_fair("max(map(abs, range(10**15)))", "greedy2")
        self.assert_fair("min(filter(None, range(10**15)))", "greedy3")

    def test_locked_heap_is_fair(self):
        client = self.world.session("locked")
        client.send("import micropython\nmicropython.heap_lock(); print('go')\nwhile True: pass\n\n")
        client.expect("go\n")
        self.assertEqual(self.world.exec("'served'", "other"), ("'served'\n", False))

    def test_heap_locked_at_the_prompt_is_unlocked_by_the_next_line(self):
        client = self.world.session("locked")
        client.send("import micropython; micropython.heap_lock()\n")
        client.expect(">>> $")
        self.assertEqual(self.world.exec("'served'", "other"), ("'served'\n", False))
        client.send("[1] * 3\n")
        client.expect(r"\[1, 1, 1\]\n>>> $")

    def test_waiting_scheduled_callback_is_fair(self):
        client = self.world.session("callback")
        client.send("import micropython, time\nmicropython.schedule(lambda x: time.sleep(1000), 0)\n")
        busy = self.world.start_exec("print('go')\nwhile True: pass", "other")
        busy.expect("go\n")
        self.assertEqual(self.world.exec("'served'", "other"), ("'served'\n", False))

    def test_finaliser_cannot_wait_or_run_for_ever(self):
        source = """
import gc, time
class F:
    def __init__(self, what): self.what = what
    def __del__(self):
        self.what()
def spin():
    while True: pass
def burn(n):
    for i in range(n): F(spin if i == 0 else lambda: time.sleep(1000))
burn(2)
x = [1] * 100
gc.collect()
print('over')
"""
        output, raised = self.world.exec(source)
        self.assertFalse(raised, output)
        self.assertIn("over", output)

    def test_sleep_of_a_negative_or_no_number_raises(self):
        for seconds in ("-0.001", "-1", "float('nan')"):
            output, raised = self.world.exec(f"import time\ntime.sleep({seconds})")
            self.assertTrue(raised)
            self.assertIn("ValueError: sleep length must be non-negative", output)
        self.assertEqual(self.world.exec("import time\ntime.sleep(0); time.sleep_ms(-1); time.sleep_us(-1); print('over')"), ("over\n", False))

    def test_deep_structures_stop_nothing(self):
        for source in ("x = []\nfor i in range(100000): x = [x]\nrepr(x)", "eval('[' * 3000 + ']' * 3000)", "eval('-' * 5000 + '1')",
                       "eval('(' * 5000 + '1' + ')' * 5000)", "eval('lambda: ' * 1000 + '1')", "eval('1' + '+(1' * 3000 + ')' * 3000)",
                       "import json; json.loads('[' * 100000 + ']' * 100000)", "import re; re.match('(a|b)*c', 'ab' * 50000)",
                       "import re; re.compile('(' * 2000 + 'a' + ')' * 2000)", "x = {}\nfor i in range(100000): x = {1: x}\nx == x\nstr(x)",
                       "exec('if 1:\\n' + ''.join(' ' * i + 'if 1:\\n' for i in range(1, 300)) + ' ' * 300 + 'pass')",
                       "x = []\nfor i in range(100000): x = [x]\ny = []\nfor i in range(100000): y = [y]\nx == y",
                       "x = ()\nfor i in range(100000): x = (x,)\nhash(x)", "class A: pass\nfor i in range(2000): A = type('A', (A,), {})\nA().none",
                       "class A: pass\nclass B: pass\nfor i in range(3000): A = type('A', (A, B), {})\nA().none", "it = iter([1])\nfor i in range(50000): it = map(abs, it)\nnext(it)", "10 ** 20000", "'%5000s' % 1", "1 << 100000"):
            for thread in (False, True):
                run = source
                if thread:
                    run = ("import _thread, time\ndone = []\ndef work():\n    try: exec(%r, {})\n    except Exception as e: pass\n    done.append(1)\n"
                           "_thread.start_new_thread(work, ())\nwhile not done: time.sleep(0.001)\n" % source)
                self.world.exec(run)
                self.assertTrue(self.world.alive(), source)

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
        output, raised = self.world.exec("root.me = root\nls()\ndel root.me")
        self.assertFalse(raised)
        self.assertLess(len(output), 4000)

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


if __name__ == "__main__":
    unittest.main()
