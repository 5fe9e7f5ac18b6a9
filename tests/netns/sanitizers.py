"""Agents that were built with sanitizers (make sanitize, make threads): what those have to say stands in the agent's
log, and a process that died of it was started anew before anybody noticed. Used by the harness."""

import os
import re

from places import BUILD

REPORT = re.compile(r"(?:ERROR|WARNING): \w+Sanitizer|runtime error:|LeakSanitizer has encountered|Sanitizer CHECK failed"
                    r"|the server does not end")  # and so was not searched for leaks


def _is_instrumented():
    try:
        with open(os.path.join(BUILD, "imdsgated"), "rb") as program:
            return re.search(b"__[at]san_init", program.read()) is not None
    except FileNotFoundError:
        return False


def check(world):
    """Leaks are looked for when a process ends by itself, so the agent is stopped first."""
    process = world.agent.process
    if process is not None and process.poll() is None:
        world.agent.stop()
    lines = world.agent.log.all()
    found = [number for number, line in enumerate(lines) if REPORT.search(line)]
    assert not found, "\n".join(lines[found[0]:found[0] + 60])


INSTRUMENTED = _is_instrumented()
# an orderly end takes time, and says nothing about other builds
TRACES = (("nothing for a sanitizer to say", check),) if INSTRUMENTED else ()
