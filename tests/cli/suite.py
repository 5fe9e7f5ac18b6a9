"""A suite of the tests in this folder: no namespaces, no agent; a directory of its own."""

import os
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(1, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "netns"))
import tap  # noqa: E402


class Desk:
    """Where the files of one program are."""

    def __enter__(self):
        self._directory = tempfile.TemporaryDirectory(prefix="igtest-cli-")  # pylint: disable=R1732
        self.tmp = self._directory.name
        return self

    def __exit__(self, *error):
        self._directory.cleanup()

    def path(self, *parts):
        path = os.path.join(self.tmp, *parts)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return path

    def write(self, text, *parts):
        path = self.path(*parts)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    @staticmethod
    def tails():
        return ""


def new(seconds=60):
    return tap.Suite(Desk, seconds=seconds)
