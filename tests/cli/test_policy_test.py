"""`imdsgate policy test`: requests in words against candidate manifests; cases for CI."""

import rules
import suite as suites
from records import STORAGE, VAULT, tool

suite = suites.new()
EXE = "/usr/bin/cart"
PODS = (rules.pod("one", {"aadpodidbinding": "one"}) + rules.pod("both", {"aadpodidbinding": "both"})
        + rules.pod("none") + rules.pod("past", {"raw": "yes"}) + rules.pod("node", {"mon": "yes"})
        + rules.pod("done", {"aadpodidbinding": "one"}, phase="Succeeded")
        + rules.pod("net", {"aadpodidbinding": "one"}, host_network=True)
        + rules.pod("duo", {"aadpodidbinding": "one", "tier": "duo"},
                    containers=(("server", "a" * 64), ("helper", "b" * 64)))
        + rules.exception("past", "raw", "'yes'", "direct") + rules.exception("node", "mon", "'yes'"))
POLICIES = (
    rules.policy("resources", f"{{allow: {{resources: ['{VAULT}'], hostNetwork: false}}}}")
    + rules.policy("duo", f"{{podSelector: {{matchLabels: {{tier: duo}}}}, allow: {{containers: "
                   f"[server], executables: [{EXE}], resources: ['{VAULT}', '{STORAGE}']}}}}")
    + rules.policy("watch", "{mode: Audit, allow: {metadataPaths: [/metadata/instance/compute/name]}}",
                   "imdsgate-system"))


def manifests(desk):
    desk.write(rules.BASE + PODS, "m", "base.yaml")
    desk.write(POLICIES, "m", "policies.yaml")
    return ["--manifests", desk.path("m")]


# arguments, exit status, outcome, reason, policy
ROWS = (
    (("--pod", "shop/one", "--resource", VAULT), 0, "allow", "grant", "resources"),
    (("--pod", "shop/one", "--resource", VAULT.upper() + "/"), 0, "allow", "grant", "resources"),
    (("--pod", "shop/one", "--resource", STORAGE), 4, "deny", "resource_not_allowed", "resources"),
    (("--pod", "shop/one"), 4, "deny", "resource_not_allowed", "resources"),
    (("--pod", "shop/one", "--resource", VAULT, "--client-id", rules.BETA), 4, "deny", "not_found",
     None),
    (("--pod", "shop/both", "--resource", VAULT), 4, "deny", "ambiguous", None),
    (("--pod", "shop/both", "--resource", VAULT, "--client-id", rules.BETA.upper()), 0, "allow",
     "grant", "resources"),
    (("--pod", "shop/both", "--object-id", "x"), 1, "unknown", "object_id_not_known", None),
    (("--pod", "shop/none", "--resource", VAULT), 4, "deny", "not_bound", None),
    (("--pod", "shop/done", "--resource", VAULT), 4, "deny", "pod_finished", None),
    (("--pod", "shop/net", "--resource", VAULT), 4, "deny", "host_network_not_allowed",
     "resources"),
    (("--pod", "shop/past", "--resource", STORAGE), 0, "pass", "exception", None),
    (("--pod", "shop/past", "--path", "/metadata/attested/document"), 0, "pass", "exception", None),
    (("--pod", "shop/node", "--resource", VAULT), 0, "allow", "grant_node", "resources"),
    (("--pod", "shop/node", "--resource", STORAGE), 4, "deny", "resource_not_allowed", "resources"),
    (("--pod", "shop/duo", "--resource", STORAGE, "--container", "server", "--exe", EXE), 0,
     "allow", "grant", "duo"),
    (("--pod", "shop/duo", "--resource", STORAGE, "--container", "helper", "--exe", EXE), 4, "deny",
     "container_not_allowed", "duo"),
    (("--pod", "shop/duo", "--resource", STORAGE, "--exe", EXE), 4, "deny", "container_not_known",
     "duo"),
    (("--pod", "shop/duo", "--resource", STORAGE, "--container", "server", "--exe", "/bin/sh"), 4,
     "deny", "executable_not_allowed", "duo"),
    (("--pod", "shop/duo", "--resource", STORAGE, "--container", "server"), 4, "deny",
     "executable_not_allowed", "duo"),
    (("--host", "--resource", VAULT), 4, "deny", "host_not_allowed", None),
    (("--pod", "shop/none", "--path", "/METADATA/instance/compute/name"), 0, "allow", "allowed",
     "resources"),
    (("--pod", "shop/none", "--path", "/metadata/instance"), 5, "allow", "allowed", "watch"),
    (("--pod", "shop/none", "--path", "/metadata/attested/document"), 4, "deny", "path_not_allowed",
     None),
    (("--pod", "shop/none", "--path", "/metadata/versions"), 0, "allow", "open_to_everybody", None),
    (("--pod", "shop/none", "--path", "/metadata/identity/info"), 4, "deny", "not_bound", "watch"),
    (("--pod", "shop/one", "--path", "/metadata/identity/info"), 5, "allow", "allowed", "watch"),
)


