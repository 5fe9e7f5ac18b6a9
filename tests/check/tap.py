"""What the checks of this folder share: TAP output, the list of source files, C without comments.

A check is an executable without a dot in its name; it prints TAP for tests/run, takes --root DIR
(another tree, for the self-tests) and finds its files itself, because a release tree has no git.
"""

import os
import re
from pathlib import Path

SOURCE_DIRS = ("user", "include", "bpf", "tests", "deploy", "docs", ".ci")
PASSED_OVER = {"node_modules", "__pycache__"}

_COMMENT_OR_LITERAL = re.compile(
    r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL
)


class Tap:
    """Counts points; the plan comes last, so that a check that dies early has none."""

    def __init__(self):
        self.count = 0
        self.failed = 0

    def point(self, name, problems):
        """One point: ok if the list of problems is empty."""
        self.count += 1
        self.failed += bool(problems)
        print(f"{'not ok' if problems else 'ok'} {self.count} - {name}")
        for problem in problems:
            print(f"# {problem}")

    def skip(self, name, reason):
        self.count += 1
        print(f"ok {self.count} - {name} # SKIP {reason}")

    def finish(self):
        print(f"1..{self.count}")
        return 1 if self.failed else 0


def files(root, *suffixes, dirs=SOURCE_DIRS):
    """Every file below the given folders whose name ends in one of the suffixes (none: every one)."""
    found = []
    for top in dirs:
        for folder, below, names in os.walk(Path(root) / top):
            below[:] = sorted(name for name in below if name not in PASSED_OVER)
            found += [Path(folder) / name for name in names]
    return sorted(path for path in found if not suffixes or path.name.endswith(suffixes))


def _blank(match):
    text = match[0]
    return "\n" * text.count("\n") if text.startswith("/") else text[0] + text[-1]


def code_of(path):
    """C text with comments and the insides of literals removed; line numbers stay."""
    return _COMMENT_OR_LITERAL.sub(_blank, path.read_text(encoding="utf-8"))
