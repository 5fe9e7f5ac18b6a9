"""As test_memory.py, for tokens that come from Entra ID: by secret, by certificate (a PKCS#12 file is
read and an assertion signed), and by a token of the pod's account, for which the API server is
asked."""

import contextlib
import time

from inject import Client, Injection
import cluster
from cluster import Cluster
from entra import TENANT, Entra, binding, client_id, federated_token, identity
from harness import TRACES, manifests, standard_world
from tap import Suite
from test_memory import A, WARM, Sweep, fetch

# OpenSSL allocates thousands of times for one signature: each so manieth is enough
STEP_CERTIFICATE = 47


@contextlib.contextmanager
def build():
    with standard_world(agent=False) as w:
        w.entra = Entra(w)
        w.entra.start()
        w.entra.put("demo/secret/clientSecret", "s3cr3t+&% of secret\n")
        w.entra.put_certificate("cert")
        w.cluster = Cluster(w)
        w.cluster.start()
        w.cluster.admin(up=True)
        w.cluster.admin(tokens={"demo/fed": federated_token(int(time.time()))})
        w.cluster.put(cluster.ACCOUNTS, {"metadata": cluster.metadata("fed", annotations={
            "azure.workload.identity/client-id": client_id("fed")})})
        w.wi = w.cluster.add_pod("wi", {"azure.workload.identity/use": "true"}, account="fed")
        w.cluster.put_pod(w.wi)
        for name in ("secret", "cert"):
            w.add_pod(name, name)
        w.declare()
        w.write("entra.yaml", manifests.join(
            *(identity(name, w.entra.authority) for name in ("secret", "cert")),
            *map(binding, ("secret", "cert"))))
        w.faults = Injection(w)
        w.agent.start(secrets=w.entra.secrets, kubeconfig=w.cluster.kubeconfig, node=cluster.NODE,
                      authority_host=w.entra.authority, tenant_id=TENANT)
        w.client = Client(w.pods["a"])
        w.cluster.until_synced()
        assert w.client.get(WARM).appid == A
        w.pair = w.agent.pids()
        yield w


suite = Suite(build, TRACES, seconds=280)


def by(w, pod, name, step=1):
    client = Client(pod)
    assert client.get(WARM).appid == client_id(name)
    sweep = Sweep(w, w.faults.server, client)
    count = sweep.run(fetch(name), 200, lambda reply: reply.appid == client_id(name), step=step)
    assert count > 100 and sweep.hurt > 20


@suite.test("every allocation while a token is fetched by secret")
def secret(w):
    by(w, w.pods["secret"], "secret")


@suite.test("allocations while a token is fetched by certificate")
def certificate(w):
    by(w, w.pods["cert"], "cert", STEP_CERTIFICATE)


@suite.test("every allocation while a token is fetched by a token of the account")
def federated(w):
    by(w, w.wi, "fed")


if __name__ == "__main__":
    suite.run()
