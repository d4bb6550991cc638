"""Classes of one's own: those derived from built-in types, super(), calls that unpack their arguments."""
import time
import unittest

from world import World


class ClassTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = World()

    @classmethod
    def tearDownClass(cls):
        cls.world.stop()

    def setUp(self):
        if not self.world.alive():  # another test's failure
            self.world.stop()
            type(self).world = World()

    def prints(self, source, output):
        """What `source` prints; the world lives on, with a heap that can be collected."""
        try:
            got = self.world.exec(source + "\nimport gc\ngc.collect()\n")
            self.assertEqual(self.world.exec("'alive'", "other"), ("'alive'\n", False))
        except (OSError, ValueError, AssertionError):
            time.sleep(0.1)
            if self.world.alive():
                raise
            self.fail("the world stopped: " + open(self.world.log_path).read()[-300:])
        self.assertEqual(got, (output, False))

    def refuses(self, error, *sources):
        for source in sources:
            self.prints(f"try:\n    {source}\nexcept {error} as e: print('refused')", "refused\n")

    # --- calls that unpack

    COUNT = "def f(*a): return len(a)\ndef g(*a, **k): return len(k)\nkeep = []\n"

    def test_several_unpacked_iterables_all_arrive(self):
        self.prints(self.COUNT + "for n in range(40):\n    for m in range(25):\n        x = f(*(i for i in range(n)), *[1] * m, 5, *(7,) * m)\n"
                    "        keep.append([x])\n        if x != n + 2 * m + 1: print('wrong', n, m, x)\nprint(sum(k[0] for k in keep))",
                    str(sum(n + 2 * m + 1 for n in range(40) for m in range(25))) + "\n")

    def test_unpacked_iterables_arrive_in_their_order(self):
        self.prints("print(*map(str, range(30)), *sorted('cab'), *'xyz', 5, *[], *range(3))",
                    " ".join([*map(str, range(30)), *"abcxyz", "5", *map(str, range(3))]) + "\n")

    def test_keywords_behind_unpacked_mappings_all_arrive(self):
        self.prints(self.COUNT + "class M:\n    def __init__(self, n): self.n = n\n    def keys(self): return ['k%d' % i for i in range(self.n)]\n"
                    "    def __getitem__(self, k): return int(k[1:])\n"
                    "for r in range(20):\n    for n in range(1, 60):\n        x = [g(**M(n), x=1, y=2, z=3), g(**M(n), **{'a%d' % i: i for i in range(50)})]\n"
                    "        keep.append(x)\n        if x != [n + 3, n + 50]: print('wrong', n, x)\nprint(len(keep))\n"
                    "print(g(*[1, 2], **M(3), **{'x': 1}, **M(0), y=2))", "1180\n5\n")

    def test_list_or_dict_that_grows_while_an_argument_before_it_is_unpacked_arrives_whole(self):
        self.prints(self.COUNT + "l = []\nd = {}\ndef grow():\n    l.extend([1] * 3000)\n    d.update({'k%d' % i: 0 for i in range(500)})\n    yield 1\n"
                    "print(f(*grow(), *l))\nprint(g(*grow(), **d))\n"
                    "class M:\n    def keys(self):\n        d.update({'m%d' % i: 0 for i in range(500)})\n        return []\nprint(g(**M(), **d))",
                    "3001\n500\n1000\n")

    def test_length_that_is_a_lie_does_not_matter_to_unpacking(self):
        self.prints("class A:\n    def __init__(self, n): self.n = n\n    def __len__(self): return self.n\n    def __iter__(self): return iter([1, 2, 3])\n"
                    "for n in (-1, 0, 1 << 59, 1 << 61, -(1 << 61)): print(*A(n), 4)", "1 2 3 4\n" * 5)

    def test_only_marked_arguments_are_unpacked_of_however_many(self):
        self.prints(self.COUNT + "print(f(*'ab', %s))" % ", ".join(["'xy'"] * 80), "82\n")

    def test_keywords_before_an_unpacked_argument_stay_keywords(self):
        self.prints("def f(*a, **k): return a, k\nprint(f(1, a=1, *[2, 3]), f(b=5, *[1], **{'b5': 6}) == ((1,), {'b': 5, 'b5': 6}))\nprint(1, sep='-', *[2, 3])",
                    "((1, 2, 3), {'a': 1}) True\n1-2-3\n")

    def test_unpacked_bases_are_bases(self):
        self.prints("class A: pass\nclass B(*[A]): pass\nprint(B.__bases__)", "(<class 'A'>,)\n")

    def test_counts_that_the_bytecode_cannot_hold_are_refused(self):
        names = "[f'k{i}' for i in range(n)]"
        for source in (f"'print(' + ','.join({names}) + ')'", f"'print(' + ','.join([k + '=1' for k in {names}]) + ')'", f"','.join({names}) + ', *q = range(1000)'",
                       f"'*q, ' + ','.join({names}) + ' = range(1000)'",
                       f"'def f():\\n' + ''.join(['  ' + k + ' = 1\\n' for k in {names}]) + '  def g(): return ' + '+'.join({names}) + '\\n  return g()\\nf()'",
                       f"'def f():\\n' + ''.join(['  ' + k + ' = 1\\n' for k in {names}]) + '  x = 7\\n  def g(): return x\\n  return g()\\nprint(f())'"):
            self.prints(f"for n in (256, 300, 512, 600):\n    try: exec({source})\n    except RuntimeError as e: print(e)", "bytecode overflow\n" * 4)

    # --- subclasses of streams

    def test_print_to_a_subclass_of_a_stream(self):
        self.prints("import io, json\nclass T(io.StringIO): pass\nclass U(T): pass\nfor t in (T(), U()):\n    print('hello', 5, file=t)\n    json.dump([1], t)\n"
                    "    print(repr(t.getvalue()))", "'hello 5\\n[1]'\n" * 2)

    def test_print_calls_the_write_of_a_subclass_of_a_stream(self):
        self.prints("import io\nclass T(io.StringIO):\n    def write(self, data): return super().write(bytes(data).decode().upper())\n"
                    "t = T()\nprint('hello', file=t)\nprint(t.getvalue())", "HELLO\n\n")

    def test_json_is_read_from_a_subclass_of_a_stream(self):
        self.prints("import io, json\nclass S(io.BytesIO): pass\nprint(json.load(S(b'[1, 2]')))", "[1, 2]\n")

    def test_subclass_of_a_socket_is_polled(self):
        self.prints("import select, socket\nclass S(socket.socket): pass\nl = S()\nl.bind(('127.0.0.1', 9001))\nl.listen(1)\nc = S()\nc.connect(('127.0.0.1', 9001))\n"
                    "a = l.accept()[0]\np = select.poll()\np.register(c, select.POLLIN)\nprint(p.poll(0))\na.send(b'x')\nprint(p.poll(5000)[0][0] is c, c.recv(1))\n"
                    "for s in (a, c, l): s.close()", "[]\nTrue b'x'\n")

    def test_subclass_of_a_ring_is_a_stream(self):
        self.prints("import micropython\nclass R(micropython.RingIO): pass\nr = R(100)\nprint('abc' * 10, file=r)\nprint(r.read())", "b'" + "abc" * 10 + "\\n'\n")

    def test_stream_of_ones_own_is_still_one(self):
        self.prints("import io\nclass T(io.IOBase):\n    def __init__(self): self.n = 0\n    def write(self, b):\n        self.n += len(b)\n        return len(b)\n"
                    "class U(T): pass\nu = U()\nprint('hello', file=u)\nprint(u.n)", "6\n")

    # --- super()

    def test_super_in_new_of_a_subclass_of_a_builtin_type(self):
        self.prints("class A(list):\n    def __new__(cls, *args): return super().__new__(cls)\na = A([1, 2])\na.append(3)\nprint(a, len(a))\n"
                    "class D(dict):\n    def __new__(cls): return super(D, cls).__new__(cls)\nd = D()\nd[1] = 2\nprint(d)\n"
                    "class E(Exception):\n    def __new__(cls, *args): return super().__new__(cls)\ntry: raise E(5)\nexcept E as e: print(e.args)",
                    "[1, 2, 3] 3\n{1: 2}\n(5,)\n")

    def test_super_in_classmethods_of_a_subclass_of_a_builtin_type(self):
        self.prints("class A(dict):\n    @classmethod\n    def make(cls, keys): return super().fromkeys(keys, 1)\n    @classmethod\n    def name(cls): return cls.__name__\n"
                    "    @classmethod\n    def none(cls): return super().nothing\n"
                    "class B(A):\n    @classmethod\n    def name(cls): return 'B of ' + super().name()\nprint(sorted(B.make('ab').items()), B.name())\n"
                    "for use in (A.none, B.none):\n    try: use()\n    except AttributeError: print('none')",
                    "[('a', 1), ('b', 1)] B of B\nnone\nnone\n")

    def test_super_of_builtin_objects(self):
        self.prints("from collections import OrderedDict\nprint(super(IndexError, IndexError('x')).args, list(super(OrderedDict, OrderedDict(a=1)).keys()))\n"
                    "try: print(super(IndexError, IndexError('x')).__init__)\nexcept AttributeError: print('none')", "('x',) ['a']\nnone\n")

    def test_super_refuses_an_object_of_another_class(self):
        self.prints("class A(list):\n    def use(self, *a): return super().append(1)\n    def other(self):\n        self = 5\n        return super().append(1)\n"
                    "class B: pass\n"
                    "for use in (lambda: A.use(5), lambda: A.use(B()), lambda: A.use([]), lambda: A.use(None), A().other, lambda: super((A,), A()).append, lambda: super(5, A()).append):\n"
                    "    try: use()\n    except TypeError: print('refused')", "refused\n" * 7)

    # --- methods of builtin types reached through a subclass

    def test_method_of_a_builtin_type_is_called_through_a_subclass(self):
        self.prints("class A(list): pass\nclass B(A):\n    def append(self, x): A.append(self, x)\n    def extend(self, x): list.extend(self, x)\n"
                    "b = B()\nfor i in range(100): b.append(i)\nb.extend((7, 8))\nprint(len(b), b[-3:])", "102 [99, 7, 8]\n")
        self.prints("class A(bytearray): pass\nclass B(A):\n    def extend(self, x): A.extend(self, x)\nb = B(b'abc')\nb.extend(b'xyz' * 100)\nprint(b == b'abc' + b'xyz' * 100)", "True\n")
        self.prints("class A(dict): pass\nclass B(A):\n    def update(self, *a, **k): A.update(self, *a, **k)\n    def get(self, k, d=None): return A.get(self, k, d)\n"
                    "b = B()\nb.update({i: i for i in range(100)}, x=5)\nprint(len(b), b.get('x'), b.get('y', 6))", "101 5 6\n")
        self.prints("import socket\nclass A(socket.socket): pass\nclass B(A):\n    def close(self): A.close(self)\nB().close()\nprint('closed')", "closed\n")

    def test_method_of_a_builtin_type_refuses_other_objects_through_a_subclass(self):
        for arguments in ("5, 1", "(), 1", "{}, 1", "", "B(), 1", "A, 1"):
            self.prints(f"class A(list): pass\nclass B: pass\ntry: A.append({arguments})\nexcept TypeError: print('refused')", "refused\n")

    def test_method_from_a_builtin_types_dict_refuses_other_objects(self):
        self.prints("a = list.__dict__['append']\nl = []\na(l, 1)\nprint(l)\ntry: a(5, 1)\nexcept TypeError: print('refused')", "[1]\nrefused\n")
        self.prints("class B: f = bytes.__dict__['fromhex']\nprint(B.f('4142'), bytes.fromhex('43'))", "b'AB' b'C'\n")

    def test_classmethod_of_a_builtin_type_makes_a_builtin_object(self):
        self.prints("class A(bytes): pass\nfor a in (A.fromhex('4142'), A(b'').fromhex('4142')): print(a, len(a), a + b'C')\n"
                    "class I(int): pass\nprint(I.from_bytes(b'\\x05', 'little') + 1)", "b'AB' 2 b'ABC'\n" * 2 + "6\n")

    def test_method_of_a_builtin_parent_takes_its_subtypes(self):
        self.prints("from collections import OrderedDict\nclass A(OrderedDict): pass\nprint(list(dict.keys(OrderedDict(a=1))), list(dict.keys(A(b=2))))", "['a'] ['b']\n")

    # --- before super().__init__()

    def test_use_before_init_is_refused(self):
        for use in ("for x in self: pass", "list(self)", "bytes(self)", "5 in self", "self[0]", "len(self)", "self.append(1)", "A.append(self, 1)", "self + [1]",
                    "list.append(self, 1)"):
            self.prints("class A(list):\n    def __init__(self, items):\n        try:\n            %s\n        except (AttributeError, TypeError) as e: print('refused')\n"
                        "        super().__init__(items)\nprint(A([1]))" % use, "refused\n[1]\n")
        self.refuses("AttributeError", "exec('class A(bytearray):\\n    def __init__(self):\\n        bytes(self)\\nA()')",
                     "exec('class A(tuple):\\n    def __init__(self):\\n        (1,) == self\\nA()')",
                     "exec('class A(type):\\n    def __init__(self):\\n        self(5)\\nA()')",
                     "exec('import io\\nclass A(io.StringIO):\\n    def __init__(self):\\n        print(5, file=self)\\nA()')",
                     "exec('import io, json\\nclass A(io.StringIO):\\n    def __init__(self):\\n        json.load(self)\\nA()')")

    def test_object_is_printed_before_init_by_its_class(self):
        self.prints("class A(list):\n    def __init__(self):\n        print(repr(self)[:12], str(self)[:12])\n        super().__init__([1])\nprint(A())", "<A object at <A object at\n[1]\n")

    def test_exception_is_raised_before_its_init_is_through(self):
        self.prints("class A(OSError):\n    def __init__(self, n):\n        try: raise self\n        except A as e: print(e is self, e.args)\n        super().__init__(n, 'x')\n"
                    "try: raise A(5)\nexcept A as e: print(e.args, e.errno)", "True ()\n(5, 'x') 5\n")
        self.prints("keep = []\nclass A(Exception):\n    def __init__(self):\n        keep.append(self)\n        1 // 0\ntry: A()\nexcept ZeroDivisionError: pass\n"
                    "try: raise keep[0]\nexcept A as e: print(type(e), e.args, str(e))\nimport sys\nsys.print_exception(keep[0], sys.stdout)",
                    "<class 'A'> () \nTraceback (most recent call last):\n  File \"<stdin>\", line 8, in <module>\nA: \n")

    def test_exception_without_init_is_raised(self):
        self.prints("class A(Exception): pass\nclass S(StopIteration): pass\nclass I:\n    def __iter__(self): return self\n    def __next__(self): raise object.__new__(S)\n"
                    "try: raise object.__new__(A)\nexcept A as e: print(type(e), e.args)\nprint(list(I()))", "<class 'A'> ()\n[]\n")

    # --- iteration

    def test_subclass_of_an_asyncio_task_is_awaited(self):
        self.prints("import asyncio\nclass T(asyncio.Task): pass\nasync def co(): return 5\nt = T(co())\ntry: print(list(t))\nexcept Exception as e: print('refused')",
                    "refused\n")

    def test_subclasses_of_iterables_and_iterators_are_iterated(self):
        self.prints("import io\nfrom collections import deque, namedtuple, OrderedDict\n"
                    "for base, args in ((list, ([1, 2],)), (deque, ((1, 2), 5)), (OrderedDict, ([(1, 0), (2, 0)],)), (map, (abs, [1, 2])), (io.StringIO, ('1\\n2\\n',)), (bytes, (b'12',)),\n"
                    "                   (enumerate, ([3],)), (namedtuple('P', 'x y'), (1, 2))):\n    class A(base): pass\n    print(list(A(*args)), end=' ')",
                    "[1, 2] [1, 2] [1, 2] [1, 2] ['1\\n', '2\\n'] [49, 50] [(0, 3)] [1, 2] ")


if __name__ == "__main__":
    unittest.main()
