"""The world of the conformance suite: that of the system tests with a lab that can be told to fail,
a pod for every kind of caller that the cases name, and a client that stays inside each of them.
Built once; used by test_conformance.py."""

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys

from harness import GUARDED, IMDS, Lab, World, manifests
from places import BUILD, Place
from watch import Lines, wait_ready

HERE = os.path.dirname(os.path.abspath(__file__))
A, B = manifests.ID_A, manifests.ID_B
TENANT = "33333333-4444-4555-8666-777777777777"
UNKNOWN_RESOURCE = "https://nobody.example"
# an application whose secret the operator got wrong
APP_CLIENT_ID = "eeeeeeee-0000-4000-8000-000000000001"
USER_AGENT = "igconf"  # of every request that is built here: upstream must never see it

# What the agent may ask upstream: rebuilt from parts that it understood, never passed on.
REBUILT = re.compile(
    r"/metadata/(identity/oauth2/token\?api-version=2018-02-01&resource=[A-Za-z0-9%._~-]+"
    r"(&(client_id|object_id|msi_res_id)=[A-Za-z0-9%._~-]+)?(&bypass_cache=true)?"
    r"|identity/info\?api-version=[0-9-]+"
    r"|instance(/[A-Za-z0-9_.-]+)*\?api-version=[0-9-]+(&format=(json|text))?"
    r"|attested/document\?api-version=[0-9-]+(&nonce=[A-Za-z0-9]{1,10})?"
    r"|scheduledevents\?api-version=[0-9-]+"
    r"|loadbalancer\?api-version=[0-9-]+&format=json)")
OWN_HEADERS = {"host", "user-agent", "accept", "metadata"}


class FaultyLab(Lab):
    """The lab with its admin socket, and with a resource that nobody knows."""

    def __init__(self, world):
        super().__init__(world)
        self.log = Lines(os.path.join(world.tmp, "upstream.jsonl"), json.loads)
        self._admin = socket.socket(socket.AF_UNIX)
        self.authority = None
        self._replies = None

    def start(self):
        directory = os.path.join(self.world.tmp, "identities.json")
        with open(directory, "w", encoding="utf-8") as f:
            json.dump({"tenant": TENANT, "unknown_resources": [UNKNOWN_RESOURCE], "identities": [
                {"name": i.name, "client_id": i.client_id, "object_id": i.object_id,
                 "resource_id": i.resource_id} for i in manifests.IDENTITIES] + [
                     {"name": "app", "client_id": APP_CLIENT_ID, "secret": "the right secret",
                      "object_id": "eeeeeeee-1111-4000-8000-000000000001"}]}, f)
        reader, writer = os.pipe()
        admin = os.path.join(self.world.tmp, "admin.sock")
        argv = [f"{BUILD}/tests/lab/imdsgate-lab", "--log", self.log.path, "--admin", admin,
                "--identities", directory, "--ready-fd", str(writer)]
        for address, port in GUARDED:
            argv += ["--listen", f"{address}:{port}"]
        self.place.spawn([*argv, "--listen", "127.0.0.1:0"], pass_fds=[writer])
        os.close(writer)
        addresses = wait_ready(reader).decode().split()
        assert len(addresses) == len(GUARDED) + 1, "the lab does not listen everywhere"
        self.authority = f"http://{addresses[-1]}"  # as Entra ID
        self.place.respond(f"tcp:{IMDS}:8080")
        self._admin.settimeout(10)
        self._admin.connect(admin)
        self._replies = self._admin.makefile("r", encoding="utf-8")

    def close(self):
        self._admin.close()

    def tell(self, command):
        self._admin.sendall(command.encode() + b"\n")
        reply = json.loads(self._replies.readline())
        assert reply["ok"], f"the lab does not take {command}: {reply}"
        return reply

    def settle(self):
        """The lab has one loop: after two rounds of it, what had arrived before is in the log."""
        self.tell('{"stats":true}')
        self.tell('{"stats":true}')

    def upstream_calls(self, mark):
        self.settle()
        return self.requests(mark)

    def check_untouched_by_clients(self, mark=0):
        """Nothing that a pod sent got here; the node's own processes are let through by default."""
        self.settle()
        for line in self.log.since(mark):
            assert not line["peer"].startswith("10.77."), f"a pod reached the lab: {line}"
            if line["event"] == "request":
                self._check_rebuilt(line)

    @staticmethod
    def _check_rebuilt(request):
        headers = {name.lower(): value for name, value in request["headers"].items()}
        if headers.get("user-agent") == f"{USER_AGENT}-node":
            return
        if request["target"] == f"/{TENANT}/oauth2/token":  # Entra ID
            return
        assert request["method"] == "GET" and REBUILT.fullmatch(request["target"]), request
        assert headers.keys() <= OWN_HEADERS and headers.get("metadata") == "true", request


