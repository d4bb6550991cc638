"""Runs the tests of this folder; prints each failure and a closing count."""
import sys
import time
import unittest


class Timed(unittest.TextTestResult):
    """With names given, the time of each test is told."""

    def startTest(self, test):
        self.begun = time.monotonic()
        super().startTest(test)

    def addSuccess(self, test):
        super().addSuccess(test)
        if self.showAll:
            self.stream.writeln(f"  {time.monotonic() - self.begun:.2f} s")


names = sys.argv[1:]
loader = unittest.TestLoader()
suite = loader.loadTestsFromNames(names) if names else loader.discover(".", pattern="test_*.py")
result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2 if names else 1, resultclass=Timed).run(suite)
failed = len(result.failures) + len(result.errors)
print(f"{result.testsRun - failed} passed, {failed} failed")
sys.exit(1 if failed or result.testsRun == 0 else 0)
