"""As much of a Kubernetes API server as the agent talks to: lists, watches, PATCH of a policy's
status and of a node, TokenRequest. It runs on 127.0.0.1 of a namespace of the tests; what it says and when is
told to it on a unix socket, one JSON object a line each way (see Admin). It signs nothing: tokens of
service accounts are given to it.

    IG_API_BEARER=… api_server.py LOG ADMIN_SOCKET

prints its port once that is its own. It does not listen before it is told {"up": true}. LOG gets a
JSON line for each request; credentials are never in it.
"""

import contextlib
import json
import os
import re
import signal
import socket
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WATCH_SECONDS = 60  # unless the client asks for less
TOKEN_PATH = re.compile(r"/api/v1/namespaces/([^/]+)/serviceaccounts/([^/]+)/token")
NODE_PATH = re.compile(r"(/api/v1/nodes)/([^/]+)")
STATUS_PATH = re.compile(r"(/apis/[^/]+/[^/]+)/namespaces/([^/]+)/([^/]+)/([^/]+)/status")


class Cluster:
    """What there is. Everything is done with `changed` held."""

    def __init__(self):
        self.changed = threading.Condition()
        self.version = 100
        self.objects = {}  # resource path -> {(namespace, name): object}
        self.events = []   # (version, resource path, type, object)
        self.replies = {}  # path -> status instead of an answer
        self.held = set()  # paths that get no answer for now
        self.tokens = {}   # "namespace/account" -> token
        self.nexts = {}    # path -> what is there once it was read

    def _happened(self, path, kind, thing):
        self.version += 1
        thing["metadata"]["resourceVersion"] = str(self.version)
        self.events.append((self.version, path, kind, json.loads(json.dumps(thing))))
        self.changed.notify_all()

    def put(self, path, thing):
        key = thing["metadata"]["namespace"], thing["metadata"]["name"]
        known = self.objects.setdefault(path, {})
        kind = "MODIFIED" if key in known else "ADDED"
        known[key] = thing
        self._happened(path, kind, thing)

    def delete(self, path, namespace, name):
        self._happened(path, "DELETED", self.objects[path].pop((namespace, name)))

    def patch(self, path, namespace, name, patch):
        """(status, body)"""
        thing = self.objects.get(path, {}).get((namespace, name))
        if not thing:
            return 404, {}
        if patch["metadata"]["resourceVersion"] != thing["metadata"]["resourceVersion"]:
            return 409, {}
        self.put(path, {**thing, "status": {**thing.get("status", {}), **patch["status"]}})
        return 200, thing


    def json_patch(self, path, name, operations):
        """The operations that the agent uses, on a member of a list. All or nothing."""
        thing = json.loads(json.dumps(self.objects[path]["", name]))
        for operation in operations:
            *way, index = operation["path"].split("/")[1:]
            place = thing
            for step in way:
                place = place.get(step, [])
            if int(index) >= len(place):
                return 422, {}
            if operation["op"] == "remove":
                del place[int(index)]
            elif operation["op"] != "test" or place[int(index)] != operation["value"]:
                return 422, {}
        self.put(path, thing)
        return 200, thing


