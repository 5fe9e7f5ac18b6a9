"""The audit as OTLP/HTTP to a receiver that reads it as strictly as protobuf's JSON mapping says, and
that fails in the ways in which collectors fail."""

import http.server
import json
import os
import re
import threading

import kernel
from audit_files import ALL_TRACES
from harness import manifests, standard_world
from tap import Suite
from watch import Lines, event

suite = Suite(lambda: standard_world(agent=False), ALL_TRACES)
SECRET = "Bearer very-secret-0815"
UINT64 = re.compile("0|[1-9][0-9]{0,19}")


# ---- protobuf's JSON mapping, for the messages of opentelemetry.proto.collector.logs.v1 ----------

def text(value):
    assert isinstance(value, str), value


def uint64(value):
    assert isinstance(value, str) and UINT64.fullmatch(value) and int(value) < 1 << 64, value


def int64(value):
    assert isinstance(value, str) and re.fullmatch("-?(0|[1-9][0-9]*)", value), value
    assert -1 << 63 <= int(value) < 1 << 63, value


def severity(value):
    assert type(value) is int and 1 <= value <= 24, value


def boolean(value):
    assert isinstance(value, bool), value


def repeated(check):
    def every(value):
        assert isinstance(value, list), value
        for item in value:
            check(item)
    return every


def message(fields, required=(), one=False):
    def whole(value):
        assert isinstance(value, dict), value
        assert set(value) <= set(fields), f"unknown fields: {set(value) - set(fields)}"
        assert set(required) <= set(value), f"missing: {set(required) - set(value)}"
        assert not one or len(value) == 1, f"a oneof with several: {value}"
        for name, item in value.items():
            fields[name](item)
    return whole


VALUE = message({"stringValue": text, "intValue": int64, "boolValue": boolean}, one=True)
ATTRIBUTES = repeated(message({"key": text, "value": VALUE}, ("key", "value")))
RECORD = message({"timeUnixNano": uint64, "observedTimeUnixNano": uint64,
                  "severityNumber": severity, "severityText": text, "eventName": text,
                  "body": VALUE, "attributes": ATTRIBUTES},
                 ("timeUnixNano", "severityNumber", "body", "attributes"))
SCOPE_LOGS = message({"scope": message({"name": text, "version": text}, ("name",)),
                      "logRecords": repeated(RECORD)}, ("scope", "logRecords"))
REQUEST = message({"resourceLogs": repeated(message(
    {"resource": message({"attributes": ATTRIBUTES}, ("attributes",)),
     "scopeLogs": repeated(SCOPE_LOGS)}, ("resource", "scopeLogs")))}, ("resourceLogs",))


def without_duplicates(pairs):
    assert len(dict(pairs)) == len(pairs), "a member stands twice"
    return dict(pairs)


def attributes(items):
    found = {item["key"]: next(iter(item["value"].values())) for item in items}
    assert len(found) == len(items), "an attribute stands twice"
    return found