@suite.test("one request at a time")
def requests(desk):
    base = manifests(desk)
    for args, status, outcome, reason, policy in ROWS:
        got = tool("--json", "policy", "test", *base, *args, status=status).json()
        assert (got["verdict"], got["reason"]) == (outcome, reason), (args, got)
        assert (got["policy"] or {}).get("name") == policy, (args, got["policy"])
        assert got["outcome"] == ("would-deny" if status == 5 else
                                  "allow" if outcome == "pass" else outcome), (args, got)
        assert (got["would_deny"] is not None) == (status == 5), (args, got)


@suite.test("for people")
def people(desk):
    output = tool("policy", "test", *manifests(desk), "--pod", "shop/one", "--resource", STORAGE,
                  status=4)
    assert "pod shop/one, ServiceAccount cart" in output, output
    assert "DENY: policy shop/resources does not list the resource" in output, output
    assert "gives the AzureIdentity: alpha" in output, output


@suite.test("--expect")
def expect(desk):
    base = manifests(desk)
    for args, status, outcome, _, _ in ROWS:
        if outcome == "unknown":
            continue
        real = "would-deny" if status == 5 else "deny" if status == 4 else "allow"
        for expected in ("allow", "would-deny", "deny"):
            fits = expected == real or (expected == "allow" and real == "would-deny")
            got = tool("--json", "policy", "test", *base, *args, "--expect", expected,
                       status=0 if fits else 5).json()
            assert got["as_expected"] is fits and got["expected"] == expected, got
    output = tool("policy", "test", *base, "--pod", "shop/one", "--expect", "allow", status=5)
    assert "expected allow, and it is deny" in output.err, output.err


CASES = f"""\
- name: the cart reads its secrets
  pod: shop/one
  resource: {VAULT}
  expect: allow
- name: and nothing else
  pod: shop/one
  resource: {STORAGE}
  expect: deny
  reason: resource_not_allowed
- pod: shop/duo
  resource: {STORAGE}
  container: server
  executable: {EXE}
  expect: allow
- pod: shop/duo
  resource: {STORAGE}
  container: server
  executable: {EXE}
  executableDeleted: true
  expect: deny
- host: true
  expect: deny
- pod: shop/none
  path: /metadata/instance
  expect: would-deny
"""


@suite.test("--cases: all as expected")
def cases(desk):
    base = manifests(desk) + ["--cases", desk.write(CASES, "cases.yaml")]
    output = tool("policy", "test", *base)
    assert output.endswith("6 cases, 0 failed\n") and output.count("ok    ") == 6, output
    got = tool("--json", "policy", "test", *base).json()
    assert got["total"] == 6 and got["failed"] == 0 and all(c["ok"] for c in got["cases"]), got
    assert [c["line"] for c in got["cases"]] == [1, 5, 10, 15, 21, 23], got


@suite.test("--cases: each way to fail says where and what")
def failing_cases(desk):
    text = (f"- {{name: wrong outcome, pod: shop/one, resource: '{STORAGE}', expect: allow}}\n"
            f"- {{name: wrong reason, pod: shop/one, resource: '{STORAGE}', expect: deny, "
            "reason: not_bound}\n"
            "- {name: no pod, pod: shop/gone, expect: deny}\n"
            "- {name: unknown, pod: shop/both, objectID: x, expect: deny}\n"
            f"- {{name: good, pod: shop/one, resource: '{VAULT}', expect: allow}}\n")
    base = manifests(desk) + ["--cases", desk.write(text, "cases.yaml")]
    output = tool("policy", "test", *base, status=5)
    assert "5 cases, 4 failed" in output, output
    for line in ("cases.yaml:1: wrong outcome\n      expected allow, and it is deny: "
                 "resource_not_allowed, policy shop/resources", "expected deny because of not_bound",
                 "but the manifests declare no Pod shop/gone", "and it is unknown: object_id"):
        assert line in output, (line, output)
    got = tool("--json", "policy", "test", *base, status=5).json()
    assert [c["ok"] for c in got["cases"]] == [False] * 4 + [True] and got["failed"] == 4, got


