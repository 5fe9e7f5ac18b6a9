"""A Kubernetes API server that declares nothing: every list is empty, every watch stays open. Prints the
kubeconfig for itself and then serves until it is killed. Runs in namespaces of the tests only."""

import http.server
import json
import os
import sys
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        group = self.path.split("?")[0].rsplit("/", 1)[0].strip("/").split("/", 1)[1]
        if "watch=" not in self.path:
            body = json.dumps({"kind": "List", "apiVersion": group, "items": [],
                               "metadata": {"resourceVersion": "7"}}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        line = json.dumps({"type": "BOOKMARK", "object": {
            "kind": "X", "apiVersion": group, "metadata": {"resourceVersion": "8"}}}).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
        self.wfile.flush()
        threading.Event().wait()

    def log_message(self, *_):
        pass


def main():
    if str(os.stat("/proc/self/ns/net").st_ino) in os.environ["IG_FORBIDDEN_NETNS"].split(","):
        sys.exit(99)
    http.server.ThreadingHTTPServer.request_queue_size = 64
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{"name": "c", "cluster":
                      {"server": f"http://127.0.0.1:{server.server_address[1]}"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}]}), flush=True)
    server.serve_forever()


main()
