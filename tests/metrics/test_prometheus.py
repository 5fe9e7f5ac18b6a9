"""Every query of the dashboard and of the rules, put to a real Prometheus that scrapes a running agent
under traffic: no error, and an answer wherever there should be one."""

import contextlib
import json
import math
import os
import re
import shutil
import subprocess
import sys

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "netns"))

from exposition import PORT  # noqa: E402
from harness import IMDS, TRACES, WIRESERVER, manifests, standard_world  # noqa: E402
from places import REPO, TOKEN_PATH, Place  # noqa: E402
from prometheus import RULES, Prometheus  # noqa: E402
from tap import Skip, Suite  # noqa: E402

DASHBOARD = os.path.join(REPO, "deploy/grafana/imdsgate.json")
A = manifests.ID_A.client_id
# what Grafana puts in: all of a variable, and an interval of at least four scrapes
GRAFANA = {"$namespace": ".*", "$node": ".*", "$__rate_interval": "30s"}
SELECTOR = re.compile(r"\b(?:imdsgate[a-z0-9_:]*|process_[a-z_]+|up)\b(?:\{[^}]*\})?")
# Quantiles of what did not happen are not a number; every other NaN is a mistake.
MAY_BE_NAN = ("histogram_quantile",)


def traffic(w):
    for path in (f"{TOKEN_PATH}&resource=https://vault.azure.net",
                 f"{TOKEN_PATH}&resource=https://vault.azure.net",
                 "/metadata/instance/compute?api-version=2021-02-01",
                 "/metadata/instance/compute?api-version=2021-02-01", "/metadata/versions"):
        assert w.pods["a"].dial(path=path).status == 200
    assert w.pods["b"].dial(path="/metadata/attested/document?api-version=2021-02-01").status == 403
    assert w.pods["b"].dial(path=f"{TOKEN_PATH}&resource=r&client_id={A}").status == 400
    assert w.pods["b"].dial(path="/nothing").status == 404
    assert w.pods["a"].dial("udp-connect", addr=IMDS, port=80)["result"] == "error"
    assert w.pods["a"].dial(addr=WIRESERVER, port=80).refused


def prometheus_world():
    @contextlib.contextmanager
    def build():
        with standard_world(agent=False) as w:
            if not shutil.which("prometheus"):
                w.prometheus = None
                yield w
                return
            api = w.host.spawn([sys.executable, "-S", f"{REPO}/tests/netns/fake_api.py"],
                               stdout=subprocess.PIPE)
            config = os.path.join(w.tmp, "host", "kubeconfig")
            with open(config, "w", encoding="utf-8") as f:
                f.write(api.stdout.readline())
            w.agent.start(metrics_port=PORT, kubeconfig=config)
            w.prometheus = Prometheus(Place(w, w.host_netns, None), w.tmp)
            w.prometheus.start()
            w.prometheus.wait_for(lambda p: p.has("count_over_time(up[1m])", 3), "scraped")
            traffic(w)
            # seen after the traffic, and evaluated after that
            for expr in ('imdsgate_audit_events_total{kind="token.issued"}',
                         'imdsgate_audit_events_total{kind="connect.denied"}'):
                w.prometheus.wait_for(lambda p, expr=expr: p.has(expr, 2), expr)
            w.prometheus.wait_for(
                lambda p: p.has("imdsgate:denials:rate10m > 0", 0), "the recording rule")
            yield w
    return build()


def no_token(w):
    if w.prometheus:
        TRACES[1][1](w)


def schema(w):
    if w.prometheus:
        TRACES[0][1](w)


suite = Suite(prometheus_world, ((TRACES[0][0], schema), (TRACES[1][0], no_token)), seconds=120)


def needs_prometheus(w):
    if not w.prometheus:
        raise Skip("prometheus is not installed")


def dashboard():
    with open(DASHBOARD, encoding="utf-8") as f:
        return json.load(f)


def filled_in(expr):
    for name, value in GRAFANA.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, f"a variable that nobody knows: {expr}"
    return expr


def queries_of_dashboard():
    """[(panel, expression)], those of rows and annotations too."""
    found = []
    for panel in dashboard()["panels"]:
        found += [(panel["title"], filled_in(target["expr"])) for target in panel.get("targets", [])]
    found += [(a["name"], filled_in(a["expr"])) for a in dashboard()["annotations"]["list"]]
    return found


def rules():
    with open(RULES, encoding="utf-8") as f:
        return [rule for group in yaml.safe_load(f)["groups"] for rule in group["rules"]]


