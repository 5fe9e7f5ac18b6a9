"""Where the records go while things go wrong around them: rotation, SIGHUP from an administrator to
either process, a disk that is full, an output that nobody reads. Requests are answered all along, and
what is missing is accounted for."""

import contextlib
import fcntl
import json
import os
import signal
import stat
import sys

import kernel
from audit_files import ALL_TRACES
from harness import AGENT_UID, manifests, standard_world, wait_ready
from places import Place
from tap import Suite
from watch import Lines, event

suite = Suite(lambda: standard_world(agent=False), ALL_TRACES)


def directory(w, name, owner=AGENT_UID):
    path = os.path.join(w.tmp, name)
    os.mkdir(path, 0o750)
    os.chown(path, owner, owner)
    return path


def reject(w, count):
    """So many records, by requests that no one has to be asked for."""
    for _ in range(count):
        reply = w.pods["a"].dial(path="/nothing/here")
        assert reply.status == 404, reply


def numbers(lines):
    return [line["seq"] for line in lines]


def files(*paths):
    """All records of files, in that order; every line is whole."""
    records = []
    for path in paths:
        with open(path, encoding="utf-8") as f:
            text = f.read()
        assert text.endswith("\n") or not text, f"{path} ends inside a line"
        records += [json.loads(line) for line in text.splitlines()]
    return records


def sink(w, name):
    found = [s for s in w.agent.cli("status")["audit"]["sinks"] if s["name"] == name]
    assert len(found) == 1, found
    return found[0]


@contextlib.contextmanager
def agent(w, path, *flags, **changes):
    w.agent.audit = Lines(path, json.loads)
    w.agent.start(*flags, audit_file=path, **changes)
    try:
        yield
    finally:
        assert w.agent.stop() == 0


@suite.test("the agent makes the directory for its server's user")
def makes_directory(w):
    path = os.path.join(w.tmp, "made", "audit.jsonl")
    with agent(w, path):
        st = os.stat(os.path.dirname(path))
        assert (st.st_uid, st.st_gid, st.st_mode & 0o7777) == (AGENT_UID, AGENT_UID, 0o750), st
        assert os.stat(path).st_uid == AGENT_UID


@suite.test("SIGHUP to either process opens the file again, and nothing is lost")
def sighup(w):
    path = os.path.join(directory(w, "hup"), "audit.jsonl")
    with agent(w, path):
        for number, pid in enumerate(w.agent.pids(), 1):
            reject(w, 3)
            os.rename(path, f"{path}.{number}")
            mark = len(files(f"{path}.{number}"))
            reject(w, 1)  # still there: nobody said anything
            Lines(f"{path}.{number}").wait_for(lambda _: True, mark)
            os.kill(pid, signal.SIGHUP)
            w.agent.audit = Lines(path, json.loads)
            reject(w, 1)
            w.agent.audit.wait_for(lambda r: r["kind"] == "request.rejected")
    records = files(f"{path}.1", f"{path}.2", path)
    assert numbers(records) == list(range(1, len(records) + 1)), numbers(records)
    assert records[-1]["kind"] == "agent.stopped", records[-1]


@suite.test("a reader that locks the file keeps no record from it")
def locked(w):
    path = os.path.join(directory(w, "locked"), "audit.jsonl")
    with agent(w, path):
        reject(w, 1)
        with open(path, encoding="utf-8") as reader:
            fcntl.flock(reader, fcntl.LOCK_SH)
            mark = w.agent.audit.mark()
            reject(w, 2)
            w.agent.audit.wait_for(lambda r: r["kind"] == "request.rejected", mark)
    records = files(path)
    assert numbers(records) == list(range(1, len(records) + 1)), numbers(records)


@suite.test("rotation by size keeps the newest files, one unbroken sequence")
def rotation(w):
    path = os.path.join(directory(w, "size"), "audit.jsonl")
    with agent(w, path, audit_rotate_size="64K", audit_keep=3):
        while not os.path.exists(f"{path}.3"):
            reject(w, 25)
    names = [f"{path}.3", f"{path}.2", f"{path}.1", path]
    assert sorted(os.listdir(os.path.dirname(path))) == sorted(map(os.path.basename, names))
    assert all(os.stat(name).st_size <= 65536 for name in names)
    seen = numbers(files(*names))
    assert seen == list(range(seen[0], seen[-1] + 1)), seen
    w.agent.audit = Lines(path, json.loads)


