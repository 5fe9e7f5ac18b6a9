"""`imdsgate policy test` says of manifests what the agent that has them says, and does."""

import json

import test_explain
from harness import TRACES, manifests
from tap import Suite

suite = Suite(test_explain.build, TRACES)
VAULT, STORAGE, CLUSTER = test_explain.VAULT, test_explain.STORAGE, manifests.POLICY_NAMESPACE
POLICIES = (
    (manifests.policy("nobody", serviceAccounts=[]),),
    (manifests.policy("lists", allow={
        "resources": [VAULT], "metadataPaths": ["/metadata/instance/compute"],
        "executables": ["/usr/bin/app"]}),),
    (manifests.policy("audit", CLUSTER, mode="Audit", allow={"resources": []}),),
    (manifests.policy("host", CLUSTER, subject="Host", allow={"resources": [VAULT]}),),
)
CALLERS = [("--pod", f"demo/{name}") for name in ("a", "b", "c", "both", "free", "account")]
CALLERS.append(("--host",))
REQUESTS = [(), ("--resource", VAULT), ("--resource", STORAGE, "--exe", "/usr/bin/app"),
            ("--resource", VAULT, "--client-id", manifests.ID_B.client_id, "--exe", "/usr/bin/app"),
            ("--path", "/metadata/instance"), ("--path", "/metadata/instance/compute/name"),
            ("--path", "/metadata/attested/document")]
SAME = ("caller", "request", "steps", "identity", "verdict", "reason", "policy", "would_deny",
        "outcome")


def agree(w, args):
    here = w.agent.cli_run("policy", "test", *args)
    there = w.agent.cli_run("policy", "test", "--manifests", w.manifests, *args)
    assert here[0] == there[0] != 1, (args, here, there)
    a, b = json.loads(here[1]), json.loads(there[1])
    for member in SAME:
        assert a[member] == b[member], (args, member, a[member], b[member])
    return a["outcome"]


@suite.test("with and without an agent")
def agreement(w):
    seen = set()
    for texts in POLICIES:
        with w.policies(*texts):
            for caller in CALLERS:
                for request in REQUESTS:
                    seen.add(agree(w, (*caller, *request)))
    assert seen == {"allow", "would-deny", "deny"}, seen


if __name__ == "__main__":
    suite.run()
