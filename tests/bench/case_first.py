"""Containers whose first instruction is the token request: is there a listener before they ask?"""

import json
import os
import shutil
import subprocess

import kernel
import oci
from crowd import Crowd
from harness import standard_world
from places import BUILD

CONTAINERS, PARALLEL = 1000, 4
PROGRAM = f"{BUILD}/tests/bench/first"


def containers(w, kind, where):
    """[(status of the answer, refused connects before it)] of each."""
    process = w.host.spawn([PROGRAM, kind, str(CONTAINERS), str(PARALLEL), w.netns_dir, where],
                           stdout=subprocess.PIPE)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, f"first {kind}: exit {process.returncode}"
    seen = [tuple(map(int, line.split())) for line in out.splitlines()]
    assert len(seen) == CONTAINERS, f"{len(seen)} of {CONTAINERS} told"
    w.lab.never_reached()
    return seen


def bundles(w, crowd):
    """A folder with the bundle of each container: 0, 1, … Their root is the same."""
    folder = os.path.join(w.tmp, "bundles")
    root = os.path.join(folder, "root")
    cgroups = os.path.relpath(crowd.cgroups, kernel.cgroup2_mount())
    os.makedirs(root)
    shutil.copy(PROGRAM, os.path.join(root, "first"))
    env = [f"{name}={value}" for name, value in w.env.items()]
    for i in range(CONTAINERS):
        os.mkdir(os.path.join(folder, str(i)))
        with open(os.path.join(folder, str(i), "config.json"), "w", encoding="ascii") as f:
            json.dump(oci.config(["/first", "ask"], env, root, os.path.join(w.netns_dir, f"r{i}"),
                                 f"/{cgroups}/p{i}/app"), f)
    return folder


def run(bench):
    with standard_world() as w:
        crowd = Crowd(w)
        crowd.declare(CONTAINERS)
        if shutil.which("runc"):
            seen = containers(w, "runc", bundles(w, crowd))
            bench.row("first request, by runc: not served", "", [sum(s != 200 for s, _ in seen)],
                      limit="<= 0")
            bench.row("first request, by runc: refused", "", [sum(n for _, n in seen)],
                      limit="<= 0")
        else:
            bench.missing("first request, by runc", "runc is not installed")
        for kind, name, refusals in (("named", "milliseconds after the mount", None),
                                     ("bare", "unshare -n", "<= 1")):
            seen = containers(w, kind, crowd.cgroups)
            bench.row(f"first request, {name}: not served", "", [sum(s != 200 for s, _ in seen)],
                      limit="<= 0")
            bench.row(f"first request, {name}: refused", "", [sum(n > 0 for _, n in seen)])
            bench.row(f"first request, {name}: most refusals", "", [max(n for _, n in seen)],
                      limit=refusals)
