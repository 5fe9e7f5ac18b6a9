"""The audit to a real rsyslog: over a unix socket, TCP and TLS, with a restart in the middle. Nothing is
missing afterwards, and a receiver that is not there delays no token."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import time

import kernel
from audit_files import ALL_TRACES
from harness import manifests, standard_world
from tap import Skip, Suite
from watch import Lines, event, wait_gone

suite = Suite(lambda: standard_world(agent=False), ALL_TRACES)

RSYSLOGD = shutil.which("rsyslogd") or "/usr/sbin/rsyslogd"
MODULES = "/usr/lib/x86_64-linux-gnu/rsyslog"
HEAD = """
global(workDirectory="{dir}" maxMessageSize="64k"{tls})
template(name="t" type="string" string="%pri% %hostname% %app-name% %msgid% %structured-data% %msg%\\n")
"""
TAIL = """
action(type="omfile" file="{dir}/out" template="t" fileCreateMode="0644")
"""
INPUTS = {
    "unix": 'module(load="imuxsock" SysSock.Use="off")\n'
            'input(type="imuxsock" Socket="{dir}/log" UseSpecialParser="off" ParseHostname="on" '
            'CreatePath="off" RateLimit.Interval="0")',
    "tcp": 'module(load="imtcp")\n'
           'input(type="imtcp" address="127.0.0.1" port="{port}" listenPortFileName="{dir}/port")',
    "tls": 'module(load="imtcp" StreamDriver.Name="ossl" StreamDriver.Mode="1" '
           'StreamDriver.AuthMode="anon")\n'
           'input(type="imtcp" address="127.0.0.1" port="{port}" listenPortFileName="{dir}/port")',
}
LINE = re.compile(r"(?P<pri>\d+) (?P<host>\S+) (?P<app>\S+) (?P<msgid>\S+) "
                  r"(?P<data>\[.*?\]) ?(?P<msg>\{.*\})$")


def parse(line):
    match = LINE.match(line)
    assert match, f"rsyslog understood something else: {line}"
    return match


class Rsyslog:
    def __init__(self, w, kind):
        if not os.path.exists(RSYSLOGD):
            raise Skip("rsyslog is not installed")
        if kind == "tls" and not os.path.exists(f"{MODULES}/lmnsd_ossl.so"):
            raise Skip("rsyslog-openssl is not installed")
        self.w, self.kind, self.port, self.process = w, kind, 0, None
        self.dir = os.path.join(w.tmp, f"rsyslog-{kind}")
        os.mkdir(self.dir, 0o755)
        self.out = Lines(os.path.join(self.dir, "out"), parse)
        self.ca = os.path.join(self.dir, "ca.pem")
        if kind == "tls":
            make_certificate(self.dir)

    def start(self):
        tls = "" if self.kind != "tls" else (
            f' DefaultNetstreamDriver="ossl" DefaultNetstreamDriverCAFile="{self.ca}"'
            f' DefaultNetstreamDriverCertFile="{self.dir}/cert.pem"'
            f' DefaultNetstreamDriverKeyFile="{self.dir}/key.pem"')
        with open(f"{self.dir}/conf", "w", encoding="utf-8") as f:
            f.write((HEAD + INPUTS[self.kind] + TAIL).format(dir=self.dir, port=self.port, tls=tls))
        with open(f"{self.dir}/stderr", "ab") as err:
            self.process = self.w.host.spawn(
                [RSYSLOGD, "-n", "-f", f"{self.dir}/conf", "-i", f"{self.dir}/pid"],
                stdin=subprocess.DEVNULL, stdout=err, stderr=err)
        if self.kind == "unix":
            self.wait_for_text("pid")
        elif not self.port:
            self.port = int(self.wait_for_text("port"))

    def wait_for_text(self, name):
        """Of a file without a newline at its end."""
        path, deadline = os.path.join(self.dir, name), time.monotonic() + 10
        with contextlib.closing(kernel.Watch(self.dir)) as watch:
            while not (os.path.exists(path) and os.path.getsize(path)):
                assert watch.wait(deadline), f"rsyslog does not write {name}"
        with open(path, encoding="utf-8") as f:
            return f.read()

    def stop(self):
        self.process.terminate()
        wait_gone(self.process.pid)
        self.process.wait()
        if os.path.exists(f"{self.dir}/pid"):
            os.unlink(f"{self.dir}/pid")

    @property
    def url(self):
        return f"unix:{self.dir}/log" if self.kind == "unix" else \
            f"{self.kind}://127.0.0.1:{self.port}"

    def numbers(self):
        return {json.loads(m["msg"])["seq"] for m in self.out.all()}

    def wait_for_number(self, seq):
        self.out.wait_for(lambda m: json.loads(m["msg"])["seq"] == seq, timeout=30)


def make_certificate(directory):
    """An authority, and a certificate of it for 127.0.0.1."""
    def openssl(*args):
        subprocess.run(["openssl", *args], cwd=directory, check=True, capture_output=True)
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority", "-days", "2")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            "key.pem", "-out", "req.pem", "-subj", "/CN=receiver")
    with open(f"{directory}/ext", "w", encoding="utf-8") as f:
        f.write("subjectAltName=IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "req.pem", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-out", "cert.pem", "-days", "2", "-extfile", "ext")


def reject(w, count):
    for _ in range(count):
        assert w.pods["a"].dial(path="/nothing/here").status == 404


def sink(w):
    return [s for s in w.agent.cli("status")["audit"]["sinks"] if s["name"] == "syslog"][0]


def start_agent(w, name, url, **changes):
    path = os.path.join(w.tmp, f"{name}.jsonl")
    w.agent.audit = Lines(path, json.loads)
    w.agent.start(audit_file=path, audit_syslog=url, **changes)


def run(w, kind):
    rsyslog = Rsyslog(w, kind)
    rsyslog.start()
    changes = {"audit_syslog_ca": rsyslog.ca} if kind == "tls" else {}
    start_agent(w, kind, rsyslog.url, **changes)
    reject(w, 20)
    rsyslog.wait_for_number(20)
    rsyslog.stop()
    reject(w, 20)  # into nowhere
    assert w.pods["a"].dial().appid == manifests.ID_A.client_id
    rsyslog.start()
    reject(w, 5)
    mark = w.agent.cli("status")["audit"]["emitted"]
    rsyslog.wait_for_number(mark)
    assert sink(w)["lost"] == 0, sink(w)
    assert w.agent.stop() == 0
    w.agent.audit.wait_for(event("agent.stopped"))
    written = {r["seq"]: r for r in w.agent.audit.all()}
    rsyslog.wait_for_number(max(written))
    assert rsyslog.numbers() == set(written), set(written) - rsyslog.numbers()
    for match in rsyslog.out.all():
        record = json.loads(match["msg"])
        assert record == written[record["seq"]]
        severity = {"allow": 6, "deny": 4, "error": 3}.get(record.get("decision"), 5)
        assert int(match["pri"]) == 80 + severity, match[0]
        assert (match["host"], match["app"]) == ("test-node", "imdsgate"), match[0]
        assert match["msgid"] == record["kind"], match[0]
        assert match["data"] == (f'[imdsgate@32473 seq="{record["seq"]}" '
                                 f'run="{record["run"]}"]'), match[0]
    rsyslog.stop()


@suite.test("over a unix socket, with a restart of rsyslog")
def unix(w):
    run(w, "unix")


@suite.test("over TCP, with a restart of rsyslog")
def tcp(w):
    run(w, "tcp")


@suite.test("over TLS, with a restart of rsyslog")
def tls(w):
    run(w, "tls")


@suite.test("TLS with a certificate that nobody vouches for: not a byte of the audit is sent")
def untrusted(w):
    shutil.rmtree(os.path.join(w.tmp, "rsyslog-tls"), ignore_errors=True)
    rsyslog = Rsyslog(w, "tls")
    rsyslog.start()
    other = os.path.join(w.tmp, "other")
    os.mkdir(other, 0o755)
    make_certificate(other)
    start_agent(w, "untrusted", rsyslog.url, audit_syslog_ca=f"{other}/ca.pem")
    w.agent.log.wait_for(lambda line: '"EKEYREJECTED"' in line)
    assert w.pods["a"].dial().appid == manifests.ID_A.client_id
    assert sink(w)["state"] == "EKEYREJECTED" and sink(w)["delivered"] == 0, sink(w)
    assert w.agent.stop() == 0
    rsyslog.stop()
    assert not rsyslog.out.all()


if __name__ == "__main__":
    suite.run()