def selected(thing, query):
    """By spec.nodeName, which is all that the agent selects by."""
    selector = query.get("fieldSelector")
    if not selector:
        return True
    key, value = selector.split("=")
    assert key == "spec.nodeName", selector
    return thing["spec"]["nodeName"] == value


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):  # on stderr, by default
        pass

    def do_GET(self):
        self._serve()

    do_POST = do_PATCH = do_GET

    def _serve(self):
        path, _, query = self.path.partition("?")
        query = dict(urllib.parse.parse_qsl(query))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        authorized = self.headers.get("Authorization") == f"Bearer {self.server.bearer}"
        self.server.log({"method": self.command, "path": path, "query": query,
                         "authorized": authorized, "type": self.headers.get("Content-Type"),
                         "body": json.loads(body) if body else None})
        cluster = self.server.cluster
        with cluster.changed:
            cluster.changed.wait_for(lambda: path not in cluster.held or self.server.is_down)
            status = cluster.replies.get(path, 0 if authorized else 401)
        if status:
            self._say(status, {"kind": "Status", "message": "said by the test", "code": status})
        elif self.command == "POST":
            self._token(TOKEN_PATH.fullmatch(path))
        elif NODE_PATH.fullmatch(path):
            self._node(*NODE_PATH.fullmatch(path).groups(), json.loads(body) if body else None)
        elif self.command == "PATCH":
            self._patch(STATUS_PATH.fullmatch(path), json.loads(body))
        elif query.get("watch"):
            self._watch(path, query)
        else:
            self._list(path, query)

    def _say(self, status, reply):
        text = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _token(self, match):
        with self.server.cluster.changed:
            token = match and self.server.cluster.tokens.get("/".join(match.groups()))
        self._say(201 if token else 404, {"kind": "TokenRequest", "status": {"token": token}})

    def _node(self, path, name, patch):
        cluster = self.server.cluster
        with cluster.changed:
            if ("", name) not in cluster.objects.get(path, {}):
                status, reply = 404, {}
            elif patch is None:
                status, reply = 200, cluster.objects[path]["", name]
                if f"{path}/{name}" in cluster.nexts:
                    cluster.put(path, cluster.nexts.pop(f"{path}/{name}"))
            else:
                status, reply = cluster.json_patch(path, name, patch)
        self._say(status, reply)

    def _patch(self, match, patch):
        group, namespace, plural, name = match.groups()
        with self.server.cluster.changed:
            status, reply = self.server.cluster.patch(f"{group}/{plural}", namespace, name, patch)
        self._say(status, reply)

    def _list(self, path, query):
        cluster = self.server.cluster
        with cluster.changed:
            # elements of a list carry neither kind nor apiVersion
            items = [{k: v for k, v in thing.items() if k not in ("kind", "apiVersion")}
                     for thing in cluster.objects.get(path, {}).values() if selected(thing, query)]
            version = str(cluster.version)
        self._say(200, {"kind": "List", "apiVersion": "v1",
                        "metadata": {"resourceVersion": version}, "items": items})

    def _chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _watch(self, path, query):
        cluster, seen = self.server.cluster, int(query["resourceVersion"])
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        seconds = min(int(query["timeoutSeconds"]), WATCH_SECONDS)

        def new():
            return [e for e in cluster.events if e[0] > seen and e[1] == path]
        while True:
            with cluster.changed:
                over = not cluster.changed.wait_for(lambda: new() or self.server.is_down, seconds)
                events = new()
            if self.server.is_down:
                self.close_connection = True
                return
            for version, _, kind, thing in events:
                seen = version
                if selected(thing, query):
                    self._chunk(json.dumps({"type": kind, "object": thing}).encode() + b"\n")
            if over:
                break
        self._chunk(b"")


class ApiServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port, cluster, bearer, log_path):
        self.cluster, self.bearer, self.is_down = cluster, bearer, False
        self._log_path, self._lock, self._connections = log_path, threading.Lock(), set()
        super().__init__(("127.0.0.1", port), Handler)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):  # the agent may leave when it likes
            super().handle_error(request, client_address)

    def log(self, line):
        with self._lock, open(self._log_path, "a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")

    def process_request(self, request, client_address):
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def go_down(self):
        """Nobody listens any more, and every connection ends."""
        self.shutdown()
        self.server_close()
        with self.cluster.changed:
            self.is_down = True
            self.cluster.changed.notify_all()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class Admin:
    """{"up": true|false} {"put": PATH, "object": {}} {"delete": PATH, "namespace": "", "name": ""}
    {"reply": PATH, "status": 403|null} {"next": PATH, "object": {}} {"hold": PATH} {"release": PATH} {"tokens": {}}"""

    def __init__(self, log_path, bearer):
        self._log_path, self._bearer = log_path, bearer
        self._cluster, self._server = Cluster(), None
        with socket.socket() as s:  # the port stays ours: nothing else binds ports here
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]

    def _up(self, up):
        if up and not self._server:
            self._server = ApiServer(self.port, self._cluster, self._bearer, self._log_path)
            threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        elif not up and self._server:
            self._server.go_down()
            self._server = None

    def _cluster_command(self, command):
        cluster = self._cluster
        if "put" in command:
            cluster.put(command["put"], command["object"])
        elif "delete" in command:
            cluster.delete(command["delete"], command["namespace"], command["name"])
        elif "reply" in command:
            cluster.replies[command["reply"]] = command["status"]
        elif "next" in command:
            cluster.nexts[command["next"]] = command["object"]
        elif "hold" in command:
            cluster.held.add(command["hold"])
        elif "release" in command:
            cluster.held.discard(command["release"])
            cluster.changed.notify_all()
        else:
            cluster.tokens.update(command["tokens"])

    def obey(self, command):
        if "up" in command:
            self._up(command["up"])
            return
        with self._cluster.changed:
            self._cluster_command(command)

    def serve(self, path):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen(8)
            print(self.port, flush=True)
            while True:
                connection, _ = listener.accept()
                with connection, connection.makefile("rw") as f:
                    for line in f:
                        self.obey(json.loads(line))
                        f.write("{}\n")
                        f.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    Admin(sys.argv[1], os.environ["IG_API_BEARER"]).serve(sys.argv[2])
