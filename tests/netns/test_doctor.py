"""`imdsgate doctor`: what it finds on a node that is well, and on nodes that are not. Its self-test
dials a guarded address, so it is also watched that nothing of that ever reaches one."""

import contextlib
import glob
import json
import os
import shutil
import signal
import subprocess
import time

import kernel
from harness import TRACES, standard_world
from places import BUILD
from tap import Skip, Suite
from test_coexist import Other
from watch import event

suite = Suite(standard_world, TRACES)
PREFIX = "imdsgate-doctor-"
HOOKS = 7  # programs on the cgroup
STATES = {"ok", "warning", "problem", "skipped"}


class Report:
    def __init__(self, status, report):
        self.status, self.result, self.checks = status, report["result"], report["checks"]
        for check in self.checks:
            assert check["state"] in STATES and check["found"], check
        for state in STATES:
            assert report["counts"][state] == len(self.of(state=state)), report["counts"]

    def of(self, name=None, state=None):
        return [c for c in self.checks if name in (None, c["name"])
                and state in (None, c["state"])]

    def one(self, name, state):
        found = self.of(name, state)
        assert found, f"no {name} is {state}: {self.of(name)}"
        return found[0]

    def without_problem(self, *names):
        for name in names:
            assert self.of(name), f"{name} was not looked at"
            assert not self.of(name, "problem"), self.of(name, "problem")


def run(w, *args, place=None, timeout=40):
    """The tool in the node's own network namespace."""
    argv = [f"{BUILD}/imdsgate", "--json", "--socket", w.agent.socket, "doctor", *args]
    status, out, err = (place or w.agent.place).run(argv, timeout=timeout)
    w.outputs.append(out + err)
    assert out and not err, (status, out, err)
    return Report(status, json.loads(out))


def detach(w):
    status, out, err = w.agent.place.run([*w.agent.argv(), "--detach"])
    assert status == 0, (status, out, err)


def left(w):
    return [name for name in os.listdir(w.cgroup.path) if name.startswith(PREFIX)]


def wait_until(condition, what, seconds=15):
    deadline = time.monotonic() + seconds
    watch = kernel.Watch(what)
    with contextlib.closing(watch):
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            watch.wait(time.monotonic() + 0.05)


@suite.test("a node that is well: everything is looked at, nothing is a problem")
def healthy(w):
    mark = w.lab.log.mark()
    assert w.pods["a"].dial().status == 200
    report = run(w)
    assert not report.of(state="problem"), report.of(state="problem")
    assert (report.status, report.result) == (0, "ok"), report.checks
    assert len(report.of("attached", "ok")) == HOOKS, report.of("attached")
    (maps,) = glob.glob(f"{w.bpffs}/imdsgate/v*")  # each that there is
    assert f"all {len(os.listdir(maps))} maps" in report.of("map", "ok")[-1]["found"], report.of("map")
    report.without_problem("agent", "processes", "versions", "cgroup", "kernel_feature",
                           "listeners", "packet_filter", "manifests", "credentials", "kubernetes",
                           "upstream", "clock", "audit_sink", "events_lost")
    assert "imds answered" in report.one("upstream", "ok")["found"]
    report.one("guard", "skipped")
    assert not left(w)
    w.lab.never_reached(mark)


@suite.test("the self-test: redirected and answered, both families; the rest refused; in the audit")
def self_test(w):
    mark, reached = w.agent.audit.mark(), w.lab.log.mark()
    report = run(w)
    found = [c["found"] for c in report.of("self_test", "ok")]
    assert len(found) == 6, report.of("self_test")
    assert sum("answered 400" in text for text in found) == 2, found
    assert sum("refused" in text for text in found) >= 3, found
    assert any("all 5 attempts are in the audit" in text for text in found), found
    record = w.agent.audit.wait_for(event("request.rejected"), mark)
    assert record["cgroup"]["path"].startswith("/" + PREFIX), record
    assert record["process"]["comm"] == "imdsgate-doctor"[:15], record
    for kind, number in (("connect.denied", 3), ("request.rejected", 2)):
        wait_until(lambda k=kind, n=number: len(w.agent.audit.find(event(k), mark)) == n, w.tmp)
    w.lab.never_reached(reached, strict=True)


@suite.test("where it is not sure of being confined, the self-test does not dial")
def unconfined(w):
    if not shutil.which("strace"):
        raise Skip("needs strace")
    mark, reached = w.agent.audit.mark(), w.lab.log.mark()
    for fault, why in (("unshare:retval=0", "entering the network namespace"),
                       ("unshare:error=EPERM", "making a network namespace"),
                       ("ioctl:error=EPERM", "bringing lo up")):
        argv = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={fault}",
                f"{BUILD}/imdsgate", "--json", "--socket", w.agent.socket, "doctor"]
        status, out, err = w.agent.place.run(argv)
        w.outputs.append(out + err)
        assert out, (status, err)
        (result,) = Report(status, json.loads(out)).of("self_test")
        assert result["state"] == "skipped" and why in result["found"], (fault, result)
        assert not left(w)
    dialled = [e for e in w.agent.audit.since(mark)
               if e.get("cgroup", {}).get("path", "").startswith("/" + PREFIX)]
    assert not dialled, dialled
    w.lab.never_reached(reached, strict=True)


