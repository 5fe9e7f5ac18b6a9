"""`imdsgate policy replay`: what candidate rules would have changed, and what nobody can tell."""

import rules
import suite as suites
from records import STORAGE, VAULT, Log, at, tool

suite = suites.new()
ONE = {"aadpodidbinding": "one"}
CHANGES = ("newly_denied", "newly_allowed", "newly_watched", "unknown", "unchanged", "not_judged")


def replay(desk, log, *texts, args=(), status=0):
    for name in ("a.yaml", "b.yaml", "c.yaml"):
        desk.write("", "m", name)
    for name, text in zip(("a.yaml", "b.yaml", "c.yaml"), texts):
        desk.write(text, "m", name)
    return tool("--json", "policy", "replay", "--manifests", desk.path("m"), *args,
                stdin=log.text(), status=status).json()


def expect(desk, log, *texts, **changes):
    """Counts that are not named are zero."""
    status = 5 if changes.get("newly_denied") else 0
    got = replay(desk, log, *texts, status=status)
    counts = {change: got["changes"][change] for change in CHANGES if got["changes"][change]}
    assert counts == changes, (counts, got["rows"])
    return got


def one(**options):
    log = Log()
    log.token(0, **options)
    return log


@suite.test("policies alone: identities are as recorded")
def policies(desk):
    log = Log()
    log.token(0)
    log.token(1, resource=STORAGE)
    log.token(2, resource=STORAGE, decision="deny", reason="resource_not_allowed")
    log.token(3, resource=VAULT, decision="deny", reason="resource_not_allowed")
    log.token(4, resource=STORAGE, decision="error")
    log.token(5, identity=None, decision="deny", reason="not_bound")
    policy = rules.policy("vault", f"{{allow: {{resources: ['{VAULT}']}}}}")
    got = expect(desk, log, policy, newly_denied=2, newly_allowed=1, unchanged=3)
    assert got["identities_judged"] is False
    denied = [row for row in got["rows"] if row["change"] == "newly_denied"]
    assert {(row["target"], row["was"], row["now"], row["requests"]) for row in denied} == {
        (STORAGE, "bound", "resource_not_allowed by shop/vault", 1),
        (STORAGE, "upstream_unavailable", "resource_not_allowed by shop/vault", 1)}, denied
    assert denied[0]["pod"] == "cart-0" and denied[0]["first"] in (at(1), at(4)), denied
    expect(desk, log, newly_allowed=2, unchanged=4)
    expect(desk, log, rules.policy("watch", "{mode: Audit, allow: {resources: []}}"),
           newly_watched=3, newly_allowed=2, unchanged=1)
    expect(desk, log, rules.policy("off", "{mode: Disabled, allow: {resources: []}}"),
           newly_allowed=2, unchanged=4)


@suite.test("what a policy in mode audit said then is no news")
def watched(desk):
    log = one(policy={"namespace": "shop", "name": "watch", "would_deny": "resource_not_allowed"})
    audit = rules.policy("watch", "{mode: Audit, allow: {resources: []}}")
    expect(desk, log, audit, unchanged=1)
    expect(desk, log, rules.policy("watch", "{allow: {resources: []}}"), newly_denied=1)


@suite.test("executables, host network, identities, the cluster's layer")
def lists(desk):
    for spec, options, denied in (
            ("{allow: {executables: [/usr/bin/python3.11]}}", {}, False),
            ("{allow: {executables: [/bin/other]}}", {}, True),
            ("{allow: {executables: [/usr/bin/python3.11]}}", {"exe": None}, True),
            ("{identities: [cart], allow: {resources: []}}", {}, True),
            ("{identities: [other], allow: {resources: []}}", {}, False),
            ("{identities: [cart], allow: {resources: []}}", {"identity": ""}, False),
            ("{serviceAccounts: [cart], allow: {resources: []}}", {}, True),
            ("{serviceAccounts: [default], allow: {resources: []}}", {"account": ""}, True),
            ("{serviceAccounts: [web], allow: {resources: []}}", {}, False),
            ("{allow: {hostNetwork: false}}", {}, False)):
        text = rules.policy("p", spec)
        expect(desk, one(**options), text, **{"newly_denied" if denied else "unchanged": 1})
    log = one()
    log.records[0]["pod"]["host_network"] = True
    expect(desk, log, rules.policy("p", "{allow: {hostNetwork: false}}"), newly_denied=1)
    log = one()
    log.records[0]["process"]["exe_deleted"] = True
    expect(desk, log, rules.policy("p", "{allow: {executables: [/usr/bin/python3.11]}}"),
           newly_denied=1)
    expect(desk, one(), rules.policy("p", "{namespaces: [shop], allow: {resources: []}}",
                                     "imdsgate-system"), newly_denied=1)


