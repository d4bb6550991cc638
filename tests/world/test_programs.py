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

    def test_c_loops_over_digits_are_fair(self):
        for number, source in enumerate(("x = 3\nx ** 2**40", "pow(3, 1 << 100000, (1 << 100000) - 1)", "x = 1 << 8000000\nx // ((1 << 4000000) - 1)",
                                         "str(1 << 8000000)", "int('9' * 1000000)")):
            self.assert_fair(source, f"digits{number}")

    def test_constant_that_is_folded_for_ever_is_fair(self):
        client = self.world.session("folding")
        client.send("3 ** 2**40\n")
        self.assertEqual(self.world.exec("'served'", "other"), ("'served'\n", False))
        client.send(b"\x03")
        client.expect("KeyboardInterrupt.*>>> $")
        running = self.world.start_exec("3 ** 2**40")
        self.assertEqual(self.world.exec("'served'", "other"), ("'served'\n", False))
        running.send(b"\x03")
        self.assertIn("KeyboardInterrupt", parse_exec(running.read_to_end())[0])

    # What follows would be chance with one round: each ends turns at other places.
    NEIGHBOUR = ("import _thread, gc, time\nrun = True\ndef work():\n    while run: neighbour()\n    over.append(1)\nover = []\n"
                 "def stop():\n    global run\n    run = False\n    while not over: time.sleep_ms(1)\n")

    def test_pattern_of_a_substitution_outlives_a_collection(self):
        source = self.NEIGHBOUR + ("import re\ndef neighbour():\n    x = [bytes(20 + i % 60) for i in range(300)]\n    gc.collect()\nt = _thread.start_new_thread(work, ())\n"
                                   "good = True\nfor i in range(20):\n    good = good and re.sub('(a|b)cxx' + 'd?' * (i % 3), 'y', 'acxx' * 2000) == 'y' * 2000\n"
                                   "    good = good and re.sub('(a|b)c', 'y', 'acxx' * 2000) == 'yxx' * 2000\nstop()\nprint(good)")
        self.assertEqual(self.world.exec(source), ("True\n", False))

    def test_bytearray_that_changes_while_it_is_searched_writes_over_nothing(self):
        source = self.NEIGHBOUR + ("b = bytearray(b'a' + b'b' * 20000)\nfew = bytes(b)\nmany = b'a' * 20001\nflip = False\ndef neighbour():\n    global flip\n    flip = not flip\n    b[:] = many if flip else few\n"
                                   "t = _thread.start_new_thread(work, ())\ngood = True\nfor i in range(10):\n    others = [bytes(1000) for i in range(30)]\n"
                                   "    r = b.replace(b'a', b'X' * 100)\n    good = good and len(r) in (20100, 2000100) and all(o == bytes(1000) for o in others)\n"
                                   "    b.count(b'a'); b.split(b'a'); b.find(b'aab')\nstop()\nprint(good)")
        self.assertEqual(self.world.exec(source), ("True\n", False))

    def test_key_that_two_threads_add_at_once_is_there_once(self):
        source = self.NEIGHBOUR + ("good = True\ndef neighbour():\n    d.setdefault((1,) * 600 + (2,), 0)\nd = {}\nt = _thread.start_new_thread(work, ())\n"
                                   "for i in range(300):\n    d = {}\n    d.setdefault((1,) * 600 + (2,), 0)\n    for k in range(20): pass\n    good = good and len(d) <= 1\nstop()\nprint(good)")
        self.assertEqual(self.world.exec(source), ("True\n", False))

    def test_interrupted_exception_of_several_bases_gives_its_lock_back(self):
        self.world.exec("class B: pass\nfor i in range(9):\n    class L(B): pass\n    class R(B): pass\n    class B(L, R): pass\n"
                        "class E(B, Exception): pass\nimport _thread, eidolon\nlock = _thread.allocate_lock()\ndef f():\n    while True:\n"
                        "        try:\n            with lock: raise E()\n        except ValueError: pass\n")
        for turns in range(0, 60):
            self.world.exec(f"t = _thread.start_new_thread(f, ())\nfor i in range({turns}):\n    for i in range(256): pass\n"
                            "try: eidolon.interrupt(t)\nexcept ValueError: pass\n")
            self.assertEqual(self.world.exec("with lock: print('free')"), ("free\n", False))

    def test_class_body_that_raises_leaves_the_names_as_they_were(self):
        client = self.world.session("names")
        client.send("class A:\n    inner = 1\n    1 // 0\n\n")
        client.expect("ZeroDivisionError.*>>> $")
        client.send("outer = 5\n")
        client.expect(">>> $")
        self.assertEqual(self.world.exec("print(outer, 'inner' in globals())", "names"), ("5 False\n", False))

    def test_regular_expression_that_backtracks_for_ever_is_fair(self):
        self.assert_fair("import re\nre.match('(a|aa)+$', 'a' * 60 + 'b')")

    def test_search_of_long_bytes_in_longer_ones_is_fair(self):
        for number, use in enumerate(("needle in text", "text.count(needle)", "text.split(needle)", "text.rsplit(needle, 5)", "text.replace(needle, '')")):
            self.assert_fair("needle = 'a' * 1000000 + 'b'\ntext = 'a' * 4000000\n" + use, f"search{number}")

    def test_parts_that_are_shared_over_and_over_are_fair(self):
        # 60 levels, each twice the one below: nobody ever comes to their end.
        lists = "a = []\nb = []\nfor i in range(60): a, b = [a, a], [b, b]\n"
        classes = "class B: pass\nfor i in range(12):\n    class L(B): pass\n    class R(B): pass\n    class B(L, R): pass\n"
        for number, source in enumerate((lists + "a == b", lists + "print(a, file=S())", lists + "import json\njson.dump(a, S())",
                                         "t = (1,)\nfor i in range(60): t = (t, t)\nhash(t)",
                                         "d = {}\ne = {}\nfor i in range(60): d, e = {0: d, 1: d}, {0: e, 1: e}\nd == e",
                                         classes.replace("12", "60"), classes + "while True: max(getattr(x, 'x', 0) for x in [B()] * 1000)",
                                         classes + "while True: list(map(issubclass, [B] * 1000, [int] * 1000))")):
            self.assert_fair("import io\nclass S(io.IOBase):\n    def write(self, data): return len(data)\n" + source, f"shared{number}")

    def test_padding_beyond_the_memory_raises(self):
        for source in ("'%1000000000d' % 5", "'%-1000000000d' % 5", "'{:x>1000000000}'.format(5)"):
            self.raises("MemoryError", source)

    def test_mktime_of_any_number_of_days(self):
        source = ("import time\ndef days(year, month, day): return time.mktime((year, month, day, 0, 0, 0, 0, 0)) // 86400\n"
                  "print(days(2000, 1, 146097 * 3 + 6) == days(3200, 1, 6), days(2400, 3, 1 - 146097) == days(2000, 3, 1), days(2000, 1, 10**12) - 10**12)")
        self.assertEqual(self.world.exec(source), ("True True 10956\n", False))

    def test_interrupt_while_the_world_looks_at_an_exception_stops_nothing(self):
        # Whether it is SystemExit takes long, as each class has the one before twice; no handler of Python is left then.
        self.world.exec("class B: pass\nfor i in range(14):\n    class L(B): pass\n    class R(B): pass\n    class B(L, R): pass\n"
                        "class E(B, Exception): pass\ne = E()\ndef f(): raise e\nimport _thread, eidolon, time\n")
        for turns in range(0, 600, 8):
            self.world.exec(f"t = _thread.start_new_thread(f, ())\nfor i in range({turns}):\n    for i in range(256): pass\n"
                            "try: eidolon.interrupt(t)\nexcept ValueError: pass\n")
            self.assertTrue(self.world.alive(), turns)

    def test_other_threads_run_amid_a_sort(self):
        source = ("import _thread\ncount = 0\nrun = True\ndef counter():\n    global count\n    while run: count += 1\n"
                  "thread = _thread.start_new_thread(counter, ())\nl = [i * 7919 % 100003 for i in range(20000)]\nbefore = count\nl.sort()\n"
                  "print(count - before > 1000)\nrun = False")
        self.assertEqual(self.world.exec(source), ("True\n", False))

    def test_integers_of_others_are_whole_after_turns_amid_their_digits(self):
        # Each thread's numbers live only in its expression while the others allocate and collect.
        source = ("import _thread, gc, time\ndone = []\ndef work(n):\n    base = 10**3000 + n\n    good = True\n    for i in range(20):\n"
                  "        good = good and (base + i) * (base + i + 1) // (base + i) == base + i + 1 and int(str(base + i)) - i == base\n    done.append(good)\n"
                  "for n in range(4): thread = _thread.start_new_thread(work, (n,))\n"
                  "while len(done) < 4:\n    gc.collect(); x = [bytes(i) for i in range(300)]\nprint(done)")
        self.assertEqual(self.world.exec(source), ("[True, True, True, True]\n", False))

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

    def raises(self, error, source, name="main"):
        output, raised = self.world.exec(source, name)
        self.assertTrue(raised and error in output, output)

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

    # --- what would read or write where nothing is

    def test_struct_and_array_of_objects_and_pointers_are_refused(self):
        for code in "SO":
            self.raises("ValueError", f"import struct\nstruct.unpack('4{code}', b'A' * 32)")
            self.raises("ValueError", f"import struct\nstruct.unpack('<{code}', b'A' * 8)")
            self.raises("ValueError", f"import struct\nstruct.pack('{code}', 'text')")
            self.raises("ValueError", f"import array\nprint(array.array('{code}', b'A' * 8)[0])")

    def test_struct_counts_too_large_are_refused(self):
        self.raises("ValueError", "import struct\nstruct.pack_into('4611686018427387903x' * 4 + '4xB', bytearray(8), 0, 1)")
        self.raises("ValueError", "import struct\nstruct.calcsize('99999999999999999999i')")
        self.assertEqual(self.world.exec("import struct\nprint(struct.calcsize('b2000000000i'))"), ("8000000004\n", False))

    def test_sequences_too_large_to_count_raise_memoryerror(self):
        for source in ("[0] * 2**61", "[1, 2, 3, 4] * 2**62", "(0,) * 2**61", "(1, 2, 3, 4) * 2**62", "'abcd' * 2**62", "b'abcd' * 2**62",
                       "dict.fromkeys(range(2**60))", "bytearray(2**62)"):
            self.raises("MemoryError", source)

    def test_streams_that_lie_about_their_bytes_are_refused(self):
        for call in ("import json; json.load(B())", "print('text', file=B())", "import json; json.dump({1: 2}, B())"):
            self.raises("ValueError", "import io\nclass B(io.IOBase):\n    def readinto(self, b): return 10**6\n    def write(self, b): return 10**6\n" + call)

    def test_buffer_that_a_stream_of_ones_own_keeps_stays_its_own(self):
        source = ("import io, json\nkept = []\nclass B(io.IOBase):\n    def write(self, b): kept.append(b); return len(b)\n"
                  "    def readinto(self, b):\n        if len(kept) > 1: return 0\n        kept.append(b); b[:1] = b'7'; return 1\n"
                  "print('text', end='', file=B())\nprint(json.load(B()))\ndef use(n): return use(n - 1) if n else [0] * 50\nuse(20)\nprint(kept)")
        self.assertEqual(self.world.exec(source), ("7\n[bytearray(b'text'), bytearray(b'7')]\n", False))

    def test_sequence_that_lies_about_its_length_makes_an_array_of_what_it_has(self):
        lie = "class A:\n    def __len__(self): return %d\n    def __iter__(self): return iter(range(200))\n"
        self.assertEqual(self.world.exec(lie % 2 + "b = bytearray(A())\nprint(len(b), b == bytes(range(200)))"), ("200 True\n", False))
        self.raises("MemoryError", lie % 2**61 + "import array\narray.array('q', A())")

    def test_write_far_beyond_the_end_of_a_stream_in_memory_raises(self):
        for seek in ("s.seek(2**40)", "s.seek(2**62)", "for i in range(4): s.seek(2**62 - 5, 1)\ns.seek(0, 1)"):
            self.raises("Error", f"import io\ns = io.BytesIO(b'abc')\n{seek}\ns.write(b'x')")

    def test_numbers_that_divide_by_zero_inside_raise(self):
        self.raises("ZeroDivisionError", "pow(2**100, 2**100, 0)")
        for size in ("0", "65535", "bytearray(0)"):
            self.raises("ValueError", f"import micropython\nmicropython.RingIO({size})")

    CHANGE = ("class K:\n    def __init__(self, n, what=lambda: None): self.n, self.what = n, what\n    def __hash__(self): self.what(); return 7\n"
              "    def __eq__(self, other): self.what(); return self.n == other.n\n    def __lt__(self, other): self.what(); return self.n < other.n\n"
              "    __gt__ = lambda self, other: other < self\n"
              "def fill(): return [bytes(1000) for i in range(200)]\n"
              "def attempt(f):\n    try: f()\n    except (ValueError, RuntimeError, KeyError, IndexError): pass\n")

    def survive(self, *sources):
        for source in sources:
            output, raised = self.world.exec(self.CHANGE + source)
            self.assertTrue(self.world.alive(), source)
            self.assertFalse(raised, f"{source}\n{output}")

    def test_list_that_changes_while_it_is_sorted_is_refused_and_whole(self):
        self.raises("ValueError", "x = list(range(100, 0, -1))\ndef key(i):\n    x.append(i)\n    return i\nx.sort(key=key)")
        self.assertEqual(self.world.value("x == list(range(1, 101))"), "True")
        self.raises("ZeroDivisionError", "x = list(range(100, 0, -1))\nx.sort(key=lambda i: 1 // 0)")
        self.assertEqual(self.world.value("len(x)"), "100")

    def test_sort_of_sorted_and_of_equal_items_compares_few(self):
        source = ("class C:\n    count = 0\n    def __init__(self, n): self.n = n\n    def __lt__(self, other):\n        C.count += 1\n"
                  "        return self.n < other.n\nfor numbers in (range(1000), range(1000, 0, -1), [7] * 1000):\n    for reverse in (False, True):\n"
                  "        C.count = 0\n        l = sorted([C(n) for n in numbers], reverse=reverse)\n"
                  "        print([c.n for c in l] == (sorted(numbers, reverse=reverse)), C.count < 20000)\n")
        self.assertEqual(self.world.exec(source), ("True True\n" * 6, False))

    def test_list_that_another_session_appends_to_while_it_is_sorted_is_refused(self):
        self.world.exec("root.l = list(range(50, 0, -1))")
        client = self.world.start_exec("import time\ntold = []\ndef key(i):\n    if not told: told.append(1); print('go')\n    time.sleep(0.001)\n    return i\n"
                                       "root.l.sort(key=key)", "sorter")
        client.expect("go\n")
        self.world.exec("for i in range(1000): root.l.append(i)\ny = [bytes(100) for i in range(1000)]", "appender")
        client.expect("ValueError")
        self.assertEqual(self.world.value("sorted(root.l) == list(range(1, 51))"), "True")

    def test_lists_that_change_while_they_are_compared_or_searched_stop_nothing(self):
        for change in ("l.clear()", "l.pop()", "len(l) < 1000 and l.extend([K(0)] * 300)", "(l.clear(), fill())"):
            self.survive(*(f"l = [K(i, lambda: {change}) for i in range(50)]\nattempt(lambda: {use})" for use in
                           ("l.index(K(60))", "l.count(K(60))", "l.remove(K(60))", "l == [K(i) for i in range(50)]", "l < [K(i) for i in range(50)]",
                            "K(60) in l", "max(l)", "sorted(l)", "l.sort()")))
            self.survive(*(f"import heapq\nl = []\nfor i in range(50): heapq.heappush(l, K(-i))\nfor k in l: k.what = lambda: {change}\nattempt(lambda: {use})"
                           for use in ("heapq.heappush(l, K(-100))", "heapq.heappop(l)", "heapq.heapify(l)")))

    def test_dicts_and_sets_that_change_while_they_are_searched_stop_nothing(self):
        for change in ("d.clear()", "d.update(more)", "(d.clear(), fill())"):
            for kind in ("dict", "OrderedDict"):
                self.survive(*(f"from collections import OrderedDict\nmore = {{i: i for i in range(3000)}}\nd = {kind}()\nfor i in range(6): d[K(i)] = i\n"
                               f"e = {kind}()\nfor i in range(6): e[K(i)] = i\nfor k in d: k.what = lambda: {change}\nattempt(lambda: {use})"
                               for use in ("d.get(K(9))", "d.get(K(5))", "d.update({K(5): 1})", "d.pop(K(3))", "d.setdefault(K(9), 1)", "d == e", "e == d",
                                           "e.update(d)", "d.get(K(9, lambda: d.clear()))", "dict(d)")))
        for change in ("s.clear()", "s.update(range(3000))", "(s.clear(), fill())"):
            self.survive(*(f"s = {{K(i) for i in range(6)}}\nt = {{K(i) for i in range(6)}}\nfor k in s: k.what = lambda: {change}\nattempt(lambda: {use})"
                           for use in ("K(9) in s", "s.add(K(9))", "s.discard(K(4))", "s == t", "t == s", "s | t", "s & t", "s - t", "s ^ t", "s <= t",
                                       "s.update(t)", "t.update(s)", "s.intersection_update(t)", "s.symmetric_difference_update(t)", "K(9, lambda: s.clear()) in s")))

    def test_free_slot_that_is_taken_while_keys_are_compared_is_not_used_again(self):
        keys = ("class K:\n    def __init__(self, n, what=None): self.n, self.what = n, what\n    def __hash__(self): return 0\n"
                "    def __repr__(self): return str(self.n)\n    def __eq__(self, other):\n        what, self.what = self.what, None\n"
                "        if what: what()\n        return self.n == other.n\nA, B, C, D, E = [K(n) for n in range(5)]\n")
        source = keys + ("d = {A: 0, B: 0, C: 0}\ndel d[A]\ndef change():\n    d[E] = 0\n    del d[C]\nB.what = D.what = change\nd[D] = 0\n"
                         "print(sorted([k.n for k in d]))")
        self.assertEqual(self.world.exec(source), ("[1, 3, 4]\n", False))
        source = keys + ("s = {A, B, C}\ns.remove(A)\ndef change():\n    s.add(E)\n    s.remove(C)\nB.what = D.what = change\ns.add(D)\n"
                         "print(sorted([k.n for k in s]))")
        self.assertEqual(self.world.exec(source, "sets"), ("[1, 3, 4]\n", False))

    BROKEN = ("class K:\n    hashed = compared = None\n    def __init__(self, n): self.n = n\n    def __hash__(self):\n        if K.hashed: K.hashed(self)\n"
              "        return self.n\n    def __eq__(self, other): return self.n == other.n\n    def __lt__(self, other):\n"
              "        if K.compared: K.compared(self)\n        return self.n < other.n\n    def __repr__(self): return str(self.n)\n"
              "def broken(k):\n    if k.n == 3: 1 // 0\n")

    def test_hash_that_raises_while_a_table_grows_loses_no_entry(self):
        for make, add in (("{K(n): n for n in range(count)}", "x[K(1000)] = 0"), ("{K(n) for n in range(count)}", "x.add(K(1000))")):
            source = self.BROKEN + (f"raised = 0\nfor count in range(4, 40):\n    x = {make}\n    K.hashed = broken\n    try: {add}\n"
                                    "    except ZeroDivisionError: raised += 1\n    K.hashed = None\n"
                                    "    if not all(K(n) in x for n in range(count)): print('lost', count)\nprint(raised > 1)")
            self.assertEqual(self.world.exec(source), ("True\n", False))

    def test_value_that_is_set_while_a_table_grows_is_kept(self):
        source = self.BROKEN + ("seen = 0\ndef change(k):\n    global seen\n    if k.n == 5:\n        K.hashed = None\n        seen += 1\n        x[K(0)] = 'new'\n        del x[K(1)]\n"
                                "        x[K(2000)] = 5\nfor count in range(6, 40):\n    x = {K(n): n for n in range(count)}\n    K.hashed = change\n"
                                "    before = seen\n    x[K(1000)] = 0\n    K.hashed = None\n"
                                "    if seen > before and (x[K(0)] != 'new' or K(1) in x or x[K(2000)] != 5 or len(x) != count + 1): print('lost', x)\nprint(seen > 1)")
        self.assertEqual(self.world.exec(source), ("True\n", False))

    def test_heap_whose_comparison_raises_keeps_its_items(self):
        source = self.BROKEN + ("import heapq\nleft = 0\ndef nth(k):\n    global left\n    left -= 1\n    if left == 0: 1 // 0\n"
                                "for use, items in ((lambda: heapq.heappush(x, K(-5)), [-5, -2, 0, 3, 4, 6, 7]), (lambda: heapq.heappop(x), [0, 3, 4, 6, 7]),\n"
                                "                   (lambda: heapq.heapify(x), [-2, 0, 3, 4, 6, 7])):\n    raised = 0\n    for left in range(1, 20):\n"
                                "        x = [K(n) for n in (-2, 3, 0, 6, 4, 7)]\n        K.compared = nth\n        try: use()\n"
                                "        except ZeroDivisionError: raised += 1\n        K.compared = None\n        if sorted([k.n for k in x]) != items: print('lost', x)\n"
                                "    print(raised > 1)\n")
        self.assertEqual(self.world.exec(source), ("True\n" * 3, False))

    def test_ordered_dict_that_cannot_grow_stays_as_it_was(self):
        source = ("import micropython\nfrom collections import OrderedDict\no = OrderedDict()\ndef attempt():\n    micropython.heap_lock()\n    try: o[1] = 2\n"
                  "    except MemoryError: pass\n    micropython.heap_unlock()\nattempt()\nprint(o.get(1))\no[1] = 3\nprint(o)")
        self.assertEqual(self.world.exec(source), ("None\nOrderedDict({1: 3})\n", False))

    def test_dict_that_changes_while_it_is_printed_is_printed_to_its_end(self):
        self.survive("class P:\n    def __init__(self, n): self.n = n\n    def __hash__(self): return self.n\n    def __repr__(self):\n"
                     "        d.clear(); d.update({i: i for i in range(2000)})\n        return str(len(fill()))\n"
                     "d = {P(0): P(1)}\nrepr(d)\nd = {P(0): P(1)}\nprint(d)\nimport json\nd = {'a': 1, P(3): 'b'}\njson.dumps(d)\n")

    def test_memoryview_of_a_bytearray_that_grew_writes_over_nothing(self):
        source = ("b = bytearray(1000)\nm = memoryview(b)\nblock = bytes(100)\nb.extend(bytes(100000))\n"
                  "others = [bytes(1000) for i in range(100)]\nm[:] = b'x' * 1000\nprint(all(o == bytes(1000) for o in others), len(b))")
        self.assertEqual(self.world.exec(source), ("True 101000\n", False))

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
