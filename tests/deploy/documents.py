"""The commands of the documents: what stands in their ```sh blocks, which test runs each, and the few
that cannot be run here, with the reason. test_docs.py sees to it that every command is one or the
other; the tests named here take theirs from the page, so that what is run is what is written."""

import os
import re
import typing

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))

# (page, how the command begins, which test runs it): the first that fits
RUNS = (
    ("README.md", "", "deploy/test_docs"),
    ("docs/tools.md", "imdsgate policy test --pod", "kube/test_docs"),  # asks an agent
    ("docs/tools.md", "", "deploy/test_docs"),
    ("docs/audit.md", "imdsgate audit tail", "kube/test_docs"),
    ("docs/audit.md", "imdsgate --json audit tail", "kube/test_docs"),
    ("docs/audit.md", "", "deploy/test_docs"),
    ("docs/operations.md", "", "kube/test_docs"),
    ("docs/migration.md", "", "kube/test_migration"),
    ("deploy/helm/imdsgate/README.md", "", "kube/test_docs"),
    ("deploy/kubernetes/README.md", "", "kube/test_install"),
)

# how a command begins, and why no test runs it
CANNOT = {
    "az ": "changes resources in Azure",
    "terraform ": "needs Azure, and its provider from a registry; test_chart.py parses the files",
    "sudo apt-get install": "installs packages on the machine, from wherever that gets them",
    "sudo systemctl daemon-reload": "needs systemd as the first process; test_deb.py looks at what is enabled",
}


class Command(typing.NamedTuple):
    page: str
    section: str
    text: str


def pages():
    found = ["README.md", "SECURITY.md"]
    for folder in ("docs", "deploy"):
        for path, _, names in os.walk(os.path.join(REPO, folder)):
            found += [os.path.relpath(os.path.join(path, name), REPO)
                      for name in names if name.endswith(".md")]
    return sorted(found)


def read(page):
    with open(os.path.join(REPO, page), encoding="utf-8") as file:
        return file.read()


def blocks(page):
    """(section, language, lines without the indentation of the block)"""
    section, language, lines = "", None, []
    for line in read(page).splitlines():
        fence = re.fullmatch(r"( *)```(\w*)", line)
        if fence and language is None:
            indent, language, lines = len(fence[1]), fence[2], []
        elif fence:
            yield section, language, lines
            language = None
        elif language is not None:
            lines.append(line[indent:])
        elif line.startswith("#"):
            section = line.lstrip("# ")


def statements(lines):
    """Lines that belong together, joined; without comments behind them."""
    text = ""
    for line in lines:
        text += re.sub(r"  +# .*$", "", line)
        depth = len(re.findall(r"(?m)\bdo$", text)) - len(re.findall(r"(?m)^done\b", text))
        if text.endswith("\\") or depth:
            text += "\n"
        elif text:
            yield text
            text = ""
    assert not text, text


def commands(page):
    return [Command(page, section, text) for section, language, lines in blocks(page)
            if language == "sh" for text in statements(lines)]


def why_not(command):
    return next((why for begin, why in CANNOT.items() if command.text.startswith(begin)), None)


def runner(command):
    """The test that runs it, as SUITE/PROGRAM; None: there is none."""
    return next((test for page, begin, test in RUNS
                 if command.page == page and command.text.startswith(begin)), None)


class Script:
    """What one test has to run."""

    def __init__(self, test):
        self.left = [command for page in pages() for command in commands(page)
                     if runner(command) == test and not why_not(command)]

    def take(self, page, section=None, begin=""):
        """The texts of these commands, in their order; they count as run."""
        taken = [c for c in self.left if c.page == page and section in (None, c.section)
                 and c.text.startswith(begin)]
        assert taken, f"{page} has no such command (any more): {section} {begin}"
        self.left = [c for c in self.left if c not in taken]
        return [c.text for c in taken]

    def check_done(self):
        assert not self.left, f"not run: {self.left}"