@suite.test("without the self-test no connection is made")
def no_self_test(w):
    mark = w.agent.audit.mark()
    report = run(w, "--no-self-test")
    report.one("self_test", "skipped")
    assert report.status == 0 and not w.agent.audit.since(mark), w.agent.audit.since(mark)


@suite.test("for people: one line for each check, and what to do")
def text(w):
    argv = [f"{BUILD}/imdsgate", "--socket", w.agent.socket, "doctor", "--no-self-test"]
    status, out, err = w.agent.place.run(argv)
    w.outputs.append(out + err)
    assert status == 0 and not err, (status, err)
    assert out.startswith("ok       agent               answers at "), out
    assert "skipped  guard " in out and "problem 0" in out.splitlines()[-1], out


@suite.test("a bad manifest, and a secret that the agent's user cannot read, are problems")
def files(w):
    secrets = os.path.join(w.tmp, "secrets")
    os.makedirs(f"{secrets}/demo/app")
    with open(f"{secrets}/demo/app/clientSecret", "w", encoding="ascii") as f:
        f.write("hidden-value")
    os.chmod(f.name, 0o600)
    w.agent.stop()
    w.agent.start(secrets=secrets)
    w.apply("bad.yaml", "kind: [", kind="policy.rejected")
    report = run(w, "--no-self-test")
    assert (report.status, report.result) == (5, "problems")
    assert "bad.yaml (EINVAL)" in report.one("manifests", "problem")["found"]
    assert report.one("credentials", "problem")["found"].endswith("/demo/app/clientSecret")
    os.chmod(f.name, 0o644)
    mark = w.agent.log.mark()
    w.write("bad.yaml", None)  # it declared nothing, so nothing changes but the log
    w.agent.log.wait_for(lambda line: "manifest applied" in line and "bad.yaml" in line, mark)
    report = run(w, "--no-self-test")
    assert report.status == 0, report.of(state="problem")
    assert "every user" in report.one("credentials", "warning")["found"]
    os.chmod(f.name, 0o640)
    os.chown(f.name, 0, 64929)
    run(w, "--no-self-test").one("credentials", "ok")
    assert "hidden-value" not in "".join(w.outputs)
    w.agent.stop()
    shutil.rmtree(secrets)
    w.agent.start()


@suite.test("IMDS that does not answer is a problem, told without asking it")
def upstream(w):
    w.agent.stop()
    w.agent.start(imds_url="http://127.0.0.1:9")
    assert w.pods["a"].dial().status != 200
    report = run(w, "--no-self-test")
    assert "never answered" in report.one("upstream", "problem")["found"], report.checks
    assert report.status == 5
    w.agent.stop()
    w.agent.start()


@suite.test("other programs at the same hook: before ours a warning, after ours a remark")
def other_programs(w):
    other = Other(w)
    other.attach("multi")
    report = run(w)
    assert report.status == 0, report.of(state="problem")
    assert "runs after ours: other_connect4" in report.one("other_programs", "ok")["found"]
    w.agent.stop()
    detach(w)
    w.agent.start()
    report = run(w)
    assert "other_connect4" in report.one("other_programs", "warning")["found"]
    assert report.status == 0 and report.of("self_test", "ok"), report.checks
    other.detach()
    assert not run(w, "--no-self-test").of("other_programs")


@suite.test("a namespace of a pod without a listener is a warning")
def listener(w):
    pod = w.pods["a"]
    sleeper = pod.spawn(["sleep", "1000"])
    try:
        report = run(w, "--no-self-test")
        if report.of("listeners", "skipped"):
            raise Skip("before Linux 5.14 the agent alone tells namespaces apart")
        report.one("listeners", "ok")
        hidden = os.path.join(w.tmp, "hidden")
        kernel.make_netns(hidden)
        argv = ["nsenter", f"--net={hidden}", "sleep", "1000"]
        lost = pod.spawn(argv)
        wait_until(lambda: os.path.exists(f"/proc/{lost.pid}/ns/net") and
                   kernel.netns_inode(f"/proc/{lost.pid}/ns/net") == kernel.netns_inode(hidden),
                   w.tmp)
        warning = run(w, "--no-self-test").one("listeners", "warning")
        assert "cri-containerd-" in warning["found"], warning
        lost.kill()
        lost.wait()
        kernel.remove_netns(hidden)
    finally:
        sleeper.kill()
        sleeper.wait()


