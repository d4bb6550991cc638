"""The network inside the world: users' servers and clients, takeover, idleness, bounds, hostile use."""
import random
import signal
import socket
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

from world import World, WorldTest, wait_until

STACK_MARK = (0x5AFE57AC5AFE57AC).to_bytes(8, "little")[:4]
RING_SLOTS = 256  # ABI_FRAME_SLOTS

ECHO = """
import socket, _thread
def serve(c):
    while True:
        d = c.recv(4096)
        if not d: break
        c.sendall(d)
    c.close()
def listen():
    s = socket.socket()
    s.bind(('', 8001))
    s.listen(5)
    while True:
        c, a = s.accept()
        _thread.start_new_thread(serve, (c,))
_thread.start_new_thread(listen, ())
"""

COUNTER = """
import socket, _thread, time
def count(c):
    n = 0
    while True:
        c.send('%d\\n' % n)
        n += 1
        time.sleep(0.01)
def listen():
    s = socket.socket()
    s.bind(('', 8001))
    s.listen(5)
    while True:
        c, a = s.accept()
        _thread.start_new_thread(count, (c,))
_thread.start_new_thread(listen, ())
"""

ANSWERS = ECHO.replace("c.sendall(d)", "c.sendall(answer)") + "answer = b''.join(b'%d ' % i for i in range(10000))\n"


