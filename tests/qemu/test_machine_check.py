"""A machine check, as broken hardware raises it: the node says so before it restarts, and does not just vanish."""

import os
import socket

from lab import TestCase, altered_hardware, wait_until

UNCORRECTED = "mce 0 1 0xbd00000000000134 0x5 0x1000 0x86\n"  # processor, bank, its status, the processor's status, address, what that means


class MachineCheck(TestCase):
    def test_machine_check_is_told_by_the_next_boot(self):
        monitor = os.path.join(self.folder(), "monitor")
        hardware = altered_hardware(("\n-display\nnone\n", f"\n-display\nnone\n-monitor\nunix:{monitor},server=on,wait=off\n"))
        cluster = self.cluster(nodes=1, environment=hardware)
        cluster.wait_ok()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(monitor)
            connection.sendall(UNCORRECTED.encode())
            wait_until(lambda: "last words of the previous boot" in cluster.log(1), "the node tells why it has restarted")
        self.assertRegex(cluster.log(1), r"last words of the previous boot: .*(exception 18|failure of this machine)")
