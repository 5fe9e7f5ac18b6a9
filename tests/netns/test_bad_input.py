"""What goes wrong at start is said in words, with the place, and with a status that is not 0; what
is wrong in one manifest never stops the rest."""

import os

from harness import TRACES, manifests, standard_world
from tap import Suite
from watch import event

suite = Suite(lambda: standard_world(agent=False), TRACES)
A = manifests.ID_A.client_id
BROKEN = manifests.binding("broken", manifests.ID_A, "x").replace("selector", "selektor")
BAD = manifests.join(manifests.identity(manifests.ID_A), BROKEN)
BAD_LINE = BAD.splitlines().index("  selektor: x") + 1


def fails(w, *words, **changes):
    status, said = w.agent.fail_to_start(**changes)
    assert status not in (0, 2) and status > 0, f"exit {status}: {said}"
    for word in words:
        assert str(word) in said, f"no word of {word}: {said}"


def run_with(w, *flags):
    """With all other options pointing into the test's world, should it start against our will."""
    status, out, err = w.agent.place.run([*w.agent.argv(), *flags])
    w.outputs.append(out + err)
    return status, out, err


@suite.test("an unknown flag, a flag without its value, a bad value: usage, exit 2")
def flags(w):
    for bad in (["--frobnicate"], ["--manifests"], ["--host-verdict", "maybe"],
                ["--gate-port", "70000"], ["--gate-port", "0x50"], ["--log-level", "loud"],
                ["stray-word"]):
        status, out, err = run_with(w, *bad)
        assert status == 2, f"{bad}: exit {status}"
        assert bad[0].lstrip("-") in err and not out, f"{bad}: {err}"


@suite.test("--version and --help answer on stdout")
def information(w):
    for flag, word in (("--version", "imdsgated"), ("--help", "--cgroup-root")):
        status, out, err = run_with(w, flag)
        assert status == 0 and word in out and not err, (flag, status, out, err)


@suite.test("a manifest directory that is missing or is none")
def manifest_directory(w):
    missing, file = os.path.join(w.tmp, "missing"), os.path.join(w.manifests, "pods.yaml")
    fails(w, missing, manifests=missing)
    fails(w, file, manifests=file)


@suite.test("a control group root that is missing or not on cgroup2")
def cgroup_root(w):
    missing = os.path.join(w.cgroup.path, "missing")
    fails(w, missing, cgroup_root=missing)
    fails(w, w.tmp, "cgroup2", cgroup_root=w.tmp)


@suite.test("not root")
def not_root(w):
    status, said = w.agent.fail_to_start(uid=65534, audit_file="none")
    assert status not in (0, 2) and "root" in said.lower(), f"exit {status}: {said}"


@suite.test("a bpffs directory that cannot be one")
def bpffs(w):
    file = os.path.join(w.manifests, "pods.yaml")
    fails(w, file, bpffs=file)
    fails(w, "/proc/none", bpffs="/proc/none")


@suite.test("an audit file in a directory that is missing")
def audit_file(w):
    path = os.path.join(w.tmp, "missing", "too", "audit.jsonl")
    fails(w, path, audit_file=path)


@suite.test("a user that does not exist")
def user(w):
    fails(w, "nobody-has-this-name", user="nobody-has-this-name")


@suite.test("a socket path in a directory that is missing")
def socket(w):
    path = os.path.join(w.tmp, "missing", "too", "imdsgate.sock")
    fails(w, path, socket=path)


@suite.test("nothing is left attached after all these")
def nothing_attached(w):
    mark = w.lab.log.mark()
    assert w.pods["a"].dial().status > 0
    assert w.lab.connections(mark), "a failed start left programs behind"


@suite.test("--check-config: good manifests, exit 0")
def check_good(w):
    status, out, err = run_with(w, "--check-config")
    assert status == 0, f"exit {status}: {out}{err}"


@suite.test("--check-config: a bad manifest, the place in it, not exit 0")
def check_bad(w):
    directory = os.path.join(w.tmp, "bad")
    os.mkdir(directory)
    for name, text in (("bad.yaml", BAD), ("good.yaml", manifests.identity(manifests.ID_B))):
        with open(os.path.join(directory, name), "w", encoding="utf-8") as f:
            f.write(text)
    status, out, err = run_with(w, "--check-config", "--manifests", directory)
    said = out + err
    assert status not in (0, 2), f"exit {status}: {said}"
    assert f"bad.yaml:{BAD_LINE}:" in said and "selektor" in said, said


@suite.test("--check-config: a directory that is missing")
def check_missing(w):
    missing = os.path.join(w.tmp, "missing")
    status, out, err = run_with(w, "--check-config", "--manifests", missing)
    assert status not in (0, 2) and missing in out + err, f"exit {status}: {out}{err}"


@suite.test("the gate's port is taken in one namespace: another is chosen there")
def port_taken(w):
    holder = w.pods["b"].respond("tcp:127.0.0.1:254")
    w.agent.start()
    assert w.pods["a"].gate_ports() == [254]
    (gate,) = [port for port in w.pods["b"].gate_ports() if port != 254]
    assert gate > 0
    for name, ident in (("a", manifests.ID_A), ("b", manifests.ID_B)):
        reply = w.pods[name].dial()
        assert reply.appid == ident.client_id, reply
    assert w.pods["b"].dial(addr="127.0.0.1", port=254).body == "unrelated"
    holder.kill()
    w.agent.stop()


@suite.test("a malformed manifest at start: place and reason in the log, the rest is in force")
def malformed(w):
    w.write("bad.yaml", BAD)
    w.agent.start()
    w.agent.log.wait_for(lambda line: f"bad.yaml:{BAD_LINE}:" in line and "selektor" in line)
    record = w.agent.audit.wait_for(event("policy.rejected"))
    assert "selektor" in record["message"], record
    assert w.pods["a"].dial().appid == A
    assert w.agent.cli("status")["manifests"]["bad_files"] == 1
    w.apply("bad.yaml", manifests.binding("whole", manifests.ID_A, "x"))
    assert w.agent.cli("status")["manifests"]["bad_files"] == 0


if __name__ == "__main__":
    suite.run()