@suite.test("a directory that cannot be rotated in is named at the start")
def cannot_rotate(w):
    path = os.path.join(directory(w, "rootowned", 0), "audit.jsonl")
    status, text = w.agent.fail_to_start(audit_file=path, audit_rotate_size="1M")
    assert status == 1 and f"cannot rotate {path}" in text and f"chown {AGENT_UID}" in text, text


@suite.test("what is somebody else's under that name is not given to the server's user")
def not_ours(w):
    path = os.path.join(directory(w, "linked"), "audit.jsonl")
    secret = os.path.join(w.tmp, "secret")
    with open(secret, "w", encoding="ascii") as file:
        file.write("root's\n")
    os.link(secret, path)
    status, text = w.agent.fail_to_start(audit_file=path)
    assert status == 1 and "hard link" in text, text
    assert os.stat(secret).st_uid == 0
    os.unlink(path)
    null = os.path.join(directory(w, "device"), "null")
    os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    w.agent.start(audit_file=null)
    assert w.agent.stop() == 0
    assert os.stat(null).st_uid == 0


@suite.test("a full disk: requests go on, other sinks too, and the file says what it misses")
def full_disk(w):
    path = os.path.join(directory(w, "full"), "audit.jsonl")
    kernel.mount("tmpfs", os.path.dirname(path), f"size=64k,uid={AGENT_UID}")
    try:
        with agent(w, path):
            tail = w.agent.cli_start("audit", "tail")
            filler = os.path.join(os.path.dirname(path), "filler")
            with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as f:
                while True:
                    f.write(b"x" * 4096)
            mark = len(files_so_far(path))
            count = 0
            while sink(w, "file")["state"] == "ok":
                reject(w, 1)
                count += 1
            assert sink(w, "file")["state"] == "ENOSPC", sink(w, "file")
            reply = w.pods["a"].dial()
            assert reply.appid == manifests.ID_A.client_id, "a full disk must not stop tokens"
            waiting = sink(w, "file")
            assert waiting["lost"] == 0 and waiting["queued"] >= 1, waiting
            os.unlink(filler)
            w.agent.audit.wait_for(event("token.issued"), mark)
            assert sink(w, "file")["state"] == "ok"
            text = [json.loads(tail.stdout.readline()) for _ in range(count)]
            assert len(text) == count
        records = files(path)
        assert numbers(records) == list(range(1, len(records) + 1)), numbers(records)
    finally:
        w.agent.audit = Lines(os.path.join(w.tmp, "made", "audit.jsonl"), json.loads)
        kernel.umount(os.path.dirname(path))


def files_so_far(path):
    with open(path, encoding="utf-8") as f:
        return f.read().split("\n")[:-1]


@suite.test("standard output carries the same lines as the file")
def standard_output(w):
    path = os.path.join(directory(w, "out"), "audit.jsonl")
    out = os.path.join(w.tmp, "stdout.jsonl")
    reader, writer = os.pipe()
    w.agent.audit = Lines(path, json.loads)
    with open(out, "wb") as f, open(w.agent.log.path, "ab") as log:
        argv = w.agent.argv("--audit-stdout", ready_fd=writer, audit_file=path)
        w.agent.process = w.agent.place.spawn(argv, pass_fds=[writer], stdout=f, stderr=log)
    os.close(writer)
    assert b"ready" in wait_ready(reader)
    reject(w, 20)
    assert w.agent.stop() == 0
    with open(out, encoding="utf-8") as a, open(path, encoding="utf-8") as b:
        assert a.read() == b.read()


@suite.test("an output that nobody reads delays no token and takes nothing from the file")
def output_stuck(w):
    path = os.path.join(directory(w, "stuck"), "audit.jsonl")
    reader, writer = os.pipe()
    stuck, output = os.pipe()
    w.agent.audit = Lines(path, json.loads)
    with open(w.agent.log.path, "ab") as log:
        argv = w.agent.argv("--audit-stdout", ready_fd=writer, audit_file=path)
        w.agent.process = w.agent.place.spawn(argv, pass_fds=[writer], stdout=output, stderr=log)
    os.close(writer)
    os.close(output)
    try:
        assert b"ready" in wait_ready(reader)
        while sink(w, "stdout")["queued"] == 0:  # until the pipe is full
            reject(w, 20)
        mark = w.agent.audit.mark()
        for _ in range(20):
            reply = w.pods["a"].dial()
            assert reply.appid == manifests.ID_A.client_id
        issued = w.agent.audit.since(mark)
        w.agent.audit.wait_for(lambda r: r["kind"] == "token.issued"
                               and len(w.agent.audit.find(event("token.issued"), mark)) == 20,
                               mark)
        assert sink(w, "file")["queued"] == 0 and sink(w, "file")["lost"] == 0, issued
    finally:
        assert w.agent.stop() == 0
        os.close(stuck)


