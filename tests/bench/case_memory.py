"""What the two processes take: their proportional set size, with pods that are quiet, and with
tokens in the cache. Those come from Entra ID, which has no limit of calls as the node's IMDS has."""

import sys
import time

import manifests
from crowd import Crowd, pss_kib
from entra import MARK, Entra, binding, identity
from harness import IMDS, standard_world
from places import TOKEN_PATH

PODS, TOKENS = 250, 1000
SETTLE_SEC = 2  # what start-up needed is given back a little later

# One connection, a resource and so a token for each request.
ASK = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], 80, timeout=20)
for i in range(int(sys.argv[3])):
    connection.request("GET", sys.argv[2] + f"&resource=https%3A%2F%2Fvault-{i}.example",
                       headers={"Metadata": "true"})
    reply = connection.getresponse()
    reply.read()
    assert reply.status == 200, reply.status
"""


def row(bench, name, w, limit=None):
    time.sleep(SETTLE_SEC)
    monitor, server = (pss_kib(pid) / 1024 for pid in w.agent.pids())
    bench.row(f"memory of the monitor, {name}", "MiB", [monitor])
    bench.row(f"memory of the server, {name}", "MiB", [server])
    bench.row(f"memory, {name}", "MiB", [monitor + server], limit=limit)


def declare_service_principal(w):
    entra = Entra(w)
    entra.start()
    entra.put("demo/secret/clientSecret", f"{MARK} of secret\n")
    pod = w.add_pod("principal", "secret")
    w.declare()
    w.write("entra.yaml", manifests.join(identity("secret", entra.authority), binding("secret")))
    return pod, entra


def run(bench):
    with standard_world(agent=False) as w:
        pod, entra = declare_service_principal(w)
        w.agent.start(secrets=entra.secrets)
        crowd = Crowd(w)
        crowd.grow(10)
        row(bench, "10 pods", w)
        crowd.grow(PODS)
        row(bench, f"{PODS} pods", w, limit="<= 8")
        status, _, err = pod.run([sys.executable, "-S", "-c", ASK, IMDS, TOKEN_PATH, str(TOKENS)],
                                 timeout=120)
        assert status == 0, err
        assert w.agent.cli("status")["tokens"]["cached"] >= TOKENS
        row(bench, f"{PODS} pods, {TOKENS:,} tokens", w)