class NetworkTest(WorldTest):
    def run_source(self, source):
        output, raised = self.world.exec(source)
        self.assertFalse(raised, output)
        return output

    def echo_random(self, count, during=lambda client: None):
        seed = random.randrange(1 << 32)
        data = random.Random(seed).randbytes(count)
        client = self.world.connect(8001)
        sender = threading.Thread(target=client.send, args=(data,))
        sender.start()
        during(client)
        while len(client.received) < count and client.receive():
            pass
        sender.join()
        self.assertEqual(len(client.received), count, f"seed {seed}")
        self.assertTrue(client.received == data, f"seed {seed}")
        client.close()

    def test_echo_server_returns_every_byte_in_order(self):
        self.run_source(ECHO)
        self.echo_random(8 << 20)

    def test_peer_that_uses_the_port_of_a_closed_connection_again_is_served(self):
        """The world ended the first one and rests (TIME-WAIT); the peer is free to come back from the same port at once."""
        source = b"print(6 * 7)"
        port = 0
        for _ in range(3):
            with socket.socket() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                client.settimeout(4)
                client.bind(("127.0.0.1", port))
                port = client.getsockname()[1]
                client.connect(("127.0.0.1", self.world.forwards[7000]))
                client.sendall(b"exec main %d\n" % len(source) + source)
                answer = b""
                while data := client.recv(100):
                    answer += data
                self.assertIn(b"42", answer)

    def test_echo_server_serves_many_clients(self):
        self.run_source(ECHO)
        clients = []
        for i in range(20):
            clients.append(self.world.connect(8001, b"hello %d\n" % i))
            clients[i].expect(f"hello {i}\n")
        for client in clients:
            client.send("again\n")
        for client in clients:
            client.expect("again\n")

    def test_asyncio_server_and_clients(self):
        self.run_source("""
import asyncio
async def serve(r, w):
    while True:
        line = await r.readline()
        if not line: break
        w.write(b'echo ' + line)
        await w.drain()
    w.close()
    await w.wait_closed()
async def main():
    await asyncio.start_server(serve, '0.0.0.0', 8001)
    await asyncio.sleep(1000)
import _thread
_thread.start_new_thread(lambda: asyncio.run(main()), ())
""")
        clients = []
        for i in range(5):
            clients.append(self.world.connect(8001, b"%d\n" % i))
            clients[i].expect(f"echo {i}\n")
        for client in clients:
            client.send("again\n")
        for client in clients:
            client.expect("echo again\n")

    def test_client_in_the_world_reaches_a_server_outside(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(30)
            port = server.getsockname()[1]
            client = self.world.start_exec(f"import socket\ns = socket.socket()\ns.connect(socket.getaddrinfo('10.0.2.2', {port})[0][-1])\n"
                                           "s.send(b'question')\nprint(s.recv(100))\ns.close()")
            connection, _ = server.accept()
            with connection:
                self.assertEqual(connection.recv(100), b"question")
                connection.sendall(b"answer")
                client.expect("b'answer'")

    def test_connection_refused_is_an_error(self):
        output, raised = self.world.exec("import socket\nsocket.socket().connect(('10.0.2.15', 9))")
        self.assertTrue(raised)
        self.assertIn("ECONNREFUSED", output)

    def test_programs_of_the_world_reach_each_other(self):
        self.run_source(ECHO)
        for address in ("127.0.0.1", "10.0.2.15"):
            self.assertEqual(self.run_source(f"import socket\ns = socket.socket()\ns.connect(('{address}', 8001))\ns.sendall(b'x' * 100000)\n"
                                             "n = 0\nwhile n < 100000: n += len(s.recv(5000))\nprint(n)"), "100000\n")

    def test_settimeout_ends_a_wait(self):
        output, raised = self.world.exec("import socket\ns = socket.socket()\ns.bind(('', 8005))\ns.listen(1)\ns.settimeout(0.05)\ns.accept()")
        self.assertTrue(raised)
        self.assertIn("ETIMEDOUT", output)

    def test_nonblocking_accept_says_again(self):
        output, raised = self.world.exec("import socket\ns = socket.socket()\ns.bind(('', 8005))\ns.listen(1)\ns.setblocking(False)\ns.accept()")
        self.assertTrue(raised)
        self.assertIn("EAGAIN", output)

    def test_close_of_a_listener_ends_the_connections_that_wait_for_it(self):
        source = """
import socket, gc
s = socket.socket()
s.bind(('', 8001))
s.listen(%d)
clients = []
for i in range(%d):
    c = socket.socket()
    c.connect(('127.0.0.1', 8001))
    clients.append(c)
s.close()
s = None
gc.collect()
fill = [b'A' * 500 for i in range(1000)]
for c in clients:
    c.settimeout(5)
    try:
        print(c.recv(1))
    except OSError as e:
        print(e)
"""
        for backlog, clients in ((0, 1), (1, 1), (5, 3), (256, 2)):
            self.assertEqual(self.run_source(source % (backlog, clients)), "[Errno 104] ECONNRESET\n" * clients, f"backlog {backlog}")

    def test_threads_in_accept_of_one_listener_take_a_connection_each(self):
        self.run_source("import socket, _thread\ns = socket.socket(); s.bind(('', 8001)); s.listen(5)\ndef serve():\n    c, a = s.accept()\n"
                        "    c.sendall(c.recv(10))\n\nfor i in range(3): _thread.start_new_thread(serve, ())\n")
        for i in range(3):
            client = self.world.connect(8001, b"%d." % i)
            client.expect(r"%d\." % i)

    def test_udp_datagrams_arrive(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            server.settimeout(30)
            port = server.getsockname()[1]
            client = self.world.start_exec("import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                                           f"s.sendto(b'ping', ('10.0.2.2', {port}))\nprint(s.recvfrom(100))")
            data, address = server.recvfrom(100)
            self.assertEqual(data, b"ping")
            server.sendto(b"pong", address)
            client.expect(r"\(b'pong', \('10.0.2.2', %d\)\)" % port)

    # --- while a program computes

    COMPUTE = "import time\ndef compute(ms):\n    end = time.ticks_add(time.ticks_ms(), ms)\n    while time.ticks_diff(end, time.ticks_ms()) > 0: pass\n\n"

    def test_output_of_a_computing_program_appears_at_once(self):
        client = self.world.session("computing")
        client.send(self.COMPUTE + "compute(700); print('step'); compute(1000000)\n")
        client.expect("step\n")
        running = self.world.start_exec(self.COMPUTE + "compute(700); print('step'); compute(1000000)", "other")
        client.send("\x03")
        running.expect("step\n")

    def test_computing_program_reaches_itself(self):
        self.assertEqual(self.run_source(self.COMPUTE + """
import socket
s = socket.socket(); s.bind(('', 8002)); s.listen(1)
c = socket.socket(); c.connect(('127.0.0.1', 8002))
a = s.accept()[0]
a.setblocking(False)
compute(1000)
c.send(b'x')
end = time.ticks_add(time.ticks_ms(), 2000)
while True:
    try:
        print(a.recv(1))
        break
    except OSError:
        if time.ticks_diff(end, time.ticks_ms()) < 0:
            print('nothing')
            break
"""), "b'x'\n")

    def test_computing_program_sends_again_what_was_lost(self):
        server = self.world.start_exec(self.COMPUTE + "import socket\ns = socket.socket(); s.bind(('', 8001)); s.listen(1); print('listens')\n"
                                       "c = s.accept()[0]\nc.send(b'hello')\ncompute(60000); c.send(b'late'); compute(1000000)")
        server.expect("listens")
        client = self.world.connect(8001)
        client.expect("hello")
        self.world.command("hold")
        self.world.command("forward 60000")
        wait_until(lambda: self.world.stats()["held"] > 0, "the world has sent")
        self.world.command("drop")
        self.world.command("release")
        client.expect("late")

    # --- takeover

    def test_lost_output_is_sent_again_at_once_after_a_takeover(self):
        self.run_source(COUNTER)
        client = self.world.connect(8001)
        client.expect("20\n")
        for _ in range(5):
            self.world.command("hold")
            wait_until(lambda: self.world.stats()["held"] > 0, "the world has sent")
            client.nothing_comes(0.05)
            self.world.command("drop")
            self.world.command("release")
            self.world.command("resume")
            last = int(client.received.rstrip(b"\n").split(b"\n")[-1])
            client.expect(f"\n{last + 20}\n")
        lines = client.received.split(b"\n")[:-1]
        self.assertEqual(lines, [b"%d" % n for n in range(len(lines))])

    def test_takeover_during_a_transfer_loses_nothing(self):
        self.run_source(ECHO)

        def trouble(client):
            for _ in range(6):
                wait_until(lambda before=len(client.received): client.receive(0.01) or len(client.received) > before, "bytes come")
                self.world.command("hold")
                client.nothing_comes(0.02)
                self.world.command("drop")
                self.world.command("release")
                self.world.command("resume")
        self.echo_random(4 << 20, trouble)

    def test_full_transmit_ring_is_back_pressure(self):
        self.run_source(ANSWERS)
        answer = b"".join(b"%d " % i for i in range(10000))
        clients = []

        def take_answers(times):
            for client in clients:
                while len(client.received) < times * len(answer) and client.receive():
                    pass
                self.assertTrue(client.received == times * answer)
        for _ in range(12):
            clients.append(self.world.connect(8001, b"x"))
            take_answers(1)  # and TCP learns to send much at once
        self.world.command("hold")
        for client in clients:
            client.send("x")
        wait_until(lambda: self.world.is_stuck(RING_SLOTS), "the ring is full")
        self.assertEqual(self.world.stats()["held"], RING_SLOTS)
        self.world.command("release")
        take_answers(2)

    def assert_printing_survives(self, trouble):
        """The client of a session that prints without an end reads all the time, while `trouble` happens to the world."""
        client = self.world.session("printer")
        client.send("i = 0\nwhile True: print('line', i); i += 1\n\n")
        client.expect("line 10000\n")
        with ThreadPoolExecutor() as pool:
            over = pool.submit(trouble)
            while not over.done():
                client.receive(0.05)
                client.received, client.taken = b"", 0  # a client that kept it all would be too slow in the end, and dropped
        over.result()
        self.assertFalse(client.ended)
        client.expect("line [0-9]+\n")
        client.send(b"\x03")
        client.expect("KeyboardInterrupt:? *\n>>> $")

    def test_viewer_of_a_printing_program_survives_a_takeover(self):
        def takeover():
            self.world.command("hold")
            wait_until(self.world.is_stuck, "the program's output has nowhere to go any more")
            self.world.process.send_signal(signal.SIGSTOP)
            time.sleep(0.5)
            self.world.process.stdin.write("drop\nrelease\nresume\n")
            self.world.process.stdin.flush()
            self.world.process.send_signal(signal.SIGCONT)
            for _ in range(3):
                self.assertEqual(self.world.process.stdout.readline(), "ok\n")
        self.assert_printing_survives(takeover)

    def test_viewer_of_a_printing_program_survives_a_shut_gate(self):
        def stall():
            self.world.command("hold")
            wait_until(self.world.is_stuck, "the program's output has nowhere to go any more")
            time.sleep(0.6)
            self.world.command("release")
        self.assert_printing_survives(stall)

    # --- output of a world that has been idle

    LATE = "import _thread, time; t = _thread.start_new_thread(lambda: (time.sleep(%d), print('late')), ())\n"

    def test_late_output_that_was_lost_is_sent_again(self):
        client = self.world.session("viewer")
        client.send(self.LATE % 60)
        client.expect(">>> $")
        self.assertEqual(client.nothing_comes(1), b"")
        self.world.command("hold")
        self.world.command("forward 60000")
        wait_until(lambda: self.world.stats()["held"] > 0, "the world wakes and prints")
        self.world.command("drop")
        self.world.command("release")
        client.expect("late\n")

    def test_late_output_reaches_a_viewer_in_the_world(self):
        client = self.world.start_exec("import socket\ns = socket.socket(); s.connect(('127.0.0.1', 7000)); s.sendall(b'session viewer\\n')\n"
                                       f"s.sendall({(self.LATE % 2).encode()})\ngot = b''\nwhile b'late\\n' not in got: got += s.recv(1000)\nprint('came')")
        client.expect("came\n")

    # --- idleness

    def assert_idle(self):
        """After everything has settled nothing wakes the world and nothing is written."""
        def settled():
            before = self.world.stats()["wakes"]
            time.sleep(1.2)
            return self.world.stats()["wakes"] == before
        wait_until(settled, "the world settles")
        self.world.command("watch")
        before = self.world.stats()
        time.sleep(3)
        after = self.world.stats()
        for name in ("wakes", "pages_written", "frames_out"):
            self.assertEqual(after[name], before[name] if name != "pages_written" else 0, name)

    def test_idle_world_with_clients_and_blocked_threads_does_nothing(self):
        client, terminal = self.world.session(), self.world.terminal("other")
        client.send("import socket, _thread, select\ns = socket.socket(); s.bind(('', 8001)); s.listen(5)\n"
                    "t = _thread.start_new_thread(lambda: print(s.accept()), ())\n")
        client.expect(">>> >>> $|>>> $")
        self.run_source("import asyncio, _thread\nasync def never():\n    await asyncio.Event().wait()\n"
                        "_thread.start_new_thread(lambda: asyncio.get_event_loop(), ())\n")
        self.assert_idle()
        visitor = self.world.connect(8001)
        client.expect("<socket")
        visitor.close()
        terminal.send("1+1\r")
        terminal.expect("\r\n2\r\n")

    def test_wake_for_nothing_writes_nothing(self):
        self.world.session()
        self.assert_idle()

    # --- bounds and bad use

    def test_viewer_that_does_not_read_is_dropped_and_the_program_goes_on(self):
        stuck = self.world.session("flood")
        stuck.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.send("for i in range(300000): print('line', i)\n\n")
        wait_until(lambda: self.world.value("globals().get('i')", "flood") == "299999", "the program ends")
        self.assertIn(b"line 299999", self.world.connect(first=b"session flood\n").expect("line 299999\n.*>>> ").group(0))
        stuck.close()

    def test_viewer_that_reads_gets_every_line(self):
        client = self.world.session("long")
        client.send("for i in range(100000): print(i)\n\nprint('end')\n")
        client.expect("end\n>>> $")
        lines = [line for line in client.received.split(b"\n") if line.isdigit()]
        self.assertEqual(lines, [b"%d" % n for n in range(1, 100000)])  # the first stands behind a prompt

    def test_oldest_idle_connection_gives_way_when_connections_run_out(self):
        self.run_source(COUNTER.replace("_thread.start_new_thread(count, (c,))", "c.send('accepted\\n'); keep.append(c)").replace("def listen", "keep = []\ndef listen"))
        clients = []
        for i in range(120):
            clients.append(self.world.connect(8001))
            clients[i].expect("accepted\n")
        self.assertEqual(self.world.exec("'still served'")[0], "'still served'\n")
        wait_until(lambda: any(c.receive(0.001) is False and c.ended for c in clients), "an idle connection was closed")

    def test_short_connections_of_a_program_close_no_open_ones(self):
        self.run_source(ECHO)
        clients = []
        for i in range(10):
            clients.append(self.world.connect(8001, b"x"))
            clients[i].expect("x")
        with socket.create_server(("127.0.0.1", 0)) as server:
            def serve():
                for i in range(100):
                    connection, _ = server.accept()
                    connection.recv(1)
                    connection.close()
            worker = threading.Thread(target=serve)
            worker.start()
            time.sleep(1.1)  # ages of connections are counted in half seconds
            self.run_source(f"import socket\nfor i in range(100):\n    s = socket.socket()\n    s.connect(('10.0.2.2', {server.getsockname()[1]}))\n"
                            "    s.close()\n")
            worker.join()
        for client in clients:
            client.send("y")
            client.expect("y")

    def test_program_that_does_not_read_from_itself_makes_nobody_mute(self):
        client = self.world.session("other")
        for port, address in ((8002, "127.0.0.1"), (8003, "10.0.2.15")):
            self.run_source(f"""
import socket, _thread
s = socket.socket(); s.bind(('', {port})); s.listen(1)
pairs, sent = [], 0
def send(c):
    global sent
    for i in range(4000):
        sent += c.send(b'x')
for i in range(10):
    c = socket.socket(); c.connect(('{address}', {port}))
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pairs.append((c, s.accept()[0]))
    _thread.start_new_thread(send, (c,))
s.close()
""")
            before, now = "", self.world.value("sent")
            while before != now:
                time.sleep(0.3)
                before, now = now, self.world.value("sent")
            for _ in range(10):
                client.send("print('y' * 3000)\n")
                client.expect("y{3000}\n>>> $")
            self.run_source("for c, a in pairs:\n    c.close(); a.close()\n")

    def test_bad_use_of_sockets_raises_and_stops_nothing(self):
        source = """
import socket
def attempt(what):
    try:
        what()
    except Exception as e:
        pass
new, udp, listening, closed = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(), socket.socket()
listening.bind(('', 8009)); listening.listen(2)
closed.close()
for s in (new, udp, listening, closed):
    s.settimeout(0) if s is not closed else None
    for what in (lambda: s.send(b'x'), lambda: s.recv(5), lambda: s.recvfrom(5), lambda: s.sendto(b'x', ('10.0.2.2', 9)),
                 lambda: s.sendall(b'x' * 100000), lambda: s.read(5), lambda: s.write(b'x'), lambda: s.readline(),
                 lambda: s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), lambda: s.accept(), lambda: s.listen(3),
                 lambda: s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1), lambda: s.bind(('', 8009)),
                 lambda: s.connect(('10.0.2.2', 1)), lambda: s.setblocking(True), lambda: s.settimeout(0), lambda: s.makefile(),
                 lambda: s.sendto(b'x' * 70000, ('10.0.2.2', 9)), lambda: print(s), lambda: s.close(), lambda: s.recv(1)):
        attempt(what)
try:
    many = []
    while True: many.append(socket.socket())
except OSError as e:
    print(len(many) > 10)
many = None
import gc; gc.collect()
print(socket.socket())
"""
        output, raised = self.world.exec(source)
        self.assertFalse(raised, output)
        self.assertIn("True\n<socket", output)

    def test_random_bytes_on_the_port_stop_nothing(self):
        seed = random.randrange(1 << 32)
        noise = random.Random(seed)
        for _ in range(30):
            client = self.world.connect(first=noise.randbytes(noise.randrange(100, 3000)).replace(b"\x03", b"") + b"\n")
            client.receive()
            client.close()
        for first in (b"exec main x\n", b"exec main 5", b"exec\n", b"terminal main 0x\n", b"session \n", b"\n", b"exec main 10\nabc",
                      b"terminal main 80x24 more\n", b"session main\n" + b"y" * 40000, b"terminal main 80x24\n\x1b[\x1b[99~\x1b\x1bO\x03"):
            self.world.connect(first=first).close()
        self.assertEqual(self.world.exec("'alive'"), ("'alive'\n", False), f"seed {seed}")

    def test_random_frames_of_a_stack_that_resets_are_harmless(self):
        self.run_source(ECHO)
        for i in range(40):
            client = self.world.connect(8001, b"x" * 10000)
            client.expect("x")
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            client.close()
        self.echo_random(100000)

    def test_recv_of_a_negative_length_raises(self):
        for call in ("recv(-1)", "recv(-2)", "recvfrom(-1)"):
            for kind in (1, 2):
                output, raised = self.world.exec(f"import socket\ns = socket.socket(2, {kind})\ns.settimeout(0.01)\ns.{call}")
                self.assertTrue(raised)
                if kind == 2:
                    self.assertIn("ValueError", output)

    def test_read_of_a_closed_datagram_socket_raises(self):
        output, raised = self.world.exec("import socket\ns = socket.socket(2, 2)\ns.close()\ns.read(5)")
        self.assertTrue(raised)
        self.assertIn("EBADF", output)

    def test_settimeout_of_a_negative_or_no_number_raises(self):
        for seconds in ("-1", "float('nan')"):
            output, raised = self.world.exec(f"import socket\nsocket.socket().settimeout({seconds})")
            self.assertTrue(raised)
            self.assertIn("ValueError", output)

    def test_accept_of_a_connection_that_its_peer_ended_reads_to_its_end(self):
        for data in ("", "hello"):
            for pause in ("", "time.sleep(0.1)\n"):
                source = ("import socket, time\ns = socket.socket()\ns.bind(('', 8001))\ns.listen(2)\nc = socket.socket()\nc.connect(('127.0.0.1', 8001))\n"
                          f"c.send('{data}')\n{pause}c.close()\ntime.sleep(0.1)\na, _ = s.accept()\na.settimeout(10)\ngot = b''\n"
                          "while True:\n    d = a.recv(100)\n    if not d: break\n    got += d\nprint(got)\na.close()\ns.close()")
                self.assertEqual(self.run_source(source), f"b'{data}'\n")

    def test_readinto_a_bytearray_that_grows_meanwhile_writes_over_nothing(self):
        source = ("import socket, _thread, time\ns = socket.socket(); s.bind(('', 8001)); s.listen(1)\nb = bytearray(1000)\nblock = bytes(100)\ndone = []\n"
                  "def serve():\n    c, a = s.accept()\n    print('in'); c.readinto(b)\n    done.append(1)\n_thread.start_new_thread(serve, ())\n")
        self.run_source(source)
        client = self.world.connect(8001)
        wait_until(lambda: self.world.exec("import time; time.sleep(0.05)") is not None, "it waits")
        self.run_source("b.extend(bytes(100000))\nothers = [bytes(1000) for i in range(100)]")
        client.send(b"x" * 1000)
        wait_until(lambda: self.world.value("done") == "[1]", "it has read")
        self.assertEqual(self.run_source("print(all(o == bytes(1000) for o in others))"), "True\n")


class EndTest(unittest.TestCase):
    def setUp(self):
        self.world = World()

    def tearDown(self):
        self.world.stop()

    def test_write_to_code_faults(self):
        self.world.start_exec("import uctypes\nuctypes.bytearray_at(0x10200000, 1)[0] = 7")
        self.assertIn("faulted: signal 11", self.world.wait_end())

    def test_thread_past_its_stack_stops_the_world_with_a_reason(self):
        # The mark at the low end of each stack is destroyed by way of its address.
        self.world.start_exec("import uctypes\nfor page in range(uctypes.addressof(bytearray(1)) & ~0xfff, 0x10800000, -4096):\n"
                              "    mark = uctypes.bytearray_at(page, 4)\n    if bytes(mark) == MARK:\n        mark[0] = 0\n        break\n".replace("MARK", repr(STACK_MARK)))
        self.assertIn("stopped: a thread of the world went past the end of its stack", self.world.wait_end())


if __name__ == "__main__":
    unittest.main()