@suite.test("leftover rules of aad-pod-identity, and others about the addresses")
def rules(w):
    place = w.agent.place
    report = run(w, "--no-self-test")
    if report.of("packet_filter", "skipped"):
        raise Skip("needs iptables or nftables")
    for command in (["-N", "aad-metadata"],
                    ["-A", "aad-metadata", "-d", "169.254.169.254/32", "-p", "tcp", "--dport",
                     "80", "-j", "DNAT", "--to-destination", "10.77.255.1:2579"],
                    ["-A", "PREROUTING", "-j", "aad-metadata"]):
        status, out, err = place.run(["iptables", "-t", "nat", *command])
        if status:
            raise Skip(f"iptables cannot be used here: {out}{err}")
    warning = run(w, "--no-self-test").one("packet_filter", "warning")
    assert "aad-metadata" in warning["found"] and "2579" in warning["found"], warning
    place.run(["iptables", "-t", "nat", "-F"])
    place.run(["iptables", "-t", "nat", "-X", "aad-metadata"])
    place.run(["iptables", "-A", "OUTPUT", "-d", "168.63.129.16", "-j", "DROP"])
    warning = run(w, "--no-self-test").one("packet_filter", "warning")
    assert "168.63.129.16" in warning["found"] and "aad-" not in warning["found"], warning
    place.run(["iptables", "-F"])
    run(w, "--no-self-test").one("packet_filter", "ok")


@suite.test("not root: the kernel is not looked at, and that is said")
def not_root(w):
    os.chmod(w.tmp, 0o755)
    argv = [f"{BUILD}/imdsgate", "--json", "--socket", w.agent.socket, "doctor"]
    status, out, err = w.agent.place.run(argv, uid=64929)
    w.outputs.append(out + err)
    report = Report(status, json.loads(out))
    for name in ("attached", "map", "kernel_feature", "listeners", "packet_filter", "self_test"):
        assert [c["state"] for c in report.of(name)] == ["skipped"], report.of(name)
    report.one("agent", "ok")
    assert report.status == 0, report.of(state="problem")


def places(w):
    return "--bpffs", w.bpffs, "--cgroup-root", w.cgroup.path


@suite.test("the agent is gone: the node is closed, and the tool says so")
def gone(w):
    w.agent.kill_both()
    mark = w.lab.log.mark()
    report = run(w, *places(w))
    assert (report.status, report.result) == (3, "unreachable")
    assert report.one("node", "warning")["found"].startswith("closed"), report.of("node")
    assert len(report.of("attached", "ok")) == HOOKS and report.of("agent", "problem")
    assert len(report.of("self_test", "ok")) == 5, report.of("self_test")
    w.lab.never_reached(mark, strict=True)
    assert not left(w)


@suite.test("a pin that is missing is a problem; none at all is an open node")
def open_node(w):
    links = os.path.join(w.bpffs, "imdsgate", "links")
    os.unlink(os.path.join(links, "ig_connect6"))
    os.unlink(os.path.join(links, "ig_bind4"))
    report = run(w, *places(w))
    lost = {c["found"].partition(":")[0]: c["found"] for c in report.of("attached", "problem")}
    assert lost.keys() == {"connect6", "bind4"} and "can take the port" in lost["bind4"], lost
    assert report.one("node", "problem")["found"].startswith("half open"), report.of("node")
    assert report.one("attached", "problem")["found"].startswith("connect6"), report.of("attached")
    past = report.one("self_test", "problem")
    assert "::ffff:169.254.169.254" in past["found"] and "past the gate" in past["found"], past
    detach(w)
    mark = w.lab.log.mark()
    report = run(w, *places(w))
    assert report.status == 3
    assert report.one("node", "problem")["found"].startswith("open"), report.of("node")
    assert len(report.of("self_test", "problem")) == 5, report.of("self_test")
    w.lab.never_reached(mark, strict=True)
    w.agent.start()
    assert run(w).status == 0


@suite.test("an agent that holds its pins but does not answer is told from none")
def mute(w):
    moved = w.agent.socket + ".moved"
    os.rename(w.agent.socket, moved)
    report = run(w, "--no-self-test", *places(w))
    assert report.status == 3 and "so an agent runs" in report.one("agent", "problem")["found"]
    os.rename(moved, w.agent.socket)
    assert run(w, "--no-self-test").status == 0


@suite.test("interrupted or killed in the middle of the self-test, nothing stays behind")
def interrupted(w):
    for number in (signal.SIGINT, signal.SIGKILL):
        with w.agent.halted():  # nobody answers, so the self-test waits
            tool = w.agent.place.spawn([f"{BUILD}/imdsgate", "--json", "--socket", w.agent.socket,
                                        "doctor", *places(w)], stdout=subprocess.DEVNULL)
            wait_until(lambda: left(w), w.cgroup.path, 20)
            os.kill(tool.pid, number)
            tool.wait(10)
            wait_until(lambda: not left(w), w.cgroup.path)
    stale = os.path.join(w.cgroup.path, PREFIX + "0123456789abcdef")
    os.mkdir(stale)
    assert run(w).status == 0 and os.path.exists(stale), "too young to be stale"
    os.utime(stale, (0, 0))
    assert run(w).status == 0 and not os.path.exists(stale)


if __name__ == "__main__":
    suite.run()