@suite.test("documents")
def documents(desk):
    log = Log()
    log.document(0, path="/metadata/instance/compute/name")
    log.document(1, path="/METADATA/instance/network")
    log.document(2, path="/metadata/attested/document", decision="deny", reason="route_denied")
    log.document(3, path="/metadata/identity/info")
    log.document(4, path="/metadata/instance", decision="error", reason="too_busy")
    expect(desk, log, unchanged=5)
    policy = rules.policy("p", "{allow: {metadataPaths: [/metadata/instance/compute]}}")
    expect(desk, log, policy, newly_denied=3, unchanged=2)
    policy = rules.policy("p", "{allow: {metadataPaths: [/metadata/attested, /metadata/instance]}}",
                          "imdsgate-system")
    expect(desk, log, policy, newly_allowed=1, newly_denied=1, unchanged=3)


@suite.test("which tenant: for pods that have an identity")
def tenant(desk):
    log = Log()
    for n, (name, decision, reason) in enumerate((
            ("bound", "deny", "not_bound"), ("unbound", "allow", "declared"),
            ("unbound", "deny", "not_bound"), ("stranger", "deny", "not_bound"))):
        log.document(n, pod=f"shop/{name}", path="/metadata/identity/info", decision=decision,
                     reason=reason)
        log.records[-1]["request"]["route"] = "info"
    pods = rules.pod("bound", ONE) + rules.pod("unbound")
    expect(desk, log, rules.BASE, pods, newly_allowed=1, newly_denied=1, unchanged=1, unknown=1)
    expect(desk, log, unchanged=4)


@suite.test("labels that nobody recorded: unknown only where they matter")
def labels(desk):
    deny = rules.policy("a", "{podSelector: {matchLabels: {tier: web}}, allow: {resources: []}}")
    allow = rules.policy("b", f"{{podSelector: {{matchLabels: {{tier: web}}}}, allow: {{resources: "
                              f"['{VAULT}']}}}}")
    got = expect(desk, one(), deny, unknown=1)
    assert got["rows"][0]["now"] == "labels", got
    expect(desk, one(), allow, unchanged=1)  # with or without the label it is allowed
    expect(desk, one(), rules.policy("c", "{allow: {resources: []}}"), deny, newly_denied=1)
    expect(desk, one(), rules.policy("c", "{allow: {resources: []}}"), allow, unknown=1)
    expect(desk, one(pod="other/x-0"), deny, unchanged=1)
    # both layers together may allow what each of them alone does not
    cluster = (rules.policy("all", "{allow: {resources: []}}", "imdsgate-system")
               + rules.policy("web", "{podSelector: {matchLabels: {a: b}}}", "imdsgate-system"))
    own = rules.policy("all", "{allow: {resources: []}}") + rules.policy(
        "web", "{podSelector: {matchLabels: {c: d}}}")
    expect(desk, one(), cluster + own, unknown=1)
    # and of no pod with two values for one key
    expect(desk, one(), cluster + own.replace("c: d", "a: c"), newly_denied=1)
    # a declared pod has labels
    expect(desk, one(), deny, rules.pod("cart-0", {"tier": "web"}), newly_denied=1)
    expect(desk, one(), deny, rules.pod("cart-0", {"tier": "db"}), unchanged=1)


@suite.test("very many policies that might matter")
def many_labels(desk):
    texts = "".join(rules.policy(f"p{n}", f"{{podSelector: {{matchLabels: {{n: 'v{n}'}}}}}}")
                    for n in range(70))
    expect(desk, one(), texts, unknown=1)
    # few enough in each layer, and too many together
    some = [rules.policy(f"p{n}", f"{{podSelector: {{matchLabels: {{n: 'v{n}'}}}}}}", ns)
            for n in range(33) for ns in ("shop", "imdsgate-system")]
    expect(desk, one(), "".join(some), unknown=1)
    expect(desk, one(), "".join(some[:-6]), unchanged=1)


@suite.test("answers that are remembered are right, and more of them than are kept")
def remembered(desk):
    policy = rules.policy("p", "{podSelector: {matchLabels: {a: b}}, allow: {resources: [r7]}}")
    log = Log()
    for n in (*range(4200), *range(4200)):
        log.token(n, resource=f"r{n}")
    expect(desk, log, policy, unchanged=2, unknown=8398)
    # nothing but the lengths tells these apart
    log = Log()
    log.token(0, exe="/x", identity="yz", resource="r7")
    log.token(1, exe="/xy", identity="z", resource="r7")
    log.token(2, exe="/xy", identity="z", account="car", resource="r7")
    expect(desk, log, policy + rules.policy(
        "q", "{identities: [yz], podSelector: {matchLabels: {a: c}}, allow: {resources: []}}"),
        unchanged=2, unknown=1)


@suite.test("containers: by the declared pod's status, else unknown")
def containers(desk):
    server, helper = "a" * 64, "b" * 64
    text = rules.policy("p", "{allow: {containers: [server]}}")
    pod = rules.pod("cart-0", ONE, containers=(("server", server), ("helper", helper)))
    for container, change in ((server, "unchanged"), (helper, "newly_denied"),
                              ("c" * 64, "unknown"), (None, "unknown")):
        log = one()
        if container:
            log.records[0]["pod"]["container_id"] = container
        expect(desk, log, text, pod, **{change: 1})
        expect(desk, log, text, unknown=1)


