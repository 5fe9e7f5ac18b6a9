"""The client in Java, tests/clients/Dial.java: how it is compiled and started. Neither leaves the
virtual machine's counters (hsperfdata) in /tmp, which TMPDIR does not move."""

import shutil
import subprocess

from places import REPO
from tap import Skip

QUIET = "-XX:-UsePerfData"


def compile_dial(directory):
    if not shutil.which("javac"):
        raise Skip("needs a JDK")
    subprocess.run(["javac", f"-J{QUIET}", "-d", directory, f"{REPO}/tests/clients/Dial.java"],
                   check=True)


def command(*arguments):
    return ["java", QUIET, "-Xshare:auto", "-XX:TieredStopAtLevel=1", *arguments]


def dial(directory, *arguments):
    return command("-cp", directory, "Dial", *arguments)