@suite.test("--cases: a file that tests nothing, or something else than it seems to, is an error")
def bad_cases(desk):
    base = manifests(desk)
    for text, place, what in (
            ("", ":", "no case"), ("[]", ":", "no case"), ("a: b", ":1:1:", "list of cases"),
            ("- x", ":", "expected a case"), ("- pod: shop/one", ":1:3:", "expect is missing"),
            ("- pod: shop/one\n  expect: maybe", ":2:3:", "expected allow, would-deny"),
            ("- pod: shop/one\n  expect: deny\n  resorce: x", ":3:3:", "no such field"),
            ("- pod: shop/one\n  expect: deny\n  host: 1", ":3:3:", "true or false"),
            ("- pod: 7\n  expect: deny", ":1:3:", "expected a text"),
            ("- pod: [", ":", "")):
        path = desk.write(text, "cases.yaml")
        output = tool("policy", "test", *base, "--cases", path, status=1)
        assert output.err.startswith(f"imdsgate: {path}{place}") and what in output.err, output.err
        assert output == "", output
    error = tool("--json", "policy", "test", *base, "--cases", desk.path("none"), status=1).json()
    assert error["error"]["code"] == "ENOENT", error


@suite.test("--cases: limits")
def case_limits(desk):
    base = manifests(desk)
    one = "- {host: true, expect: deny}\n"
    path = desk.write(one * 10000, "cases.yaml")
    assert "10000 cases, 0 failed" in tool("policy", "test", *base, "--cases", path)
    path = desk.write(one * 10000 + "---\n" + one, "cases.yaml")
    assert "too many cases" in tool("policy", "test", *base, "--cases", path, status=1).err
    path = desk.write("#" * (4 << 20) + "\n", "cases.yaml")
    assert "cannot be read" in tool("policy", "test", *base, "--cases", path, status=1).err


@suite.test("manifests that are wrong, each with its place")
def wrong_manifests(desk):
    desk.write("apiVersion: v1\nkind: Pod\nmetadata: {name: A}\n", "w", "a.yaml")
    desk.write(rules.policy("x", "{alow: {}}"), "w", "b.yaml")
    desk.write(rules.policy("y", "{subject: Host}"), "w", "c.yaml")
    output = tool("policy", "test", "--manifests", desk.path("w"), "--host", status=1)
    for line in ("/w/a.yaml:3:", "/w/b.yaml:5:", "/w/c.yaml:5:", "3 files are wrong"):
        assert line in output.err, (line, output.err)
    # where the cluster's policies are is the command line's affair
    tool("policy", "test", "--manifests", desk.path("none"), "--host", status=1)
    for name in ("a.yaml", "b.yaml"):
        desk.write("", "w", name)
    tool("policy", "test", "--manifests", desk.path("w"), "--policy-namespace", "shop", "--host",
         "--expect", "allow")


@suite.test("what makes no sense, and what does not exist")
def usage(desk):
    base = manifests(desk)
    for args, status in (
            ((), 2), (("--pod", "shop/one", "--host"), 2), (("--pod", "/one"), 2),
            (("--pod", "shop/"), 2), (("--pod", "shop/gone"), 4), (("--pod", "one"), 4),
            (("--pod", "shop/duo", "--container", "x"), 4), (("--host", "--container", "x"), 2),
            (("--pod", "shop/one", "--exe", "cart"), 2), (("--pod", "shop/one\x1b"), 2),
            (("--pod", "shop/one", "--client-id", "a", "--object-id", "b"), 2),
            (("--pod", "shop/one", "--path", "/metadata/instance", "--resource", VAULT), 2),
            (("--pod", "shop/one", "--path", "/latest/meta-data"), 4),
            (("--pod", "shop/one", "--path", "/metadata/instance?x=1"), 4),
            (("--pod", "shop/one", "--path", "/metadata/instance/../attested"), 4),
            (("--pod", "shop/one", "--resource", "x" * 2049), 2),
            (("--pod", "shop/one", "--expect", "maybe"), 2),
            (("--pod", "shop/one", "--cases", "x"), 2)):
        output = tool("policy", "test", *base, *args, status=status)
        assert output == "" and output.err.startswith("imdsgate: "), (args, output.err)
        assert "\x1b" not in output.err
    tool("policy", "test", "--host", status=3)  # no agent
    tool("policy", "test", "--host", "--no-aks-exception", status=2)
    tool("policy", "test", "--cases", "x", status=2)


if __name__ == "__main__":
    suite.run()
