"""`imdsgate audit stats`: what a log says in numbers, filters, bad lines, long logs."""

import json
import resource
import subprocess

import suite as suites
from records import BUILD, REPO, STORAGE, VAULT, Log, at, tool

suite = suites.new()


def sample():
    log = Log()
    log.add(0, "agent.started")
    for n in range(10):
        log.token(10 + n)
    log.token(30, exe="/usr/bin/curl")
    log.token(31, pod="shop/cart-1", resource=STORAGE)
    log.token(40, pod="shop/evil-0", account="", identity=None, decision="deny", exe="/tmp/x")
    log.token(41, pod="shop/evil-0", account="", identity=None, decision="deny", exe="/tmp/x")
    log.token(50, decision="error")
    log.document(60, pod="web/front-0", account="front", path="/metadata/instance/compute")
    log.add(70, "connect.denied", "deny", "denied", connection={
        "protocol": "tcp", "endpoint": "wireserver", "destination": "168.63.129.16:80"})
    log.lost(80, 7)
    log.lost(81, 5, "file")
    return log


def stats(text, *args, **kwargs):
    return tool("--json", "audit", "stats", *args, stdin=text, **kwargs).json()


@suite.test("the sample's records are what the schema asks for")
def schema(desk):
    path = sample().write(desk.path("a.jsonl"))
    run = subprocess.run([f"{REPO}/tests/check/audit_schema.py", path], capture_output=True,
                         text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@suite.test("totals, losses, kinds")
def totals(_):
    got = stats(sample().text())
    assert got["attempts"] == {"total": 17, "allowed": 13, "denied": 3, "failed": 1,
                               "undecided": 0}, got["attempts"]
    assert got["records"] == 20 and got["bad_lines"] == 0 and got["agent_starts"] == 1, got
    assert got["period"] == {"first": at(0), "last": at(81)}, got["period"]
    assert got["lost"]["events"] == 12 and got["lost"]["reports"] == 2, got["lost"]
    assert [loss["reason"] for loss in got["lost"]["first"]] == ["kernel", "file"]
    kinds = {(k["kind"], k["reason"]): k["count"] for k in got["kinds"]}
    assert kinds[("token.issued", "bound")] == 12 and kinds[("token.denied", "not_bound")] == 2
    assert sum(kinds.values()) == 20
    assert got["dropped"] == {"rows": 0, "events": 0, "missed_max": 0}


@suite.test("a row for each pod, identity and target")
def rows(_):
    got = stats(sample().text())["rows"]
    first = got[0]
    assert (first["namespace"], first["pod"], first["service_account"], first["identity"],
            first["target"]) == ("shop", "cart-0", "cart", "cart", VAULT), first
    assert (first["total"], first["allowed"], first["denied"], first["failed"]) == (12, 11, 0, 1)
    assert (first["first"], first["last"], first["missed_max"]) == (at(10), at(50), 0), first
    assert first["executables"] == ["/usr/bin/curl", "/usr/bin/python3.11"], first
    assert {row["pod"] for row in got} == {"cart-0", "cart-1", "evil-0", "front-0", "(unknown)"}
    assert sum(row["total"] for row in got) == 17


@suite.test("--by")
def by(_):
    text = sample().text()
    for word, member, expected in (
            ("pod", "pod", {"cart-0": 12, "cart-1": 1, "evil-0": 2, "front-0": 1, "(unknown)": 1}),
            ("service-account", "service_account", {"cart": 13, "": 3, "front": 1}),
            ("identity", "identity", {"cart": 13, "": 4}),
            ("resource", "target", {VAULT: 14, STORAGE: 1, "/metadata/instance/compute": 1,
                                    "168.63.129.16:80": 1}),
            ("executable", "executable", {"/usr/bin/python3.11": 13, "/usr/bin/curl": 1,
                                          "/tmp/x": 2, "(unknown)": 1})):
        counts = {}
        for row in stats(text, "--by", word)["rows"]:
            counts[row[member]] = counts.get(row[member], 0) + row["total"]
        assert counts == expected, (word, counts)


@suite.test("filters")
def filters(_):
    text = sample().text()
    for args, total in ((("--namespace", "web"), 1), (("--pod", "evil-0"), 2),
                        (("--identity", "cart"), 13), (("--identity", "shop/cart"), 13),
                        (("--identity", "CART-ID"), 13), (("--identity", "web/cart"), 0),
                        (("--resource", VAULT.upper() + "/"), 14), (("--decision", "deny"), 3),
                        (("--decision", "error"), 1), (("--kind", "metadata.forwarded"), 1),
                        (("--since", at(30)), 7), (("--until", at(30)), 10),
                        (("--since", at(30), "--until", at(41)), 3),
                        (("--since", "1h"), 0), (("--since", "2000w"), 17)):
        got = stats(text, *args)
        assert got["attempts"]["total"] == total, (args, got["attempts"])
        lost = 0 if args[0] == "--until" or "--until" in args or args[1] == "1h" else 12
        assert got["lost"]["events"] == lost, (args, got["lost"])


@suite.test("who is asked for counts, not who asks")
def on_behalf(_):
    log = Log()
    log.token(0, pod="kube-system/csi-0", account="csi", identity="cart", on_behalf_of={
        "namespace": "shop", "name": "cart-0", "uid": "u", "service_account": "cart"})
    (row,) = stats(log.text())["rows"]
    assert (row["namespace"], row["pod"], row["service_account"]) == ("shop", "cart-0", "cart")


@suite.test("bad lines are named, counted, and no obstacle")
def bad_lines(desk):
    good = json.dumps(sample().records[1])
    lines = [good, "nonsense \x1b[31m", "", "[]", good.replace('"v": 1', '"v": 2'),
             good.replace(at(10), "yesterday"), "x" * 70000, good, good[:-20]]
    path = desk.write("\n".join(lines), "log\x1b.jsonl")
    output = tool("--json", "audit", "stats", path)
    got = output.json()
    assert got["records"] == 2 and got["bad_lines"] == 6 and got["lines"] == 9, got
    for number, what in ((2, "not JSON"), (4, "not a JSON object"), (5, "version"), (6, "time"),
                         (7, "longer"), (9, "no end")):
        assert any(line.startswith(f"imdsgate: {desk.tmp}/log\\x1b.jsonl:{number}: ")
                   and what in line for line in output.err.splitlines()), (number, output.err)
    assert "\x1b" not in output.err


@suite.test("very many bad lines are counted")
def many_bad_lines(_):
    output = tool("audit", "stats", stdin="x\n" * 1000)
    assert output.err.count("\n") == 21 and "980 more lines" in output.err, output.err
    assert "1000 bad lines" in output


@suite.test("several files in any order, a file that is not there")
def files(desk):
    log = sample()
    old, new = Log(), Log()
    old.records, new.records = log.records[:8], log.records[8:]
    paths = [new.write(desk.path("audit.jsonl")), old.write(desk.path("audit.jsonl.1"))]
    got = tool("--json", "audit", "stats", *paths).json()
    assert got["attempts"]["total"] == 17 and got["files"] == 2, got
    assert got["period"] == {"first": at(0), "last": at(81)}, got["period"]
    output = tool("audit", "stats", paths[0], desk.path("none"), status=1)
    assert output == "" and f"{desk.tmp}/none: cannot be read: No such file" in output.err
    output = tool("--json", "audit", "stats", desk.path("none"), status=1)
    assert output.json()["error"]["code"] == "ENOENT", output
    assert "Is a directory" in tool("audit", "stats", desk.tmp, status=1).err


@suite.test("attempts that have no record of their own are told of")
def unrecorded(_):
    log = sample()
    assert stats(log.text())["unrecorded"] == 0
    assert "without a record of their own" not in tool("audit", "stats", stdin=log.text())
    log.token(90, pod="shop/evil-0", account="", identity=None, decision="deny", count=5000)
    log.add(91, "connect.denied", "deny", "denied", count=2, connection={
        "protocol": "tcp", "endpoint": "wireserver", "destination": "168.63.129.16:80"})
    log.add(92, "policy.changed", count=40)
    got = stats(log.text())
    assert got["attempts"]["denied"] == 5 and got["unrecorded"] == 5000, got
    assert "and 5000 more without a record of their own" in tool("audit", "stats", stdin=log.text())
    assert stats(log.text(), "--pod", "evil-0")["unrecorded"] == 4999
    assert stats(log.text(), "--until", at(90))["unrecorded"] == 0


@suite.test("for people, and hostile texts on a terminal")
def people(_):
    log = sample()
    log.token(90, resource="\u202eevil\u009b", exe="/x\x1b[2J")
    output = tool("audit", "stats", stdin=log.text())
    assert "NAMESPACE" in output and "attempts  18: allowed 14, denied 3, failed 1" in output
    assert "12 events, in 2 reports" in output and "7 lost by kernel" in output, output
    assert "\\u202eevil\\x9b" in output and "/x\\x1b[2J" in output, output
    assert not any(c in output for c in "\x1b\u202e\u009b")
    output = tool("audit", "stats", "--top", "2", stdin=log.text())
    assert "rows more (--top)" in output, output
    assert "none reported" in tool("audit", "stats", stdin="")


@suite.test("a flood of different requests costs bounded memory and hides nothing that was allowed")
def flood(desk):
    log = Log()
    row = json.dumps(log.token(5, decision="deny", identity=None, resource="RESOURCE"))
    allowed = json.dumps(log.token(6))
    path = desk.path("flood.jsonl")
    n = 150000
    with open(path, "w", encoding="utf-8") as file:
        for i in range(n):
            file.write(row.replace("RESOURCE", f"https://r{i}.example/{'x' * 200}") + "\n")
            if i in (1000, 70000):
                file.write(allowed + "\n")

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))

    run = subprocess.run([f"{BUILD}/imdsgate", "--json", "audit", "stats", "--top", "10000", path],
                         capture_output=True, text=True, check=False, preexec_fn=limit)
    assert run.returncode == 0, run.stderr
    got = json.loads(run.stdout)
    assert got["attempts"]["denied"] == n and got["attempts"]["allowed"] == 2, got["attempts"]
    dropped = got["dropped"]
    assert dropped["rows"] > 0 and dropped["events"] >= dropped["rows"], dropped
    (row,) = (row for row in got["rows"] if row["target"] == VAULT)
    assert row["allowed"] == 2, row


@suite.test("wrong usage")
def usage(_):
    for args in (("--since", "soon"), ("--since", "5y"), ("--since", "2026-02-29T00:00:00Z"),
                 ("--since", at(5), "--until", at(5)), ("--kind", "token"), ("--decision", "no"),
                 ("--by", "color"), ("--top", "0"), ("--top", "10001"), ("--bogus",)):
        output = tool("audit", "stats", *args, status=2)
        assert "Try 'imdsgate audit stats --help'" in output.err, output.err


if __name__ == "__main__":
    suite.run()