@suite.test("the dashboard is one: ids, variables, places")
def model(w):
    board = dashboard()
    assert board["uid"] == "imdsgate" and board["id"] is None and board["title"]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)) > 30
    variables = {v["name"]: v for v in board["templating"]["list"]}
    assert {k: v["type"] for k, v in variables.items()} == {
        "datasource": "datasource", "namespace": "query", "node": "query"}
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["datasource"]["uid"] == "${datasource}" and panel["targets"], panel["title"]
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}", panel["title"]
            # whatever is chosen counts for every panel
            for selector in SELECTOR.findall(target["expr"]):
                assert 'namespace=~"$namespace"' in selector and 'node=~"$node"' in selector, selector


@suite.test("every variable of the dashboard has values")
def variables_have_values(w):
    needs_prometheus(w)
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] != "query":
            continue
        series, label = re.fullmatch(r"label_values\((.*), (\w+)\)",
                                     filled_in(variable["query"]["query"])).groups()
        values = {labels.get(label) for labels, _ in w.prometheus.query(series)}
        assert values == {{"namespace": "imdsgate-system", "node": "n1"}[label]}, variable["name"]


@suite.test("every query of the dashboard has an answer")
def dashboard_answers(w):
    needs_prometheus(w)
    queries = queries_of_dashboard()
    assert len(queries) > 40
    for panel, expr in queries:
        # only after a restart; its selectors are looked at below
        if panel == "Restarts":
            w.prometheus.query(expr)
            continue
        answer = w.prometheus.query(expr)
        assert answer, f"{panel}: nothing for {expr}"
        numbers = [value for _, value in answer if not math.isnan(value)]
        assert numbers, f"{panel}: no number for {expr}"
        assert len(numbers) == len(answer) or expr.startswith(MAY_BE_NAN), f"{panel}: {expr}"


@suite.test("every query of the rules is one, and selects something")
def rules_select(w):
    needs_prometheus(w)
    selectors = set()
    for rule in rules():
        w.prometheus.query(rule["expr"])
        selectors |= set(SELECTOR.findall(rule["expr"]))
    for _, expr in queries_of_dashboard():
        selectors |= set(SELECTOR.findall(expr))
    assert len(selectors) > 50
    for selector in sorted(selectors):
        assert w.prometheus.query(selector), f"nothing for {selector}"


@suite.test("the numbers are those of the traffic")
def numbers(w):
    needs_prometheus(w)
    for expr, expected in (
            ('imdsgate_token_requests_total{outcome="issued"}', 2),
            ('imdsgate_token_requests_total{outcome="denied_no_identity"}', 1),
            ('sum(imdsgate_audit_events_total{kind=~".*[.]denied"})', 4),
            ('imdsgate_upstream_calls_total{source="imds",result="ok"}', 1),
            ('imdsgate_kube_watch_state{object="Pod",state="synced"}', 1),
            ("count(imdsgate_kube_watch_state == 1)", 6),
            ("imdsgate_ready", 1),
            ("up", 1)):
        answer = w.prometheus.query(expr)
        assert [value for _, value in answer] == [expected], (expr, answer)


@suite.test("Prometheus has loaded every rule, evaluates them, and none fires")
def loaded(w):
    needs_prometheus(w)
    groups = w.prometheus.get("/api/v1/rules")["data"]["groups"]
    seen = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert set(seen) == {rule.get("alert") or rule["record"] for rule in rules()}
    for rule in seen.values():
        assert rule["health"] == "ok", rule
    (target,) = w.prometheus.get("/api/v1/targets")["data"]["activeTargets"]
    assert target["health"] == "up" and not target["lastError"], target
    firing = [labels for labels, _ in w.prometheus.query('ALERTS{alertstate="firing"}')]
    assert not firing, firing


@suite.test("an agent that ends is noticed")
def down(w):
    needs_prometheus(w)
    assert w.agent.stop() == 0
    expr = 'up{job="imdsgate"} == 0 or absent(up{job="imdsgate"})'
    assert expr in [rule["expr"] for rule in rules()]
    w.prometheus.wait_for(lambda p: bool(p.query(expr)), "ImdsgateDown")
    w.prometheus.wait_for(lambda p: bool(p.query(
        'ALERTS{alertname="ImdsgateDown",alertstate="pending"}')), "ImdsgateDown is pending")


if __name__ == "__main__":
    suite.run()