class Client:
    """client.py in a place. post() and wait() are for what takes its time; ask() is both."""

    def __init__(self, place):
        self._process = place.spawn([sys.executable, "-S", f"{HERE}/client.py"],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def post(self, command):
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def wait(self, timeout=40):
        assert select.select([self._process.stdout], [], [], timeout)[0], "the client is silent"
        line = self._process.stdout.readline()
        assert line, f"the client ended: {self._process.wait()}"
        return json.loads(line)

    def ask(self, command):
        self.post(command)
        return self.wait()

    def end(self):
        self._process.kill()
        self._process.wait()


class Node(World):
    """Callers by the names that the cases use: see the table in README.md."""

    def _build(self):
        super()._build()
        # the lab that came with the world takes no faults: this one answers in its stead
        self.lab.place.cgroup.kill()
        self.lab = FaultyLab(self)
        self.lab.start()
        self._stack.callback(self.lab.close)
        self._clients, self._callers, self._paused = {}, {}, 0
        self._declare()
        self.agent.start()

    def _declare(self):
        self.write("identities.yaml", manifests.join(
            *(manifests.identity(ident) for ident in manifests.IDENTITIES),
            *(manifests.binding(f"bind-{selector}-{ident.name}", ident, selector)
              for selector, idents in (("only-a", (A,)), ("only-b", (B,)), ("both", (A, B)))
              for ident in idents),
            self._application()))
        p = self.add_pod("p", "only-a")
        self.add_pod("q", "only-b")
        self.add_pod("none", declared=True)
        self.add_pod("both", "both")
        self.add_pod("greedy", "only-a")
        self.add_pod("beside", "only-b", beside=p)
        self.add_pod("host", "only-b", host_network=True)
        self.add_pod("app", "app")
        self.add_pod("open", "open")
        self.write("policies.yaml", manifests.policy(
            "open", manifests.POLICY_NAMESPACE,
            podSelector={"matchLabels": {"aadpodidbinding": "open"}},
            allow={"metadataPaths": ["/metadata/attested", "/metadata/scheduledevents",
                                     "/metadata/loadbalancer"]}))
        self.declare()
        stranger = Place(self, p.netns, self.cgroup.child("stranger"))
        self._callers = {**self.pods, "stranger": stranger, "node": self.host}

    def _application(self):
        directory = os.path.join(self.tmp, "secrets", manifests.NAMESPACE, "app")
        os.makedirs(directory)
        with open(os.path.join(directory, "clientSecret"), "w", encoding="utf-8") as f:
            f.write("the wrong secret")
        self.agent.options["secrets"] = os.path.join(self.tmp, "secrets")
        return f"""\
apiVersion: aadpodidentity.k8s.io/v1
kind: AzureIdentity
metadata: {{name: app, namespace: {manifests.NAMESPACE}}}
spec:
  type: 1
  clientID: {APP_CLIENT_ID}
  tenantID: {TENANT}
  adEndpoint: {self.lab.authority}
  clientPassword: {{name: app, namespace: {manifests.NAMESPACE}}}
---
apiVersion: aadpodidentity.k8s.io/v1
kind: AzureIdentityBinding
metadata: {{name: app, namespace: {manifests.NAMESPACE}}}
spec: {{azureIdentity: app, selector: app}}
"""

    def client(self, caller, name=""):
        """The client inside a caller; one of its own for a name."""
        key = (caller, name)
        if key not in self._clients:
            self._clients[key] = Client(self._callers[caller])
        return self._clients[key]

    def end_clients(self, names):
        for key in [key for key in self._clients if key[1] in names]:
            self._clients.pop(key).end()

    def pause_server(self):
        """Connections queue up as on a busy machine, until resume_server()."""
        self._paused = self.agent.pids()[1]
        os.kill(self._paused, signal.SIGSTOP)

    def resume_server(self):
        if self._paused:
            os.kill(self._paused, signal.SIGCONT)
        self._paused = 0

    def denials_since(self, mark):
        """Audit records of what looked like an attempt to get at something."""
        return self.agent.audit.find(lambda r: r.get("decision") == "deny"
                                     and r["kind"].startswith("connect."), mark)


VARIABLES = {
    "B": "/metadata/identity/oauth2/token", "V": "api-version=2018-02-01",
    "R": "resource=https%3A%2F%2Fvault.azure.net", "tenant": TENANT,
    "unknown": "deadbeef-0000-4000-8000-000000000000",
    "c1": A.client_id, "o1": A.object_id, "a1": A.resource_id.replace("/", "%2F"),
    "c2": B.client_id, "o2": B.object_id, "a2": B.resource_id.replace("/", "%2F"),
}
