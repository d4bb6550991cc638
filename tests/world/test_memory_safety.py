"""Programs that would read or write where nothing is: values that lie, and values that change while they are used."""
import unittest

from world import WorldTest


class MemorySafetyTest(WorldTest):
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


if __name__ == "__main__":
    unittest.main()
