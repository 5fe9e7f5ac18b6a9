"""What the agent tells Prometheus and probes: the numbers move as they should, nobody reaches them from
a pod's namespace, a scrape costs the gate nothing, and page, table and document are one."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys

import kernel
from exposition import PORT, Page, Watcher, ask, ask_until, scrape
from harness import IMDS, TRACES, WIRESERVER, manifests, standard_world
from places import REPO, TOKEN_PATH, Place
from tap import Skip, Suite
from watch import event

GROUP = 64930
WHERE = f"127.0.0.1:{PORT}"
A, B = manifests.ID_A.client_id, manifests.ID_B.client_id
WATCHED = """\
apiVersion: imdsgate.dev/v1alpha1
kind: MetadataPolicy
metadata: {name: only-vault, namespace: demo}
spec: {mode: Audit, allow: {resources: ["https://vault.azure.net"]}}
"""


def metrics_world():
    @contextlib.contextmanager
    def build():
        with standard_world(agent=False) as w:
            w.metrics_socket = os.path.join(w.tmp, "host", "metrics.sock")
            w.scraper = Place(w, w.host_netns, None)  # where no program is attached
            w.agent.options |= {"metrics-port": PORT, "metrics-socket": w.metrics_socket,
                                "metrics-group": GROUP}
            w.agent.start()
            w.numbers = Watcher(w.scraper, w.metrics_socket)
            yield w
    return build()


suite = Suite(metrics_world, TRACES, seconds=90)


def restart(w, **changes):
    assert w.agent.stop() == 0
    w.agent.start(**changes)


@suite.test("both ways give the page in the format of Prometheus")
def page(w):
    for where in (WHERE, w.metrics_socket):
        got = scrape(w.scraper, where)
        assert got.get("imdsgate_ready") == 1 and got.get("imdsgate_build_info") == 1
        assert got.get("imdsgate_gate_listeners") == 4, "three pods and the host"
        assert got.get("process_resident_memory_bytes") > 1 << 20
        assert set(got.help) == set(got.type)
        for name, kind in got.type.items():
            if kind == "histogram":
                buckets = [v for labels, v in got.series(f"{name}_bucket")
                           if labels.get("route", labels.get("source")) in ("token", "imds")]
                assert buckets == sorted(buckets) and len(buckets) == 18, (name, buckets)
        health = ask(w.scraper, where, "/healthz")
        del health["took"]
        assert health == {"status": 200, "type": "text/plain; charset=utf-8", "body": "ok\n"}


@suite.test("promtool has nothing against it")
def promtool(w):
    if not shutil.which("promtool"):
        raise Skip("promtool is not installed")
    text = ask(w.scraper, WHERE)["body"]
    done = subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0 and not done.stdout + done.stderr, done


# ---- who may ask what ----------------------------------------------------------------------------

@suite.test("there are two paths, and one method")
def paths(w):
    for method, target in (("GET", "/"), ("GET", "/metrics/"), ("GET", "/metrics?x=1"),
                           ("GET", "//metrics"), ("GET", "/debug/pprof"), ("POST", "/metrics"),
                           ("HEAD", "/healthz"), ("GET", TOKEN_PATH), ("GET", "/host/token")):
        assert ask(w.scraper, WHERE, target, method)["status"] == 404, (method, target)


@suite.test("the socket is for root and one group, whatever the umask of the agent is")
def socket_mode(w):
    info = os.stat(w.metrics_socket)
    assert (info.st_uid, info.st_gid, info.st_mode & 0o777) == (0, GROUP, 0o660), info
    assert ask(w.scraper, w.metrics_socket, user=f"65534:{GROUP}")["status"] == 200
    assert ask(w.scraper, w.metrics_socket, user="65534:65534")["error"] == "PermissionError"


@suite.test("from a pod's namespace nothing is reachable, nor on another address of the host")
def confined(w):
    pod = w.pods["a"]
    gateway = pod.address.rsplit(".", 1)[0] + ".1"
    for place, address in ((pod, "127.0.0.1"), (pod, gateway), (w.scraper, gateway),
                           (w.scraper, "127.0.0.2"), (w.scraper, "::1")):
        got = ask(place, f"{address}:{PORT}")
        assert got["error"] == "ConnectionRefusedError", (address, got)


@suite.test("the gate does not know these paths, and the workloads' own do not move by a scrape")
def apart(w):
    w.numbers.mark()
    assert w.pods["a"].dial(path="/metrics").status == 404
    now = w.numbers.moved(
        ("imdsgate_http_requests_total", {"route": "none", "class": "4xx"}, 1),
        ("imdsgate_http_connections_total", {}, 1))
    assert now.get("imdsgate_metrics_collections_total") > 1


# ---- what moves ----------------------------------------------------------------------------------

@suite.test("a token: kernel, request, cache, upstream, record")
def allowed(w):
    w.numbers.mark()
    path = f"{TOKEN_PATH}&resource=https://allowed.example/"
    assert w.pods["a"].dial(path=path).appid == A
    w.numbers.moved(
        ("imdsgate_kernel_events_total", {"event": "redirected"}, 1),
        ("imdsgate_kernel_events_total", {"event": "flow_published"}, 1),
        ("imdsgate_kernel_events_total", {"event": "upstream"}, "+"),
        ("imdsgate_http_connections_total", {}, 1),
        ("imdsgate_http_requests_total", {"route": "token", "class": "2xx"}, 1),
        ("imdsgate_http_requests_total", {}, 1),
        ("imdsgate_http_request_duration_seconds_count", {"route": "token"}, 1),
        ("imdsgate_http_request_duration_seconds_sum", {"route": "token"}, "+"),
        ("imdsgate_http_request_duration_seconds_bucket", {"route": "token", "le": "10"}, 1),
        ("imdsgate_token_requests_total", {"outcome": "issued"}, 1),
        ("imdsgate_token_requests_total", {}, 1),
        ("imdsgate_token_cache_requests_total", {"result": "miss"}, 1),
        ("imdsgate_token_cache_requests_total", {"result": "hit"}, 0),
        ("imdsgate_tokens_cached", {}, 1),
        ("imdsgate_upstream_calls_total", {"source": "imds", "result": "ok"}, 1),
        ("imdsgate_upstream_calls_total", {}, 1),
        ("imdsgate_upstream_duration_seconds_count", {"source": "imds"}, 1),
        ("imdsgate_upstream_duration_seconds_sum", {"source": "imds"}, "+"),
        ("imdsgate_audit_events_total", {"kind": "token.issued"}, 1),
        ("imdsgate_audit_lost_total", {}, 0))
    w.numbers.mark()
    assert w.pods["a"].dial(path=path).appid == A
    w.numbers.moved(("imdsgate_token_cache_requests_total", {"result": "hit"}, 1),
                    ("imdsgate_token_cache_requests_total", {"result": "miss"}, 0),
                    ("imdsgate_upstream_calls_total", {}, 0),
                    ("imdsgate_token_requests_total", {"outcome": "issued"}, 1))


@suite.test("refusals by reason: no identity, a bad request, an unknown path")
def denied(w):
    w.numbers.mark()
    assert w.pods["c"].dial().status == 400
    assert w.pods["a"].dial(path=f"{TOKEN_PATH}&resource=r&client_id={B}").status == 400
    assert w.pods["a"].dial(path=TOKEN_PATH).status == 400
    assert w.pods["a"].dial(path="/latest/meta-data").status == 404
    w.numbers.moved(
        ("imdsgate_token_requests_total", {"outcome": "denied_no_identity"}, 2),
        ("imdsgate_token_requests_total", {"outcome": "bad_request"}, 1),
        ("imdsgate_token_requests_total", {}, 3),
        ("imdsgate_http_requests_total", {"route": "token", "class": "4xx"}, 3),
        ("imdsgate_http_requests_total", {"route": "none", "class": "4xx"}, 1),
        ("imdsgate_audit_events_total", {"kind": "token.denied"}, 2),
        ("imdsgate_audit_events_total", {"kind": "request.rejected"}, 2),
        ("imdsgate_upstream_calls_total", {}, 0))


@suite.test("input that is no request")
def malformed(w):
    w.numbers.mark()
    raw = ("import os, socket, sys\n"
           "if str(os.stat('/proc/self/ns/net').st_ino) in os.environ['IG_FORBIDDEN_NETNS'].split(','):\n"
           "    sys.exit(99)\n"
           f"s = socket.create_connection(('{IMDS}', 80), 10)\n"
           "s.sendall(sys.argv[1].encode().decode('unicode_escape').encode())\n"
           "print(s.recv(12).decode())\n")
    for text, status in ((r"GET\r\n\r\n", "400"), ("GET /" + "x" * 9000, "414")):
        _, out, _ = w.pods["a"].run([sys.executable, "-S", "-c", raw, text])
        assert out == f"HTTP/1.1 {status}\n", out
    w.numbers.moved(("imdsgate_http_refused_total", {"reason": "malformed"}, 1),
                    ("imdsgate_http_refused_total", {"reason": "target_too_long"}, 1),
                    ("imdsgate_http_refused_total", {}, 2),
                    ("imdsgate_http_requests_total", {}, 0))


@suite.test("documents: fetched, then from the cache")
def documents(w):
    w.numbers.mark()
    path = "/metadata/instance/compute?api-version=2021-02-01"
    for _ in range(2):
        assert w.pods["a"].dial(path=path).status == 200
    assert w.pods["a"].dial(path="/metadata/attested/document?api-version=2021-02-01").status == 403
    w.numbers.moved(
        ("imdsgate_document_cache_requests_total", {"result": "miss"}, 1),
        ("imdsgate_document_cache_requests_total", {"result": "hit"}, 1),
        ("imdsgate_documents_cached", {}, 1),
        ("imdsgate_upstream_calls_total", {"source": "imds_documents", "result": "ok"}, 1),
        ("imdsgate_upstream_duration_seconds_count", {"source": "imds_documents"}, 1),
        ("imdsgate_http_requests_total", {"route": "instance", "class": "2xx"}, 2),
        ("imdsgate_http_requests_total", {"route": "attested", "class": "4xx"}, 1),
        ("imdsgate_token_requests_total", {}, 0))


@suite.test("what the kernel refuses by itself is counted there, and recorded")
def kernel_refuses(w):
    w.numbers.mark()
    assert w.pods["a"].dial("udp-connect", addr=IMDS, port=80)["result"] == "error"
    assert w.pods["a"].dial(addr=WIRESERVER, port=80).refused
    w.numbers.moved(("imdsgate_kernel_events_total", {"event": "not_tcp"}, 1),
                    ("imdsgate_kernel_events_total", {"event": "denied"}, 1),
                    ("imdsgate_kernel_events_total", {"event": "redirected"}, 0),
                    ("imdsgate_audit_events_total", {"kind": "connect.denied"}, 2),
                    ("imdsgate_http_connections_total", {}, 0))


@suite.test("what a policy in mode audit would have denied")
def would_deny(w):
    w.numbers.mark()
    w.apply("policy.yaml", WATCHED)
    assert w.pods["a"].dial(path=f"{TOKEN_PATH}&resource=https://other.example/").appid == A
    w.numbers.moved(("imdsgate_policy_would_deny_total", {}, 1),
                    ("imdsgate_objects", {"object": "MetadataPolicy"}, 1),
                    ("imdsgate_policy_epoch", {}, 1),
                    ("imdsgate_token_requests_total", {"outcome": "issued"}, 1))
    w.apply("policy.yaml", "nonsense: [", kind="policy.rejected")
    w.numbers.moved(("imdsgate_manifest_files_rejected", {}, 1),
                    ("imdsgate_audit_events_total", {"kind": "policy.rejected"}, 1),
                    ("imdsgate_objects", {"object": "MetadataPolicy"}, 1))
    w.write("policy.yaml", None)
    w.numbers.moved(("imdsgate_manifest_files_rejected", {}, 0),
                    ("imdsgate_objects", {"object": "MetadataPolicy"}, 0))


@suite.test("upstream down: failed, unavailable, and the agent is still healthy")
def upstream_down(w):
    restart(w, imds_url="http://127.0.0.1:9")
    w.numbers.mark()
    assert w.pods["a"].dial().status == 503
    assert w.pods["a"].dial(path="/metadata/instance?api-version=2021-02-01").status == 503
    w.numbers.moved(
        ("imdsgate_token_requests_total", {"outcome": "failed_unavailable"}, 1),
        ("imdsgate_token_requests_total", {"outcome": "issued"}, 0),
        ("imdsgate_upstream_calls_total", {"source": "imds", "result": "unavailable"}, 1),
        ("imdsgate_upstream_calls_total", {"source": "imds_documents", "result": "unavailable"}, 1),
        ("imdsgate_http_requests_total", {"class": "5xx"}, 2),
        ("imdsgate_audit_events_total", {"kind": "token.failed"}, 1))
    assert ask(w.scraper, WHERE, "/healthz")["status"] == 200
    restart(w)


# ---- health --------------------------------------------------------------------------------------

@suite.test("a monitor that does not answer: not enforcing, its numbers absent, the rest served")
def monitor_hangs(w):
    monitor, _ = w.agent.pids()
    os.kill(monitor, signal.SIGSTOP)
    try:
        got = ask_until(w.scraper, WHERE, "/healthz", lambda reply: reply["status"] == 503)
        assert got["body"].startswith("not enforcing"), got
        # it was waited for once, and is not for a while
        assert ask(w.scraper, WHERE)["took"] < 1.5
        now = scrape(w.scraper, WHERE)
        assert not now.series("imdsgate_kernel_events_total")
        assert now.get("imdsgate_health", check="enforcing") == now.get("imdsgate_ready") == 0
        assert now.get("imdsgate_health", check="audit") == 1
    finally:
        os.kill(monitor, signal.SIGCONT)
    ask_until(w.scraper, WHERE, "/healthz", lambda reply: reply["status"] == 200, timeout=30)
    assert scrape(w.scraper, WHERE).get("imdsgate_kernel_events_total", event="redirected") > 0


@suite.test("an audit file that takes nothing: stuck, its lines wait, and all is well when it does again")
def audit_stuck(w):
    place = os.path.join(w.tmp, "small")
    os.mkdir(place)
    kernel.mount("tmpfs", place, "size=8k,mode=0755")
    try:
        restart(w, audit_file=f"{place}/audit.jsonl")
        assert ask(w.scraper, WHERE, "/healthz")["status"] == 200
        w.numbers.mark()
        while ask(w.scraper, WHERE, "/healthz")["status"] == 200:
            assert w.pods["a"].dial().appid == A
        got = ask(w.scraper, WHERE, "/healthz")
        assert got["status"] == 503 and got["body"].startswith("audit stuck"), got
        now = w.numbers.moved(("imdsgate_audit_sink_working", {"sink": "file"}, -1),
                              ("imdsgate_audit_queue_length", {"sink": "file"}, "+"),
                              ("imdsgate_audit_sink_failures_total", {"sink": "file"}, 1),
                              ("imdsgate_health", {"check": "audit"}, -1))
        assert now.get("imdsgate_ready") == 0
        os.truncate(f"{place}/audit.jsonl", 0)
        ask_until(w.scraper, WHERE, "/healthz", lambda reply: reply["status"] == 200)
        w.numbers.moved(("imdsgate_audit_queue_length", {"sink": "file"}, 0),
                        ("imdsgate_audit_lost_total", {}, 0))
    finally:
        restart(w)
        kernel.umount(place)


@suite.test("an API server: not synced before it has answered, stale when it is gone; page, table, document")
def kubernetes(w):
    config = os.path.join(w.tmp, "host", "kubeconfig")
    api = w.host.spawn([sys.executable, "-S", f"{REPO}/tests/netns/fake_api.py"],
                       stdout=subprocess.PIPE)
    with open(config, "w", encoding="utf-8") as f:
        f.write(api.stdout.readline())
    api.send_signal(signal.SIGSTOP)
    restart(w, kubeconfig=config)
    try:
        got = ask(w.scraper, WHERE, "/healthz")
        assert got["status"] == 503 and got["body"].startswith("not synced"), got
        assert scrape(w.scraper, WHERE).get("imdsgate_kube_watch_state", object="Pod",
                                            state="listing") == 1
        api.send_signal(signal.SIGCONT)
        ask_until(w.scraper, WHERE, "/healthz", lambda reply: reply["status"] == 200)
        w.numbers.mark()
        before = w.numbers.before
        for kind in ("Pod", "ServiceAccount", "AzureIdentity", "MetadataPolicy"):
            assert before.get("imdsgate_kube_watch_state", object=kind, state="synced") == 1
            assert before.get("imdsgate_kube_watch_state", object=kind) == 1, "one state at a time"
            assert before.get("imdsgate_kube_lists_total", object=kind) == 1
            assert before.get("imdsgate_kube_watch_silence_seconds", object=kind) < 60
            assert before.get("imdsgate_kube_received_bytes_total", object=kind) > 0
        check_page_against_table(w)
        api.kill()
        w.numbers.moved(
            ("imdsgate_kube_watch_state", {"object": "Pod", "state": "stale"}, 1),
            ("imdsgate_kube_watch_state", {"object": "Pod", "state": "synced"}, -1),
            ("imdsgate_kube_errors_total", {"object": "Pod"}, "+"))
        assert ask(w.scraper, WHERE, "/healthz")["status"] == 200, "what is known goes on"
    finally:
        api.kill()
        restart(w)


# ---- limits and ends -----------------------------------------------------------------------------

@suite.test("at the limit of connections the oldest goes, and who comes is served")
def many(w):
    hold = ("import socket, sys\n"
            f"s = [socket.create_connection(('127.0.0.1', {PORT}), 10) for _ in range(20)]\n"
            "for one in s[:12]:\n"
            "    assert one.recv(1) == b'', 'the old ones are closed'\n"
            "print('held', flush=True)\n"
            "sys.stdin.read()\n")
    holder = w.scraper.spawn([sys.executable, "-S", "-c", hold], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    assert holder.stdout.readline() == "held\n"
    for where in (WHERE, w.metrics_socket):
        assert ask(w.scraper, where, "/healthz")["status"] == 200
    assert w.pods["a"].dial().appid == A
    holder.stdin.close()
    assert holder.wait(10) == 0


@suite.test("scrapes that are close together share one collection")
def shared(w):
    def collections():
        return scrape(w.scraper, WHERE).get("imdsgate_metrics_collections_total")
    burst = ("import socket, sys, time\n"
             f"s = socket.create_connection(('127.0.0.1', {PORT}), 10)\n"
             "f, started = s.makefile('rb'), time.monotonic()\n"
             "for _ in range(200):\n"
             "    s.sendall(b'GET /healthz HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')\n"
             "    assert b'200' in f.readline()\n"
             "    while f.readline() != b'\\r\\n':\n"
             "        pass\n"
             "    assert f.read(3) == b'ok\\n'\n"
             "print(time.monotonic() - started)\n")
    before = collections()
    status, out, err = w.scraper.run([sys.executable, "-S", "-c", burst])
    assert status == 0, err
    # one for each tenth of a second, and those of the scrapes around
    assert collections() - before <= float(out) / 0.1 + 4, out


@suite.test("a server that died is replaced, and tells so")
def replaced(w):
    before = scrape(w.scraper, WHERE)
    mark = w.agent.audit.mark()
    w.agent.kill_server()
    w.agent.audit.wait_for(event("agent.started"), mark)
    for where in (WHERE, w.metrics_socket):
        now = scrape(w.scraper, where)
        assert now.get("process_start_time_seconds") > before.get("process_start_time_seconds")
        assert (now.get("imdsgate_kernel_events_total", event="redirected")
                >= before.get("imdsgate_kernel_events_total", event="redirected")), "the kernel's stay"


@suite.test("without the options there is nothing; with one there is that one")
def off(w):
    restart(w, metrics_port=None, metrics_socket=None, metrics_group=None)
    for where in (WHERE, w.metrics_socket):
        assert ask(w.scraper, where)["error"] == "ConnectionRefusedError"
    restart(w, metrics_socket=None, metrics_group=None)
    assert ask(w.scraper, WHERE)["status"] == 200
    assert ask(w.scraper, w.metrics_socket)["error"] == "ConnectionRefusedError"
    restart(w, metrics_port=None)
    assert ask(w.scraper, WHERE)["error"] == "ConnectionRefusedError"
    assert ask(w.scraper, w.metrics_socket)["status"] == 200


@suite.test("on another address, and not on 127.0.0.1 any more")
def elsewhere(w):
    other = f"127.0.0.2:{PORT}"
    assert ask(w.scraper, other)["error"] == "ConnectionRefusedError"
    restart(w, metrics_address="127.0.0.2")
    assert ask(w.scraper, other, "/healthz")["status"] == 200
    assert ask(w.scraper, WHERE)["error"] == "ConnectionRefusedError"
    restart(w)


@suite.test("whoever takes the port while the agent is away does not keep the gate from serving")
def taken(w):
    assert w.agent.stop() == 0
    thief = w.host.respond(f"tcp:127.0.0.1:{PORT}")
    mark = w.agent.log.mark()
    w.agent.start()
    assert any("--metrics-port" in line for line in w.agent.log.since(mark))
    assert w.pods["a"].dial().appid == A
    assert ask(w.scraper, w.metrics_socket, "/healthz")["status"] == 200
    thief.kill()
    thief.wait(10)
    restart(w)
    assert ask(w.scraper, WHERE, "/healthz")["status"] == 200


# ---- one truth -----------------------------------------------------------------------------------

def read(path):
    with open(os.path.join(REPO, path), encoding="utf-8") as f:
        return f.read()


def table_in_code():
    """{name: (type, help)}, in order."""
    text = re.sub(r"\s*\\\n\s*", " ", read("user/agent/metrics_table.h"))
    rows = re.findall(r'X\(\w+, (\w+), (\w+), "(\w+)", (\w+), (\w+), "([^"]*)"\)', text)
    assert len(rows) == len(re.findall(r"X\(\w+, (?:COUNTER|GAUGE|HISTOGRAM),", text)) > 30
    return {name: (kind.lower(), help_) for kind, _, name, _, _, help_ in rows}


def rows_of(heading):
    """The cells of the table below a heading of the document."""
    text = read("docs/metrics.md").split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def table_in_document():
    """{name: (type, help)}, {name: labels}"""
    rows = {name.strip("`"): (kind, labels, help_)
            for name, kind, labels, help_ in rows_of("Metrics")}
    return ({name: (kind, help_) for name, (kind, _, help_) in rows.items()},
            {name: set(re.findall(r"`(\w+)`", labels)) for name, (_, labels, _) in rows.items()})


def check_page_against_table(w):
    """With everything that can have a series, so with Kubernetes."""
    got = scrape(w.scraper, WHERE)
    code = table_in_code()
    document, labels = table_in_document()
    assert list(got.help) == list(code) == list(document), "other metrics, or another order"
    assert {name: (got.type[name], got.help[name]) for name in got.help} == code == document
    for name in got.help:
        assert set(got.labels(name)) == labels[name], name
    values = {tuple(re.findall(r"`(\w+)`", metrics)) + (label.strip("`"),):
              set(re.findall(r"`([^`]+)`", words))
              for label, metrics, words in rows_of("Labels")}
    seen = set()
    for key, words in values.items():
        for name in key[:-1]:
            # a sink that is not used has no state
            have = words if name == "imdsgate_audit_sink_working" else got.labels(name)[key[-1]]
            assert have == words >= got.labels(name)[key[-1]] > set(), (name, key[-1])
            seen.add((name, key[-1]))
    assert seen == {(name, label) for name in labels for label in labels[name]
                    if (name, label) != ("imdsgate_build_info", "version")}
    outcomes = [outcome.strip("`") for outcome, _ in rows_of("Outcomes")]
    assert outcomes == [have["outcome"] for have, _ in got.series("imdsgate_token_requests_total")]


@suite.test("no series is named by anything that is declared or was sent")
def closed(w):
    text = ask(w.scraper, WHERE)["body"]
    for word in ("demo", "id-a", "sel-a", A, "example", "vault", IMDS, "test-node",
                 *(pod.uid for pod in w.pods.values() if pod.uid)):
        assert word not in text, f"{word} is in the page"
    assert Page(text).labels("imdsgate_build_info") == {"version": {
        re.search(r"(?m)^VERSION := (.*)", read("Makefile"))[1]}}


if __name__ == "__main__":
    socket.setdefaulttimeout(10)
    suite.run()
