"""The manual pages as text, and what the programs say of themselves. Used by test_manuals.py and
test_completion.py."""

import json
import os
import re
import shutil
import subprocess

from records import BUILD, REPO

PAGES = ("imdsgate.1", "imdsgated.8", "imdsgate-manifests.5", "imdsgate-audit.5")
ENV = {"LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "MANWIDTH": "2000"}
TOOLS = ("scdoc", "man")


def missing_tools():
    return [tool for tool in TOOLS if not shutil.which(tool)]


def run(*argv, **kwargs):
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=ENV,
                          **kwargs)


def command_help():
    return json.loads(run(f"{BUILD}/imdsgate", "--json", "help").stdout)


def words_of(command):
    return " ".join(filter(None, (command["noun"], command["verb"])))


def flags():
    """{flag: (value or "", help)} of imdsgated."""
    found = re.findall(r"(?m)^  (--[a-z-]+)(?: (\S+))? +(\S.*)$",
                       run(f"{BUILD}/imdsgated", "--help").stdout)
    return {flag: (value, text) for flag, value, text in found}


class Page:
    """One page: its source, what the tools said while it was made, and the text that people see."""

    def __init__(self, name, folder):
        self.name, self.complaints = name, ""
        source = os.path.join(REPO, "deploy/man", name + ".scd")
        filled = self._stage(["/usr/bin/python3", "-B", os.path.join(REPO, "deploy/man/fill"),
                              "--build", BUILD, source])
        roff = self._stage(["scdoc"], input=filled)
        path = os.path.join(folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(".nr HY 0\n" + roff)
        self.filled, self.text = filled, self._stage(["man", "--warnings=w", "-l", path])

    def _stage(self, argv, **kwargs):
        done = run(*argv, **kwargs)
        self.complaints += done.stderr + (f"{argv[0]}: exit {done.returncode}\n"
                                          if done.returncode else "")
        return done.stdout

    def section(self, heading):
        match = re.search(rf"(?ms)^{re.escape(heading)}\n(.*?)(?=^\S|\Z)", self.text)
        assert match, f"{self.name} has no section {heading}"
        return match[1]

    def terms(self, heading):
        """What stands in front of the indented paragraphs of a section."""
        return [term for line in re.findall(r"(?m)^ {7}(\S.*)\n {11}", self.section(heading))
                for term in line.split(", ")]

    def blocks(self):
        """The literal blocks of the source."""
        return re.findall(r"(?ms)^```\n(.*?)^```$", self.filled)
