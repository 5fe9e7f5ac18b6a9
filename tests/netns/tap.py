"""TAP output for the system tests: a suite is a list of functions that share one world. Says what
went wrong, with the end of every log, where it went wrong. Used by every test_*.py."""

import contextlib
import os
import signal
import sys
import traceback

from watch import PATIENCE


class Skip(Exception):
    """Raised by a test that cannot run here; the text says why."""


class Suite:
    """Tests that share one world. `always` are points that hold after every run."""

    def __init__(self, build_world, always=(), seconds=60):
        self._build_world, self._seconds = build_world, seconds * PATIENCE
        self._tests, self._always = [], list(always)

    def test(self, title):
        return lambda function: self._tests.append((title, function)) or function

    def run(self):
        if os.geteuid() != 0:
            print("1..0 # SKIP needs root: namespaces, control groups and BPF")
            sys.exit(77)
        tests = self._tests + self._always
        print(f"1..{len(tests)}", flush=True)
        signal.signal(signal.SIGALRM, self._timed_out)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the world is taken down
        failed = 0
        with contextlib.ExitStack() as stack:
            try:
                world = stack.enter_context(self._build_world())
            except Exception:  # pylint: disable=broad-except
                self._diagnose(traceback.format_exc())
                world = None
            for number, (title, function) in enumerate(tests, 1):
                failed += not self._one(number, title, function, world)
        sys.exit(1 if failed else 0)

    def _timed_out(self, *_):
        raise TimeoutError(f"not done after {self._seconds} s")

    def _one(self, number, title, function, world):
        if world is None:
            print(f"not ok {number} - {title}\n# its world could not be built, see above")
            return False
        signal.alarm(self._seconds)
        try:
            function(world)
        except Skip as skip:
            print(f"ok {number} - {title} # SKIP {skip}", flush=True)
        except Exception:  # pylint: disable=broad-except
            signal.alarm(0)
            print(f"not ok {number} - {title}", flush=True)
            self._diagnose(traceback.format_exc() + world.tails())
            return False
        else:
            print(f"ok {number} - {title}", flush=True)
        finally:
            signal.alarm(0)
        return True

    @staticmethod
    def _diagnose(text):
        print("".join(f"# {line}\n" for line in text.splitlines()), end="", flush=True)
