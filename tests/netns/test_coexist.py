"""Other people's programs on the same control group: beside ours both work, whoever came first; one
that is attached exclusively is reported, and the agent does not start."""

import kernel
from harness import TRACES, manifests, standard_world
from programs import Program, bpftool
from tap import Suite
from watch import event

suite = Suite(lambda: standard_world(agent=False), TRACES)
A = manifests.ID_A.client_id


class Other(Program):
    """bpf/other.bpf.c on the world's control group."""

    def __init__(self, w):
        super().__init__(w, "other")
        self._cgroup = w.cgroup.path

    def attach(self, *flags):  # pylint: disable=arguments-differ
        super().attach(self._cgroup, *flags)

    def detach(self):  # pylint: disable=arguments-differ
        super().detach(self._cgroup)

    def runs(self):
        return self.count("other_runs")

    def attached(self):
        """Names of the connect4 programs on the control group, in the order in which they run."""
        return [bpftool("prog", "show", "id", str(number))["name"]
                for number in kernel.connect4_programs(self._cgroup)]


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