@suite.test("bindings: whose identity is whose")
def bindings(desk):
    log = Log()
    log.token(0, pod="shop/bound", identity="alpha")
    log.token(1, pod="shop/unbound", identity="alpha")
    log.token(2, pod="shop/fresh", identity=None, decision="deny", reason="not_bound")
    log.token(3, pod="shop/stranger", identity="alpha")
    log.token(4, pod="shop/stranger", identity=None, decision="deny", reason="not_bound")
    log.token(5, pod="shop/bound", identity=None, decision="deny", reason="not_found")
    log.records[-1]["request"].update(selector_kind="client_id", selector_value=rules.BETA)
    log.token(6, pod="shop/both", identity=None, decision="deny", reason="not_found")
    log.records[-1]["request"].update(selector_kind="object_id", selector_value="o")
    pods = (rules.pod("bound", ONE) + rules.pod("unbound") + rules.pod("fresh", ONE)
            + rules.pod("both", {"aadpodidbinding": "both"}))
    got = expect(desk, log, rules.BASE, pods, unchanged=3, newly_denied=1, newly_allowed=1,
                 unknown=2)
    assert got["identities_judged"] is True
    assert {row["now"] for row in got["rows"] if row["change"] == "unknown"} == {
        "labels", "object_id"}, got["rows"]
    # a policy looks at the identity that the candidates give
    policy = rules.policy("p", "{identities: [alpha], allow: {resources: []}}")
    got = expect(desk, one(pod="shop/bound", identity="beta"), rules.BASE, pods + policy,
                 newly_denied=1)
    expect(desk, one(pod="shop/bound", identity="beta"), policy, unchanged=1)


@suite.test("exceptions, the host, and who asks on behalf of others")
def others(desk):
    direct = rules.exception("x", "aadpodidbinding", "one", "direct")
    log = one(pod="shop/bound", identity=None, decision="deny", reason="not_bound")
    expect(desk, log, rules.BASE + direct, rules.pod("bound", ONE), newly_allowed=1)
    log = one(pod=None, identity="", exe="/usr/sbin/agent")
    log.records[0]["pod"] = {"host_network": True}
    host = rules.policy("h", "{subject: Host, allow: {executables: [/usr/sbin/agent]}}",
                        "imdsgate-system")
    expect(desk, log, newly_denied=1)
    expect(desk, log, host, unchanged=1)
    expect(desk, log, host.replace("agent]", "other]"), newly_denied=1)
    # a process in a namespace of its own, in no pod, is nobody that rules know
    del log.records[0]["pod"]
    expect(desk, log, host, unknown=1)
    log = one(pod="kube-system/csi-0", account="csi", exe="/csi", on_behalf_of={
        "namespace": "shop", "name": "cart-0", "uid": "u", "service_account": "cart"})
    expect(desk, log, rules.policy("p", "{serviceAccounts: [cart], allow: {resources: []}}"),
           newly_denied=1)
    expect(desk, log, rules.policy("p", "{serviceAccounts: [csi], allow: {resources: []}}"),
           unchanged=1)


@suite.test("what is cut, and what rules have no say in")
def not_judged(desk):
    log = Log()
    log.token(0, resource="https://" + "x" * 2000 + "…")
    log.token(1, exe="/" + "x" * 1000 + "…")
    log.document(2, path="/metadata/instance/" + "x" * 1000 + "…")
    got = expect(desk, log, unknown=3)
    assert {row["now"] for row in got["rows"]} == {"resource", "executable", "path"}, got["rows"]
    log = Log()
    log.add(0, "agent.started")
    log.lost(1, 5)
    log.token(2, decision="deny", reason="rate_limited")
    log.token(3, decision="error", reason="pod_not_declared_yet")
    log.add(4, "connect.denied", "deny", "denied")
    log.add(5, "request.rejected", "deny", "no_resource")
    expect(desk, log, rules.policy("p", "{allow: {resources: []}}"), not_judged=6)


@suite.test("for people; filters; wrong usage")
def people(desk):
    log = one()
    log.token(5, pod="web/w-0", account="web", resource="\u202ex\u009b")
    desk.write(rules.policy("p", "{allow: {resources: []}}")
               + rules.policy("q", "{allow: {resources: []}}", "web"), "m", "a.yaml")
    base = ("policy", "replay", "--manifests", desk.path("m"))
    output = tool(*base, stdin=log.text(), status=5)
    assert "NEWLY DENIED: 2 requests" in output and "\\u202ex\\x9b" in output, output
    assert "newly_denied 2, newly_allowed 0" in output and "declare no identities" in output
    output = tool(*base, "--namespace", "shop", stdin=log.text() + "bad\n", status=5)
    assert "NEWLY DENIED: 1 requests" in output and "-:3: not JSON" in output.err, output.err
    tool(*base, "--namespace", "none", stdin=log.text())
    tool("policy", "replay", stdin="", status=2)
    tool(*base, "--top", "x", stdin="", status=2)
    tool("policy", "replay", "--manifests", desk.path("none"), stdin="", status=1)


if __name__ == "__main__":
    suite.run()
