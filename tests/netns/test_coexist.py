"""Other people's programs on the same control group: beside ours both work, whoever came first; one
that is attached exclusively is reported, and the agent does not start."""

import json
import os
import shutil
import subprocess

from harness import TRACES, manifests, standard_world
from places import HERE
from tap import Skip, Suite
from watch import event

suite = Suite(lambda: standard_world(agent=False), TRACES)
A = manifests.ID_A.client_id


class Other:
    """bpf/other.bpf.c, loaded and pinned beside the agent's pins."""

    def __init__(self, w):
        tool = shutil.which("bpftool", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if not tool or not shutil.which("clang"):
            raise Skip("needs clang and bpftool")
        self._tool, self._cgroup, self._dir = tool, w.cgroup.path, os.path.join(w.bpffs, "other")
        if not os.path.exists(self._dir):
            multiarch = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True,
                                       check=True).stdout.strip()
            obj = os.path.join(w.tmp, "other.o")
            subprocess.run(["clang", "-target", "bpf", "-O2", "-g", "-idirafter",
                            f"/usr/include/{multiarch}", "-c", f"{HERE}/bpf/other.bpf.c", "-o",
                            obj], check=True)
            os.mkdir(self._dir)
            self._run("prog", "load", obj, f"{self._dir}/prog", "pinmaps", self._dir)

    def _run(self, *args):
        done = subprocess.run([self._tool, "-j", *args], capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, f"bpftool {args}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout or "null")

    def attach(self, *flags):
        self._run("cgroup", "attach", self._cgroup, "connect4", "pinned", f"{self._dir}/prog",
                  *flags)

    def detach(self):
        self._run("cgroup", "detach", self._cgroup, "connect4", "pinned", f"{self._dir}/prog")

    def runs(self):
        (entry,) = self._run("map", "dump", "pinned", f"{self._dir}/other_runs")
        return entry["formatted"]["value"]

    def attached(self):
        """Names of the connect4 programs on the control group, in the order in which they run."""
        return [p["name"] for p in self._run("cgroup", "show", self._cgroup)
                if p["attach_type"] in ("connect4", "cgroup_inet4_connect")]


def both_work(w, other):
    before, mark = other.runs(), w.lab.log.mark()
    reply = w.pods["a"].dial()
    assert reply.appid == A, reply
    assert other.runs() > before, "the other program no longer runs"
    w.lab.never_reached(mark)


@suite.test("a program attached before ours: both work")
def before(w):
    other = Other(w)
    other.attach("multi")
    w.agent.start()
    assert other.attached()[0] == "other_connect4" and len(other.attached()) == 2
    both_work(w, other)
    other.detach()
    assert w.pods["a"].dial().appid == A


@suite.test("a program attached after ours: both work")
def after(w):
    other = Other(w)
    other.attach("multi")
    assert other.attached()[1] == "other_connect4" and len(other.attached()) == 2
    both_work(w, other)
    other.detach()


@suite.test("an agent that is stopped and started again has its programs attached once")
def again(w):
    assert w.agent.stop() == 0
    w.agent.start()
    attached = Other(w).attached()
    assert len(attached) == 1, attached
    assert w.pods["a"].dial().appid == A


@suite.test("a program attached exclusively: the agent says so and does not start")
def exclusive(_):
    with standard_world(agent=False) as w:
        Other(w).attach()
        status, said = w.agent.fail_to_start()
        assert status not in (0, 2), status
        assert "exclusive" in said and "connect4" in said, said
        assert Other(w).attached() == ["other_connect4"], "a program of ours stayed behind"
        assert not w.agent.audit.find(event("connect.passed"))


if __name__ == "__main__":
    suite.run()