@suite.test("the chain holds over rotated files and a killed server; what was altered is found")
def chain(w):
    path = os.path.join(directory(w, "chain"), "audit.jsonl")
    with agent(w, path, "--audit-chain", audit_rotate_size="64K", audit_keep=9):
        while not os.path.exists(f"{path}.1"):
            reject(w, 25)
        w.agent.kill_server()
        Lines(path, json.loads).wait_for(event("agent.started"))
        reject(w, 5)
    names = [f"{path}.1", path]
    code, out, err = w.agent.cli_run("audit", "verify", *names)
    assert code == 0, out + err
    result = json.loads(out)
    assert result["ok"] and result["missing"] == 0 and len(result["runs"]) == 2, result
    assert result["links"] == result["records"] == len(files(*names)), result
    with open(path, encoding="utf-8") as f:
        lines = f.readlines()
    altered = os.path.join(w.tmp, "altered.jsonl")
    damage = (("altered", lines[:2] + [lines[2].replace('"pid":', '"pid":1')] + lines[3:]),
              ("missing", lines[:2] + lines[3:]),
              ("duplicate", lines[:3] + lines[2:]),
              ("out_of_order", lines[:2] + [lines[3], lines[2]] + lines[4:]),
              ("unreadable", lines[:2] + [lines[2][:40] + "\n"] + lines[3:]),
              ("truncated", lines[:-1] + [lines[-1][:-9]]))
    for what, text in damage:
        with open(altered, "w", encoding="utf-8") as f:
            f.writelines(text)
        code, out, err = w.agent.cli_run("audit", "verify", f"{path}.1", altered)
        assert code == 5, (what, code, out, err)
        assert what in [finding["type"] for finding in json.loads(out)["findings"]], (what, out)
    code, out, _ = w.agent.cli_run("audit", "verify", path, f"{path}.77")
    assert code == 1 and json.loads(out)["error"]["code"] == "ENOENT", out
    w.agent.audit = Lines(path, json.loads)


# One workload has no more than so many records a second, so this is many.
GROUPS, KNOCKS = 150, 80
KNOCK = """
import os, socket, sys
for group in range(int(sys.argv[2])):
    os.mkdir(f"{sys.argv[1]}/{group}")
    with open(f"{sys.argv[1]}/{group}/cgroup.procs", "w") as f:
        f.write("0")
    for _ in range(int(sys.argv[3])):
        with socket.socket() as s:
            try:
                s.connect(("168.63.129.16", 80))
                raise SystemExit("it was let through")
            except PermissionError:
                pass
"""


@suite.test("events that the kernel's ring had no room for are counted to the last one")
def kernel_loss(w):
    path = os.path.join(directory(w, "kernel"), "audit.jsonl")
    with agent(w, path):
        with w.agent.halted():
            crowd = Place(w, w.pods["a"].netns, w.cgroup.child("crowd"))
            status, out, err = crowd.run([sys.executable, "-S", "-c", KNOCK, crowd.cgroup.path,
                                          str(GROUPS), str(KNOCKS)])
        assert status == 0, out + err
        lost = w.agent.audit.wait_for(event("events.lost", reason="kernel"), timeout=20)
        assert lost["count"] == w.agent.cli("status")["audit"]["lost_kernel"] > 0, lost
    denied = w.agent.audit.find(event("connect.denied"))
    assert len(denied) + lost["count"] == GROUPS * KNOCKS, (len(denied), lost)
    code, out, _ = w.agent.cli_run("audit", "verify", path)
    assert code == 0 and json.loads(out)["lost_kernel"] == lost["count"], out


@suite.test("a reader that comes back gets what it missed")
def resume(w):
    path = os.path.join(directory(w, "resume"), "audit.jsonl")
    with agent(w, path):
        reject(w, 10)
        status = w.agent.cli("status")["audit"]
        code, out, err = w.agent.cli_run("audit", "tail", "--since", "3", "--count",
                                         str(status["emitted"] - 3))
        assert code == 0, err
        got = [json.loads(line) for line in out.splitlines()]
        assert numbers(got) == list(range(4, status["emitted"] + 1)), numbers(got)
        assert got == files(path)[3:status["emitted"]]
        code, out, _ = w.agent.cli_run("audit", "tail", "--since", "3", "--run", "0" * 16,
                                       "--count", "2")
        first, second = map(json.loads, out.splitlines())
        assert first["kind"] == "events.lost" and first["reason"] == "subscriber", first
        assert second["seq"] == 1, second


if __name__ == "__main__":
    suite.run()
