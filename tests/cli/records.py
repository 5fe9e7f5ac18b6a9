"""Audit logs for the tests of the tools that read them: records as the agent writes them (each is
validated against the schema by test_audit_stats.py), at times of their own choosing."""

import datetime
import json
import os
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.abspath(os.environ.get("IG_BUILD", os.path.join(REPO, "build")))
START = datetime.datetime(2026, 1, 2, 3, 0, 0, tzinfo=datetime.timezone.utc)
VAULT, STORAGE, ARM = ("https://vault.azure.net", "https://storage.azure.com",
                       "https://management.azure.com/")
ORDER = ("pod", "process", "cgroup", "netns", "on_behalf_of", "connection", "request", "identity",
         "policy", "token", "latency_usec", "policy_epoch", "count")
BOOT = "0e3f8c1e-5f0b-4a52-9d6c-0c4d6a0c9d11"
HOSTILE = "</title><script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">"


def at(seconds):
    return (START + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Log:
    """Records in the order in which they are made; text() is the file."""

    def __init__(self, run="9f86d081884c7d65"):
        self.records, self._run = [], run

    def add(self, when, kind, decision=None, reason=None, **members):
        record = {"v": 1, "seq": len(self.records) + 1, "time": at(when), "boot": BOOT,
                  "run": self._run, "node": "worker-3", "kind": kind}
        if decision:
            record["decision"] = decision
        if reason:
            record["reason"] = reason
        assert set(members) <= {*ORDER, "message"}, members
        record.update({name: members[name] for name in ("message", *ORDER) if members.get(name)})
        self.records.append(record)
        return record

    def token(self, when, pod="shop/cart-0", account="cart", identity="cart", resource=VAULT,
              exe="/usr/bin/python3.11", decision="allow", reason=None, **members):
        """identity None: none; "": the node's own."""
        kind = {"allow": "token.issued", "deny": "token.denied", "error": "token.failed"}[decision]
        reason = reason or {"allow": "bound", "deny": "not_bound",
                            "error": "upstream_unavailable"}[decision]
        members.setdefault("identity", None if identity is None else
                           {"binding": "rule"} if identity == "" else
                           {"namespace": pod.split("/")[0], "name": identity,
                            "client_id": f"{identity}-id", "binding": f"{identity}-binding"})
        members.setdefault("request", {"method": "GET", "route": "token",
                                       "path": "/metadata/identity/oauth2/token",
                                       "resource": resource, "status": 200})
        return self.add(when, kind, decision, reason, **caller(pod, account, exe), **members)

    def document(self, when, pod="shop/cart-0", account="cart", path="/metadata/instance",
                 exe="/usr/bin/python3.11", decision="allow", reason=None, **members):
        kind = "metadata.forwarded" if decision == "allow" else "metadata.denied"
        members.setdefault("request", {"method": "GET", "route": "instance", "path": path,
                                       "status": 200 if decision == "allow" else 403})
        return self.add(when, kind, decision, reason or (
            "fetched" if decision == "allow" else "path_not_allowed"),
            **caller(pod, account, exe), **members)

    def lost(self, when, count, reason="kernel"):
        return self.add(when, "events.lost", reason=reason, count=count)

    def text(self):
        return "".join(json.dumps(record) + "\n" for record in self.records)

    def write(self, path):
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.text())
        return path


def caller(pod, account, exe):
    """pod None: a process of the host."""
    members = {"process": {"pid": 4242, "uid": 1000, "gid": 1000, "comm": "python3"},
               "cgroup": {"path": "/system.slice/some.service", "id": "20841"}}
    if exe:
        members["process"]["exe"] = exe
    if pod:
        namespace, name = pod.split("/")
        members["pod"] = {"namespace": namespace, "name": name,
                          "uid": "4f1b1e9a-3b1f-4c79-9a55-0d9f3c6b7a10",
                          "service_account": account, "host_network": False}
        if not account:
            del members["pod"]["service_account"]
    return members


def tool(*args, stdin=None, status=0, env=None):
    """Standard output of imdsgate; the exit status must be what is expected. Errors in .err."""
    run = subprocess.run([f"{BUILD}/imdsgate", "--socket", "/nonexistent", *map(str, args)],
                         input=stdin, stdin=subprocess.DEVNULL if stdin is None else None,
                         capture_output=True, text=True, timeout=60, check=False, env=env)
    assert status is None or run.returncode == status, (f"imdsgate {' '.join(map(str, args))}: exit {run.returncode}"
                                      f", not {status}\n{run.stdout}{run.stderr}")
    return Output(run)


class Output(str):
    """What the tool printed."""

    def __new__(cls, run):
        self = super().__new__(cls, run.stdout)
        self.err = run.stderr
        return self

    def json(self):
        return json.loads(self)
