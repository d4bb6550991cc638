"""The emulator's threads see what the kernel wrote in the order in which it says so."""

import os
import re

from lab import TestCase, altered_hardware, wait_until


class MemoryBarriers(TestCase):
    def test_memory_barriers_of_the_kernel_are_translated(self):
        """QEMU before 8.1 leaves them out where a machine may have one processor only. A doorbell that was not rung as the device seemed awake left a read of the
        disk without an answer for 10 s, once in many hours."""
        translated = os.path.join(self.folder(), "translated")
        cluster = self.cluster(nodes=1, start=False, environment=altered_hardware(("\n-display\n", f"\n-d\nop\n-D\n{translated}\n-display\n")))
        cluster.start()
        cluster.wait_ok()

        def barrier():
            with open(translated, errors="replace") as file:
                return any(re.match(r" mb \$", line) for line in file)
        wait_until(barrier, "a barrier of the kernel is translated to one of this machine")
