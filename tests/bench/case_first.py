"""Containers whose first instruction is the token request: is there a listener before they ask?"""

import subprocess

from crowd import Crowd
from harness import standard_world
from places import BUILD

CONTAINERS, PARALLEL = 1000, 4


def containers(w, crowd, kind):
    """[(status of the answer, refused connects)] of each."""
    process = w.host.spawn(
        [f"{BUILD}/tests/bench/first", kind, str(CONTAINERS), str(PARALLEL), w.netns_dir,
         crowd.cgroups], stdout=subprocess.PIPE)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, f"first {kind}: exit {process.returncode}"
    return [tuple(map(int, line.split())) for line in out.splitlines()]


def run(bench):
    with standard_world() as w:
        crowd = Crowd(w)
        crowd.declare(CONTAINERS)
        for kind, name, refusals in (("named", "made by a runtime", 0), ("bare", "unshare -n", 1)):
            seen = containers(w, crowd, kind)
            assert len(seen) == CONTAINERS, f"{len(seen)} of {CONTAINERS} told"
            bench.row(f"first request, {name}: not served", "", [sum(s != 200 for s, _ in seen)],
                      limit="<= 0")
            bench.row(f"first request, {name}: most refusals", "", [max(n for _, n in seen)],
                      limit=f"<= {refusals}")
            w.lab.never_reached()
