"""What an argument's own code does while a call looks at the object that it is for; things that are not what a call takes them for."""
import unittest

from world import World, parse_exec


class ConversionTest(unittest.TestCase):
    def setUp(self):
        self.world = World()

    def tearDown(self):
        self.assertTrue(self.world.alive(), open(self.world.log_path).read())
        self.world.stop()

    def assert_prints(self, source, expected):
        """The program prints `expected`, and the world and its heap are well afterwards."""
        self.assertEqual(self.world.exec(source), (expected, False))
        self.assertEqual(self.world.exec("import gc; gc.collect(); print('well')"), ("well\n", False))

    NUMBER = """
class Number:
    def __init__(self, value, action): self.value, self.action = value, action
    def __int__(self):
        self.action()
        return self.value
    def __float__(self):
        self.action()
        return float(self.value)
def raises(function, *args):
    try: function(*args)
    except Exception as error: return type(error).__name__
    return 'nothing'
"""

    # --- tasks that wait for each other

    CIRCLES = """
import asyncio
async def wait(name): await tasks[name]
async def main():
    for name, other in %r.items(): tasks[name] = asyncio.create_task(wait(other))
    await asyncio.sleep(0.02)
    try: tasks['a'].cancel()
    except RuntimeError: print('refused')
tasks = {}
asyncio.run(main())
"""

    def test_cancel_of_tasks_that_wait_in_a_circle_is_refused(self):
        for waits in ({"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "d", "d": "b"}):
            client = self.world.start_exec(self.CIRCLES % waits, "circle")
            self.assertEqual(self.world.exec("'served'", "other"), ("'served'\n", False), waits)
            self.assertEqual(parse_exec(client.read_to_end()), ("refused\n", False), waits)

    def test_cancel_reaches_the_last_of_a_chain_of_tasks(self):
        self.assert_prints("""
import asyncio
async def last():
    try: await asyncio.sleep(9)
    except asyncio.CancelledError: print('reached')
async def wait(task): return await task
async def main():
    task = asyncio.create_task(last())
    for i in range(50): task = asyncio.create_task(wait(task))
    await asyncio.sleep(0.02)
    task.cancel()
    await task
asyncio.run(main())
""", "reached\n")

    def test_cancel_of_a_task_whose_data_derives_from_task_takes_it_for_data(self):
        self.assert_prints("""
import asyncio
class Derived(asyncio.Task): pass
async def sleep(): await asyncio.sleep(1)
async def main():
    task = asyncio.create_task(sleep())
    await asyncio.sleep(0.01)
    task.data = Derived(None)
    print(task.cancel())
asyncio.run(main())
""", "True\n")

    # --- indices

    def test_index_is_an_int_and_no_code_of_its_own_runs(self):
        source = self.NUMBER + """
import array
from collections import deque
ran = []
x = Number(1, lambda: ran.append(1))
def delete(o, i): del o[i]
def store(o, i): o[i] = 0
def delete_slice(o, i): del o[i:]
for o in ([1, 2, 3], (1, 2, 3), 'abc', 'ab\\u00e9', b'abc', bytearray(b'abc'), array.array('h', [1, 2, 3]), memoryview(b'abc'),
          range(3), deque([1, 2, 3], 3)):
    print(type(o).__name__, raises(lambda: o[x]), end=' ')
    if type(o) is not deque: print(raises(lambda: o[x:]), raises(lambda: o[:x]), end=' ')
    if type(o) in (list, bytearray, array.array, deque): print(raises(store, o, x), end=' ')
    if type(o) is list:
        print(raises(delete, o, x), raises(delete_slice, o, x), raises(o.pop, x), raises(o.insert, x, 0), raises(o.index, 1, x), end=' ')
    if hasattr(o, 'find') and hasattr(o, 'startswith'): print(raises(o.find, o, x), raises(o.startswith, o, x), end=' ')
    print()
print(ran)
"""
        output, raised = self.world.exec(source)
        self.assertFalse(raised, output)
        *lines, ran = output.splitlines()
        self.assertEqual(len(lines), 10)
        for line in lines:
            name, *errors = line.split()
            self.assertEqual(set(errors), {"TypeError"}, line)
        self.assertEqual(ran, "[]")

    def test_index_may_be_a_bool_or_of_a_class_derived_from_int(self):
        self.assert_prints("""
class Place(int):
    def __int__(self): return 0
class Unready(int):
    def __init__(self):
        try: print('ab'[self])
        except TypeError: print('TypeError')
l = [1, 2, 3]
print(l[True], l[Place(2)], l[Place(1):], 'abc'[Place(-1)], l.pop(Place(0)), l[:False])
Unready()
l.insert(Place(-1), 9)
l.insert(100, 8)
l.insert(-100, 7)
print(l)
""", "2 3 [2, 3] c 1 []\nTypeError\n[7, 2, 9, 3, 8]\n")

    def test_index_that_would_shrink_the_list_damages_nothing(self):
        for action in ("l[x] = 1", "l.pop(x)", "del l[x]", "del l[x:950]", "l[x:]", "l[x:950] = []", "l.insert(x, 1)"):
            self.assert_prints(self.NUMBER + f"""
l = [0] * 1000
x = Number(900, l.clear)
keep = []
try: {action}
except TypeError: print('TypeError')
print(len(l))
""", "TypeError\n1000\n")

    # --- numbers that are stored

    def test_array_store_takes_its_number_before_its_place(self):
        self.assert_prints(self.NUMBER + """
import array
for code in 'Bhqfd':
    a = array.array(code, [0])
    a[0] = Number(5, lambda: a.extend(array.array(code, range(1000))))
    print(code, int(a[0]), len(a))
    a = array.array(code, range(7))
    b = array.array(code)
    b.append(Number(1, lambda: [b.append(2) for i in range(8)]))
    print([int(i) for i in b])
    for i in range(1000): b.append(i % 100)
    print(len(b), int(b[-1]), len(a))
b = bytearray(1000)
def shrink(): b[:] = b''
try: b[900] = Number(5, shrink)
except IndexError: print('IndexError', len(b))
""", "".join(f"{code} 5 1001\n[2, 2, 2, 2, 2, 2, 2, 2, 1]\n1009 99 7\n" for code in "Bhqfd") + "IndexError 0\n")

    def test_array_constructed_from_numbers_with_code_has_them_all(self):
        self.assert_prints(self.NUMBER + """
import array
print(array.array('i', [Number(i, lambda: None) for i in range(5)]))
print(list(array.array('d', (Number(i, lambda: None) for i in range(3)))))
""", "array('i', [0, 1, 2, 3, 4])\n[0.0, 1.0, 2.0]\n")

    def test_struct_packs_into_the_buffer_as_it_is_after_its_numbers(self):
        self.assert_prints(self.NUMBER + """
import struct, gc
keep = []
def move():
    b.extend(bytes(100000))
    gc.collect()
    for i in range(300): keep.append(bytearray(b'.' * 64))
for args in ((Number(2, move), 7), (2, Number(7, move))):
    b = bytearray(64)
    struct.pack_into('<h', b, *args)
    print(b[:6])
def shrink(): b[:] = b''
b = bytearray(64)
print(raises(struct.pack_into, '<h', b, 2, Number(7, shrink)), len(b))
b = bytearray(64)
print(raises(struct.unpack_from, '<h', b, Number(2, shrink)), len(b))
print([k for k in keep if k != b'.' * 64])
""", "bytearray(b'\\x00\\x00\\x07\\x00\\x00\\x00')\n" * 2 + "ValueError 0\n" * 2 + "[]\n")

    def test_struct_packs_into_what_the_format_says_only(self):
        self.assert_prints("""
import struct
for format, args in (('<hxb', (1, 2)), ('@bh', (1, 2)), ('<3s2b', (b'abcd', 1, 2)), ('<hh', (1,)), ('>40q', range(40)), ('', ())):
    b = bytearray(b'.' * 400)
    struct.pack_into(format, b, 1, *args)
    packed = struct.pack(format, *args)
    size = 2 if format == '<hh' else struct.calcsize(format)
    print(bytes(b) == b'.' + packed[:size] + b'.' * (399 - size))
""", "True\n" * 6)

    def test_struct_refuses_an_offset_behind_the_buffer(self):
        self.assert_prints(self.NUMBER + """
import struct
for offset in (1, 8, 9, 2**62, 2**63 - 4, 2**63 - 1, -9, 1 - 2**63):
    print(raises(struct.pack_into, '<q', bytearray(8), offset, 1), raises(struct.unpack_from, '<q', bytes(8), offset))
""", "ValueError ValueError\n" * 8)

    # --- streams

    def test_stream_takes_its_numbers_before_its_buffer(self):
        self.assert_prints(self.NUMBER + """
import io
b = bytearray(b'old')
s = io.BytesIO()
def change(): b[:] = b'new and longer' * 1000
s.write(b, Number(3, change))
b = bytearray(b'old')
s.write(b, Number(4, change), Number(3, lambda: None))
print(s.getvalue())
b = bytearray(3)
print(io.BytesIO(b'read').readinto(b, Number(4, change)), b[:6])
""", "b'newand'\n4 bytearray(b'readan')\n")

    def test_closed_stream_refuses_everything(self):
        self.assert_prints(self.NUMBER + """
import io
for stream in (io.BytesIO(b'abc'), io.StringIO('abc')):
    stream.close()
    stream.close()
    print([raises(*call) for call in ((stream.seek, 0), (stream.seek, 0, 1), (stream.seek, 0, 2), (stream.tell,), (stream.flush,),
        (stream.read,), (stream.readline,), (stream.readinto, bytearray(3)), (stream.write, b'a'), (stream.getvalue,), (stream.__enter__,))])
""", "['" + "', '".join(["ValueError"] * 10) + "', 'nothing']\n" + "['" + "', '".join(["ValueError"] * 10) + "', 'nothing']\n")

    # --- texts

    def test_text_methods_take_their_numbers_before_the_text(self):
        self.assert_prints(self.NUMBER + """
def change(): b[:] = b'x,y,z' + b'.' * 1000
for method in ('split', 'rsplit'):
    b = bytearray(b'a,b')
    print([bytes(part)[:3] for part in getattr(b, method)(b',', Number(1, change))])
b = bytearray(b'a,b')
print(len(b.center(Number(4, change))) if hasattr(b, 'center') else 1005)
""", "[b'x', b'y,z']\n[b'x,y', b'z..']\n1005\n")

    # --- sockets, select, time

    def test_socket_closed_by_an_argument_is_closed(self):
        self.assert_prints(self.NUMBER + """
import socket
def attempt(kind, method, *args):
    s = socket.socket(socket.AF_INET, kind)
    n = Number(4, s.close)
    print(raises(getattr(s, method), *[n if a is None else ('127.0.0.1', n) if a == 'address' else a for a in args]), end=' ')
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    attempt(kind, 'setsockopt', 1, 4, None)
    attempt(kind, 'setsockopt', socket.IPPROTO_TCP, socket.TCP_NODELAY, None)
    attempt(kind, 'setsockopt', 1, None, 1)
    attempt(kind, 'listen', None)
    attempt(kind, 'recv', None)
    attempt(kind, 'recvfrom', None)
    attempt(kind, 'read', None)
    attempt(kind, 'bind', 'address')
    attempt(kind, 'connect', 'address')
    attempt(kind, 'sendto', b'abc', 'address')
print()
""", "OSError " * 20 + "\n")

    def test_select_looks_at_its_lists_after_the_timeout(self):
        self.assert_prints(self.NUMBER + """
import select, gc, io
keep = []
def clear():
    streams.clear()
    gc.collect()
    keep.extend(bytearray(b'.' * 64) for i in range(3000))
class Stream(io.IOBase):
    def ioctl(self, request, argument): return 0
streams = [Stream() for i in range(500)]
print(select.select(streams, [], [], Number(0, clear)))
""", "([], [], [])\n")

    def test_poll_that_modifies_what_was_unregistered_meanwhile_raises(self):
        self.assert_prints(self.NUMBER + """
import select, io
class Stream(io.IOBase):
    def ioctl(self, request, argument): return 0
poll, stream = select.poll(), Stream()
poll.register(stream)
print(raises(poll.modify, stream, Number(1, lambda: poll.unregister(stream))))
""", "OSError\n")

    def test_mktime_of_a_list_that_a_number_empties_takes_what_it_was(self):
        self.assert_prints(self.NUMBER + """
import time, gc
keep = []
def clear():
    l.clear()
    gc.collect()
    keep.extend(bytearray(b'.' * 64) for i in range(3000))
for i in range(6):
    l = [2000, 1, 2, 3, 4, 5, 0, 0]
    l[i] = Number(l[i], clear)
    print(time.mktime(l) == time.mktime((2000, 1, 2, 3, 4, 5, 0, 0)), end=' ')
print()
""", "True " * 6 + "\n")

    # --- ranges wider than 32 bits

    RANGES = """
import random
for call, low, high, step in (%s):
    values = [call() for i in range(200)]
    print(low <= min(values), max(values) <= high, {(v - low) %% step for v in values} == {0}, max(values) - min(values) > (high - low) // 2)
"""

    def test_random_takes_ranges_of_all_widths(self):
        ranges = ("(lambda: random.randrange(2**32), 0, 2**32 - 1, 1)",
                  "(lambda: random.randint(0, 2**32 - 1), 0, 2**32 - 1, 1)",
                  "(lambda: random.randint(-2**40, 2**40), -2**40, 2**40, 1)",
                  "(lambda: random.randint(1 - 2**63, 2**63 - 1), 1 - 2**63, 2**63 - 1, 1)",
                  "(lambda: random.randrange(-7, 2**33 + 7), -7, 2**33 + 6, 1)",
                  "(lambda: random.randrange(0, 2**40, 2**8), 0, 2**40 - 2**8, 2**8)",
                  "(lambda: random.randrange(1, 1 - 2**63, -1), 2 - 2**63, 1, 1)",
                  "(lambda: random.randrange(9, 0, -3), 3, 9, 3)",
                  "(lambda: random.randrange(0, 10, 3), 0, 9, 3)")
        for text in ranges:
            client = self.world.start_exec(self.RANGES % (text + ","), "ranges")
            self.assertEqual(self.world.exec("'served'", "other"), ("'served'\n", False), text)
            self.assertEqual(parse_exec(client.read_to_end()), ("True True True True\n", False), text)

    def test_random_refuses_empty_ranges(self):
        self.assert_prints(self.NUMBER + """
import random
for range in ((0,), (-1,), (5, 5), (5, 4), (0, 10, -1), (10, 0, 1), (0, 10, 0), (3, 3, 1)): print(raises(random.randrange, *range), end=' ')
print(raises(random.randint, 1, 0))
""", "ValueError " * 8 + "ValueError\n")

    # --- names

    def test_help_leaves_out_names_that_were_deleted(self):
        source = """
class A: pass
names = ['name_%d' % i for i in range(7)]
for name in names: setattr(A, name, 0)
for name in names[1:]: delattr(A, name)
help(A)
"""
        output, raised = self.world.exec(source)
        self.assertFalse(raised, output)
        self.assertEqual([line for line in output.splitlines() if line.startswith("  name_")], ["  name_0 -- 0"], output)

    def test_completion_may_change_the_names(self):
        client = self.world.terminal("changing")
        client.send("\x05")
        client.expect("=== ")
        client.send("""keep = []
def __getattr__(name):
    for i in range(30): globals()['filler_%d_%d' % (len(keep), i)] = 0
    for i in range(30): keep.append(bytearray(b'\\xff' * 512))
    raise AttributeError
class Others: quite_la = quite_lb = quite_lc = quite_ld = quite_le = quite_lf = 0
quite_long_name = 23
\x04""".replace("\n", "\r"))
        client.expect(">>> ")
        for i in range(4):
            client.send("quite_l\t")
            client.expect("quite_long_name")
            client.send("\r")
            client.expect("\r\n23\r\n>>> ")


if __name__ == "__main__":
    unittest.main()
