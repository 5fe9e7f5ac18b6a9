"""The real @azure/identity for Node.js in pods of the test's world, against the agent. The packages
are installed, as the lock file says, into a cache outside the repository."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "netns"))

from harness import TRACES, manifests, standard_world  # noqa: E402
from places import REPO  # noqa: E402
from tap import Skip, Suite  # noqa: E402
from watch import event  # noqa: E402

CLIENTS = f"{REPO}/tests/clients"
RESOURCE = "https://vault.azure.net"
A, B = manifests.ID_A.client_id, manifests.ID_B.client_id

suite = Suite(standard_world, TRACES, seconds=240)


def cache_directory():
    """One for each state of the lock file, so that an old one is never used."""
    with open(f"{CLIENTS}/package-lock.json", "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()[:16]
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "imdsgate", f"node-{digest}")


def install():
    """npm ci, once; half of an installation is never left where it would be taken for a whole."""
    target = cache_directory()
    if os.path.exists(target):
        return target
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(target)) as new:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(f"{CLIENTS}/{name}", new)
        done = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=new,
                              capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, f"npm ci: {done.stdout}{done.stderr}"
        try:
            os.rename(new, target)
        except OSError:
            if not os.path.exists(target):  # else another run was faster
                raise
        os.makedirs(new, exist_ok=True)  # for TemporaryDirectory to remove
    return target


def ask(w, pod, *args):
    node = shutil.which("node")
    if not node or not shutil.which("npm"):
        raise Skip("needs node and npm")
    env = {**os.environ, **w.env, "IG_NODE_MODULES": install()}
    # nothing of the machine may lead the SDK elsewhere than to the metadata address
    for name in [n for n in env if n.startswith(("AZURE_", "IDENTITY_", "MSI_", "IMDS_"))
                 or n.lower() in ("http_proxy", "https_proxy", "no_proxy", "all_proxy")]:
        del env[name]
    status, out, err = w.pods[pod].run([node, f"{CLIENTS}/azure_identity.mjs", *args], env=env,
                                       timeout=120)
    assert out, f"exit {status}: {err}"
    return json.loads(out.splitlines()[-1])


def check_token(answer, client_id):
    assert answer["result"] == "ok" and answer["appid"] == client_id, answer
    assert answer["aud"] == RESOURCE and answer["expires"] > 300_000, answer


@suite.test("ManagedIdentityCredential()")
def managed(w):
    mark = w.agent.audit.mark()
    answer = ask(w, "a", "managed")
    check_token(answer, A)
    record = w.agent.audit.wait_for(event("token.issued", process__pid=answer["pid"]), mark)
    assert record["process"]["comm"] in ("node", "MainThread"), record
    assert record["request"]["resource"] == RESOURCE, record


@suite.test("ManagedIdentityCredential(client id)")
def managed_client_id(w):
    check_token(ask(w, "b", "managed", B), B)


@suite.test("ManagedIdentityCredential(somebody else's client id) fails")
def managed_other(w):
    answer = ask(w, "b", "managed", A)
    assert answer["result"] == "error" and "Identity not found" in answer["message"], answer


@suite.test("DefaultAzureCredential")
def default(w):
    check_token(ask(w, "a", "default"), A)


@suite.test("a pod without a binding is told at once, without retries")
def unbound(w):
    mark = w.agent.audit.mark()
    answer = ask(w, "c", "managed")
    assert answer["result"] == "error", answer
    assert len(w.agent.audit.find(event("token.denied", pod__name="c"), mark)) == 1


@suite.test("none of them reached the lab")
def reached(w):
    w.lab.never_reached()


if __name__ == "__main__":
    suite.run()