class Receiver(http.server.BaseHTTPRequestHandler):
    """Its server has: answers (what to say, in turn; then 200), records, problems, changed."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):  # pylint: disable=invalid-name
        server, body = self.server, self.rfile.read(int(self.headers["Content-Length"]))
        status, headers = server.answers.pop(0) if server.answers else (200, {})
        try:
            assert self.path == "/v1/logs", self.path
            assert self.headers["Content-Type"] == "application/json", self.headers
            assert self.headers["Authorization"] == server.authorization, "wrong credentials"
            request = json.loads(body, object_pairs_hook=without_duplicates)
            REQUEST(request)
            if status == 200:
                self.keep(request)
        except AssertionError as error:
            server.problems.append(str(error))
        self.send_response(status)
        for name, value in {"Content-Length": "2", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"{}")
        with server.changed:
            server.requests.append(status)
            server.changed.notify_all()

    def keep(self, request):
        for logs in request["resourceLogs"]:
            resource = attributes(logs["resource"]["attributes"])
            assert resource["service.name"] == "imdsgate", resource
            assert resource["host.name"] == "test-node", resource
            for scope in logs["scopeLogs"]:
                assert scope["scope"]["name"] == "imdsgate.audit", scope
                for record in scope["logRecords"]:
                    self.server.records.append((resource, record))

    def log_message(self, *_):  # pylint: disable=arguments-differ
        pass


class Collector:
    """In the agent's network namespace, on a port that the kernel chose."""

    def __init__(self, w, answers=(), port=0):
        self.w = w
        # a network namespace belongs to a thread, a socket stays in the one it was made in
        maker = threading.Thread(target=self._listen, args=(port,))
        maker.start()
        maker.join()
        self.server.answers, self.server.authorization = list(answers), SECRET
        self.server.records, self.server.problems, self.server.requests = [], [], []
        self.server.changed = threading.Condition()
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def _listen(self, port):
        fd = os.open(self.w.host_netns, os.O_RDONLY | os.O_CLOEXEC)
        kernel.setns(fd, kernel.CLONE_NEWNET)
        os.close(fd)
        self.server = http.server.HTTPServer(("127.0.0.1", port), Receiver)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1/logs"

    def wait_for_number(self, seq, timeout=20):
        with self.server.changed:
            assert self.server.changed.wait_for(lambda: seq in self.numbers(), timeout), \
                f"number {seq} does not come: {sorted(self.numbers())}"

    def wait_for_requests(self, count, timeout=20):
        with self.server.changed:
            assert self.server.changed.wait_for(
                lambda: len(self.server.requests) >= count, timeout), self.server.requests

    def numbers(self):
        return {json.loads(record["body"]["stringValue"])["seq"]
                for _, record in self.server.records}

    def stop(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def reject(w, count):
    for _ in range(count):
        assert w.pods["a"].dial(path="/nothing/here").status == 404


def sink(w):
    return [s for s in w.agent.cli("status")["audit"]["sinks"] if s["name"] == "otlp"][0]


def start_agent(w, name, url):
    path = os.path.join(w.tmp, f"{name}.jsonl")
    headers = os.path.join(w.tmp, "otlp-headers")
    with open(headers, "w", encoding="utf-8") as f:
        f.write(f"# for the collector\nAuthorization: {SECRET}\n")
    w.agent.audit = Lines(path, json.loads)
    w.agent.start(audit_file=path, audit_otlp=url, audit_otlp_headers=headers)


def finish(w, collector):
    """Stops the agent: nothing may be missing on either side."""
    assert w.agent.stop() == 0
    w.agent.audit.wait_for(event("agent.stopped"))
    collector.stop()
    assert not collector.server.problems, collector.server.problems
    written = {r["seq"]: r for r in w.agent.audit.all()}
    assert collector.numbers() == set(written), set(written) ^ collector.numbers()
    for resource, record in collector.server.records:
        check(resource, record, written)


def check(resource, record, written):
    body = json.loads(record["body"]["stringValue"])
    assert body == written[body["seq"]]
    assert resource["service.instance.id"] == body["run"]
    assert record["eventName"] == f"imdsgate.{body['kind']}", record
    wanted = {"deny": 13, "error": 17}.get(body.get("decision"), 9)
    assert record["severityNumber"] == wanted, record
    found = attributes(record["attributes"])
    assert found["imdsgate.seq"] == str(body["seq"]), found
    if "pod" in body and "name" in body["pod"]:
        assert found["k8s.pod.name"] == body["pod"]["name"], found
        assert found["k8s.namespace.name"] == body["pod"]["namespace"], found
    if "request" in body and "status" in body["request"]:
        assert found["http.response.status_code"] == str(body["request"]["status"]), found


@suite.test("every record arrives once, in the shape that collectors read")
def shape(w):
    collector = Collector(w)
    start_agent(w, "shape", collector.url)
    reject(w, 300)  # more than a batch
    assert w.pods["a"].dial().appid == manifests.ID_A.client_id
    w.pods["c"].dial()
    for pid in w.agent.pids():
        with open(f"/proc/{pid}/cmdline", encoding="utf-8") as f:
            assert "--audit-otlp-headers" in (words := f.read()) and SECRET not in words
    finish(w, collector)
    assert len(collector.server.records) == len(collector.numbers())
    assert sorted(collector.numbers()) == [
        json.loads(r["body"]["stringValue"])["seq"] for _, r in collector.server.records]


@suite.test("429 and 5xx are tried again, Retry-After is followed")
def retry(w):
    collector = Collector(w, [(429, {"Retry-After": "0"}), (503, {"Retry-After": "1"}), (502, {})])
    start_agent(w, "retry", collector.url)
    reject(w, 5)
    collector.wait_for_requests(4)
    assert collector.server.requests[:4] == [429, 503, 502, 200], collector.server.requests
    assert sink(w)["lost"] == 0, sink(w)
    finish(w, collector)


@suite.test("what the collector refuses for good is counted and reported")
def refused(w):
    collector = Collector(w, [(400, {})])
    start_agent(w, "refused", collector.url)
    collector.wait_for_requests(1)
    lost = w.agent.audit.wait_for(event("events.lost", reason="otlp"))
    assert lost["count"] >= 1 and sink(w)["lost"] == lost["count"], (lost, sink(w))
    collector.wait_for_number(lost["seq"])
    assert w.agent.stop() == 0
    collector.stop()
    missing = {r["seq"] for r in w.agent.audit.all()} - collector.numbers()
    assert missing == set(range(1, lost["count"] + 1)), missing


@suite.test("a collector that is not there delays no token; when it comes it gets everything")
def late(w):
    collector = Collector(w)
    port = collector.port
    collector.stop()
    mark = w.agent.log.mark()
    start_agent(w, "late", collector.url)
    reject(w, 20)
    w.agent.log.wait_for(lambda line: "an audit sink does not work" in line and "otlp" in line,
                         mark)
    assert w.pods["a"].dial().appid == manifests.ID_A.client_id
    assert sink(w)["state"] == "ECONNREFUSED", sink(w)
    collector = Collector(w, port=port)
    collector.wait_for_number(20)
    finish(w, collector)


@suite.test("headers are read for each request: too many are refused, and corrected ones are used")
def headers_file(w):
    collector = Collector(w)
    start_agent(w, "headers", collector.url)
    path = os.path.join(w.tmp, "otlp-headers")
    with open(path, encoding="utf-8") as f:
        good = f.read()
    for bad in ("".join(f"X-{n}: 1\n" for n in range(32)), "X: " + "x" * 16384 + "\n"):
        mark = w.agent.log.mark()
        with open(path, "w", encoding="utf-8") as f:
            f.write(bad)
        reject(w, 1)
        w.agent.log.wait_for(lambda line: '"E2BIG"' in line and "otlp" in line, mark)
        with open(path, "w", encoding="utf-8") as f:
            f.write(good)
        collector.wait_for_number(w.agent.cli("status")["audit"]["emitted"])
    finish(w, collector)


@suite.test("the credentials are in no log and no audit")
def secret(w):
    for path in (w.agent.log.path, w.agent.audit.path):
        with open(path, encoding="utf-8") as f:
            assert SECRET not in f.read()


if __name__ == "__main__":
    suite.run()
