"""Programs that would hold all others up: whatever one does, others are served, and it can be interrupted."""
import unittest

from world import WorldTest, parse_exec


class FairnessTest(WorldTest):
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


if __name__ == "__main__":
    unittest.main()
