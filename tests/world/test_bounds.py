"""Sizes that a program chooses, and what one session may do to all others."""
import unittest

from world import World, parse_exec

# Fills the heap, as far as a program may.
FILL = ("hold = None\nsize = 1 << 18\nwhile size >= 16:\n    try: hold = [hold, bytearray(size)]\n"
        "    except MemoryError: size //= 2\n")


class BoundsTest(unittest.TestCase):
    def setUp(self):
        self.world = World(memory_mib=32)

    def tearDown(self):
        self.assertTrue(self.world.alive(), open(self.world.log_path).read())
        self.world.stop()

    def assert_raises(self, name, source):
        """It raises, and the world lives on."""
        output, raised = self.world.exec(source)
        self.assertTrue(raised, output[-300:])
        self.assertIn(name, output.splitlines()[-1])
        self.assertEqual(self.world.value("6 * 7", "other"), "42")

    def assert_takes_turns(self, source):
        """Others run while the line after the first print does, and Ctrl-C ends it before the next one."""
        client = self.world.start_exec(source)
        client.expect("go\n")
        client.send(b"\x03")
        self.assertEqual(self.world.value("6 * 7", "other"), "42")
        client.read_to_end()
        output, raised = parse_exec(client.received)
        self.assertTrue(raised)
        self.assertIn("KeyboardInterrupt", output)
        self.assertNotIn("done", output)

    # --- sizes on the stack

    def test_import_of_a_long_dotted_name_raises(self):
        self.assert_raises("RuntimeError", "exec('import ' + '.'.join(['a'] * 150000))")

    def test_relative_import_of_a_long_name_raises(self):
        self.assert_raises("RuntimeError", "__name__ = 'a.b'; __import__('x' * 400000, globals(), None, (), 1)")

    def test_import_from_a_package_with_a_long_name_raises(self):
        self.assert_raises("RuntimeError", "import sys\nclass M: pass\nm = M()\nm.__path__, m.__name__ = 'x', 'n' * 400000\n"
                                           "sys.modules['mm'] = m\nfrom mm import q")

    def test_function_with_many_locals_without_memory_raises(self):
        self.assert_raises("MemoryError", "names = {}\nexec('def f():\\n' + ''.join('    v%d = 0\\n' % i for i in range(30000)), names)\n"
                                          "names['f']()\n" + FILL + "names['f']()")

    def test_bound_method_with_many_arguments_without_memory_raises(self):
        self.assert_raises("MemoryError", "class A:\n    def m(self, *a): pass\nm, args = A().m, [0] * 60000\nm(*args)\n"
                                          "spare = bytearray(520000)\n" + FILL + "spare = None\nm(*args)")

    # --- modules that are none

    def test_import_from_what_has_no_name_raises(self):
        self.assert_raises("ImportError", "import sys\nclass M:\n    __path__ = 'x'\nsys.modules['mm'] = M()\nfrom mm import q")

    def test_import_of_all_names_of_no_module_raises(self):
        self.assert_raises("ImportError", "import sys\nsys.modules['mm'] = 5\nfrom mm import *")

    # --- re.sub

    def test_match_kept_from_a_substitution_stays_as_it_was(self):
        output, raised = self.world.exec("import re\nkept = []\nprint(re.sub('([a-c])', lambda m: kept.append(m) or 'x', 'abc'))\n"
                                         "def deep(n): return n and deep(n - 1)\ndeep(20)\nprint([m.group(1) for m in kept])")
        self.assertEqual((output, raised), ("xxx\n['a', 'b', 'c']\n", False))

    # --- sizes in code

    def test_many_values_on_the_stack_of_a_function_raise(self):
        self.assert_raises("RuntimeError", "x = 1\neval('(' + 'x,' * 65540 + ')')")

    def test_call_with_many_written_arguments_raises(self):
        self.assert_raises("RuntimeError", "def f(*a): pass\nx = 1\neval('f(' + 'x,' * 256 + ')')")

    def test_call_with_many_written_keywords_raises(self):
        self.assert_raises("RuntimeError", "def f(**a): pass\neval('f(' + ','.join('a%d=1' % i for i in range(256)) + ')')")

    def test_call_with_255_written_arguments_gets_them(self):
        self.assertEqual(self.world.exec("def f(*a): return len(a)\nx = 1\nprint(eval('f(' + 'x,' * 255 + ')'))"), ("255\n", False))

    def test_function_that_closes_over_many_names_raises(self):
        self.assert_raises("RuntimeError", "exec('def f():\\n' + ''.join(' v%d=0\\n' % i for i in range(300)) + ' def g(): return '\n"
                                           "     + '+'.join('v%d' % i for i in range(300)))")

    def test_parameter_far_behind_that_is_closed_over_raises(self):
        self.assert_raises("RuntimeError", "exec('def f(' + ','.join('v%d' % i for i in range(300)) + '):\\n def g(): return v299\\n return g')")

    def test_unpacking_to_many_names_before_a_star_raises(self):
        self.assert_raises("RuntimeError", "exec('a,' * 256 + '*b = range(300)')")

    def test_source_with_many_names_raises(self):
        self.assert_raises("RuntimeError", "exec('\\n'.join('v%d=0' % i for i in range(65540)), {})")

    def test_names_beyond_16_bits_are_told_apart(self):
        self.world.exec("class O: pass\no = O()\nfor i in range(66000):\n    setattr(o, 'name_%d' % i, 0); delattr(o, 'name_%d' % i)")
        source = "class Far:\n    def far_method(self): return far_value\nfar_value = 7\nprint(Far.__name__, Far().far_method(), Far.far_method, 'far_value' in globals())"
        output, raised = self.world.exec(source)
        self.assertFalse(raised, output)
        self.assertRegex(output, "^Far 7 <function far_method at .* True\n$")

    def test_arguments_of_an_exception_without_memory_are_not_written_over(self):
        source = ("import micropython\nclass O:\n    def __eq__(self, other):\n        try: None.none\n        except AttributeError: pass\n        return True\n"
                  "o, same = O(), None\nothers = (o,) * 40\nmicropython.heap_lock()\nsame = ValueError(" + ",".join("o" * 40) + ").args == others\n"
                  "micropython.heap_unlock()\nprint(same)")
        self.assertIn(self.world.exec(source), (("True\n", False), ("False\n", False)))

    # --- turns

    def test_count_in_a_bytearray_takes_turns(self):
        self.assert_takes_turns("b = bytearray(400000)\nprint('go')\nb.count(bytes(100000) + b'b')\nprint('done')")

    def test_split_of_a_bytearray_takes_turns(self):
        self.assert_takes_turns("b = bytearray(400000)\nprint('go')\nb.split(bytes(100000) + b'b')\nprint('done')")

    def test_rsplit_of_a_bytearray_takes_turns(self):
        self.assert_takes_turns("b = bytearray(400000)\nprint('go')\nb.rsplit(b'b' + bytes(100000), 1)\nprint('done')")

    def test_growth_of_a_dict_with_equal_places_takes_turns(self):
        self.assert_takes_turns("d = {}\nfor i in range(54907): d[i * 82363] = i\nprint('go')\nd[54907 * 82363] = 0\nprint('done')")

    def test_growth_of_a_set_with_equal_places_takes_turns(self):
        self.assert_takes_turns("s = set()\nfor i in range(54907): s.add(i * 82363)\nprint('go')\ns.add(54907 * 82363)\nprint('done')")

    def test_dict_that_others_change_while_it_grows_loses_nothing(self):
        source = ("import _thread\nd = {}\nfor i in range(10861): d[i * 16273] = i\nleft = 3\n"
                  "def f(n):\n    global left\n    for i in range(50):\n        d[n + i] = i\n        d[i * 16273] = -i\n    left -= 1\n"
                  "for n in (-100, -200): _thread.start_new_thread(f, (n,))\nf(-300)\nwhile left: pass\n"
                  "print(len(d), sum(d[n + i] == i for n in (-100, -200, -300) for i in range(50)),\n"
                  "      sum(d[i * 16273] == (-i if i < 50 else i) for i in range(10861)))")
        self.assertEqual(self.world.exec(source), ("11011 150 10861\n", False))

    def test_compiling_many_names_takes_turns(self):
        self.assert_takes_turns("source = '\\n'.join('v%d=0' % i for i in range(40000))\nprint('go')\ncompile(source, '', 'exec')\nprint('done')")

    def test_compiling_many_lines_gives_them_all(self):
        self.assertEqual(self.world.exec("x = 0\nexec('x+=1\\n' * 30000)\nprint(x)"), ("30000\n", False))

    # --- what is a session's own

    def test_sys_path_of_one_session_leaves_imports_of_others(self):
        for change in ("sys.path = 5", "sys.path.clear()", "sys.path[0] = 5"):
            self.world.exec("import sys\n" + change, "one")
            for name in ("other", "new" + str(len(change))):
                self.assertEqual(self.world.exec("import sys, time, asyncio.lock\nprint(sys.path)", name), ("['', '.frozen']\n", False))

    def test_sys_path_of_a_session_is_kept_and_cannot_be_deleted(self):
        self.world.exec("import sys\nsys.path.append('x' * 100)", "one")
        self.assert_raises("AttributeError", "import sys\ndel sys.path")
        self.assertEqual(self.world.exec("import gc\ngc.collect()\nimport time, sys\nprint(len(sys.path[2]))", "one"), ("100\n", False))

    def test_callback_that_waits_raises(self):
        for wait in ("time.sleep(1000)", "lock.acquire()", "eidolon.commit()"):
            output, raised = self.world.exec(f"import micropython, time, _thread, eidolon\nlock = _thread.allocate_lock()\nlock.acquire()\n"
                                             f"micropython.schedule(lambda x: {wait}, 0)\nfor i in range(1000): pass\nprint('on')")
            self.assertFalse(raised)
            self.assertRegex(output, "RuntimeError: .*callback.*\non\n$")

    def test_callback_that_never_ends_is_ended(self):
        source = ("import micropython\ndef f(x):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass\n"
                  "micropython.schedule(f, 0)\nfor i in range(1000): pass\nprint('on')")
        output, raised = self.world.exec(source)
        self.assertFalse(raised)
        self.assertRegex(output, "RuntimeError: the callback ran too long\non\n$")

    def test_callback_comes_after_one_that_waits_in_another_session(self):
        self.world.exec("import micropython, time\nmicropython.schedule(lambda x: time.sleep(1000), 0)\nfor i in range(1000): pass", "one")
        self.assertEqual(self.world.exec("import micropython\nmicropython.schedule(print, 'called')\nfor i in range(1000): pass"), ("called\n", False))

    def test_disabled_collection_takes_no_memory_from_others(self):
        self.world.exec("import gc\na, b = [], []\ntry:\n    while True:\n        a.append(bytearray(1000))\n        b.append(bytearray(1000))\n"
                        "except MemoryError: pass\nb = None\ngc.collect()\ngc.disable()", "one")
        self.assertEqual(self.world.exec("for i in range(5):\n    x = bytearray(700000)\n    x = None\nprint('fits')", "other"), ("fits\n", False))
