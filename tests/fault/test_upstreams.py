"""IMDS, Entra ID and the API server that hang, break off, trickle, lie, flood and talk nonsense, one
after the other (front.py has the list). Whoever asked gets the right answer or a clean error, others
are served meanwhile, memory stays bounded, and the next answer that is good is taken."""

import contextlib
import json
import subprocess
import sys
import time
from queue import Empty, Queue
from threading import Thread

from inject import HERE, Client, Injection, TOKEN_PATH
from injected import CLEAN, fresh
import cluster
import front
from cluster import Cluster
from entra import TENANT, Entra, binding, client_id, federated_token, identity
from harness import TRACES, manifests, standard_world
from metadata_upstream import Upstream
from places import Place
from tap import Suite

WARM_B = f"{TOKEN_PATH}&resource=https://warm.example"
A, B = manifests.ID_A.client_id, manifests.ID_B.client_id
GROWTH_KB = 32 * 1024  # of the server, over everything that is said to it
# until the deadline of the call: the clock is put forward instead of waiting
SILENT = ("hang", "hang in the headers", "hang in the body", "a byte at a time",
          "a byte of the body at a time", "TLS hang")
DEADLINE_SEC = 25
# each makes the pause before the next attempt longer
WATCH_FAULTS = ("reset in the body", "longer than it is", "a chunk of 2^64", "100 MB in chunks",
                "endless headers", "garbage", "302", "deep", "not UTF-8", "null", "no last chunk")
# what is answered right: the agent reads the body, not what stands around it
RIGHT = {"hints first", "HTTP/1.0", "more members"}


class Front:
    def __init__(self, world, name, backend):
        place = Place(world, world.host_netns, world.cgroup.child(f"front-{name}"))
        self._process = place.spawn([sys.executable, "-S", f"{HERE}/front.py", backend],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.address = f"127.0.0.1:{int(self._process.stdout.readline())}"
        self._said = {"ok": Queue(), "hit": Queue()}
        Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        with contextlib.suppress(ValueError):
            for line in self._process.stdout:
                self._said[line.strip()].put(line)

    def _tell(self, fault, match):
        self._process.stdin.write(json.dumps({"fault": fault, "match": match}) + "\n")
        self._process.stdin.flush()
        self._said["ok"].get(timeout=20)

    @contextlib.contextmanager
    def plays(self, fault, match):
        self._tell(fault, match)
        while not self._said["hit"].empty():
            self._said["hit"].get()
        try:
            yield
        finally:
            self._tell("", "")

    def wait_hit(self, seconds=20):
        try:
            self._said["hit"].get(timeout=seconds)
        except Empty:
            raise AssertionError("nobody came to the upstream") from None


@contextlib.contextmanager
def build():
    with standard_world(agent=False) as w:
        w.imds = Upstream(w)
        w.entra = Entra(w)
        w.entra.start()
        w.entra.put("demo/secret/clientSecret", "s3cr3t+&% of secret\n")
        w.cluster = Cluster(w)
        w.cluster.start()
        w.cluster.admin(up=True)
        w.fronts = {"IMDS": Front(w, "imds", w.imds.url.removeprefix("http://")),
                    "Entra ID": Front(w, "entra", w.entra.authority.removeprefix("http://"))}
        authority = f"http://{w.fronts['Entra ID'].address}"
        with open(w.cluster.kubeconfig, encoding="ascii") as f:
            text = f.read()
        behind = text.partition('server: "http://')[2].partition('"')[0]
        w.fronts["the API server"] = Front(w, "api", behind)
        with open(w.cluster.kubeconfig, "w", encoding="ascii") as f:
            f.write(text.replace(behind, w.fronts["the API server"].address))
        w.cluster.admin(tokens={"demo/fed": federated_token(int(time.time()))})
        w.cluster.put(cluster.ACCOUNTS, {"metadata": cluster.metadata("fed", annotations={
            "azure.workload.identity/client-id": client_id("fed")})})
        w.wi = w.cluster.add_pod("wi", {"azure.workload.identity/use": "true"}, account="fed")
        w.cluster.put_pod(w.wi)
        w.add_pod("secret", "secret")
        w.add_pod("tls", "tls")
        w.declare()
        w.write("entra.yaml", manifests.join(
            identity("secret", authority), binding("secret"),
            identity("secret", authority.replace("http:", "https:")).replace(
                "name: secret\n  namespace", "name: tls\n  namespace", 1),
            binding("secret").replace("name: secret", "name: tls", 1).replace(
                "azureIdentity: secret, selector: secret", "azureIdentity: tls, selector: tls")))
        w.faults = Injection(w)
        w.agent.start(imds_url=f"http://{w.fronts['IMDS'].address}", secrets=w.entra.secrets,
                      kubeconfig=w.cluster.kubeconfig, node=cluster.NODE,
                      authority_host=authority, tenant_id=TENANT)
        w.clients = {name: Client(w.pods[name]) for name in ("a", "b", "secret", "tls")}
        w.clients["wi"] = Client(w.wi)
        w.serial = 0
        assert w.clients["b"].get(WARM_B).appid == B
        w.cluster.until_synced()
        assert w.clients["wi"].get(WARM_B).appid == client_id("fed")
        w.pair = w.agent.pids()
        w.start_kb = high_water_kb(w)
        yield w


suite = Suite(build, TRACES, seconds=200)


def high_water_kb(w):
    with open(f"/proc/{w.pair[1]}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))


def judge(fault, reply, appid):
    if reply["result"] != "ok":
        return f"{reply}"
    if fault in RIGHT:
        return reply.appid != appid and f"{reply}"
    return reply.status not in CLEAN and f"{reply.status}: {reply.body[:200]}"


def ask_broken(w, upstream, pod, fault, match):
    client, point = w.clients[pod], w.fronts[upstream]
    with point.plays(fault, match):
        client.start(fresh(w), timeout=40)
        point.wait_hit()
        assert w.clients["b"].get(WARM_B).appid == B, f"{fault}: others wait"
        if fault in SILENT:
            with w.faults.server.clock(mono=DEADLINE_SEC):
                w.clients["b"].get(WARM_B)  # so that the loop looks at the clock
        return client.finish()


def sweep(w, upstream, pod, appid, match, faults=tuple(front.FAULTS)):
    wrong, before = [], high_water_kb(w)
    for fault in faults:
        complaint = judge(fault, ask_broken(w, upstream, pod, fault, match), appid)
        if complaint:
            wrong.append(f"{fault}: {complaint}")
        if appid:  # else nobody behind speaks TLS
            good = w.clients[pod].get(fresh(w), timeout=20)
            if good.appid != appid:
                wrong.append(f"after {fault}: {good}")
    grown = high_water_kb(w) - before
    print(f"# {len(faults)} faults of {upstream}, {grown} kB more")
    assert not wrong, "\n".join(wrong)
    assert grown < GROWTH_KB, f"{grown} kB more"
    assert w.agent.pids() == w.pair, "a process was replaced"


@suite.test("every fault of IMDS")
def imds(w):
    sweep(w, "IMDS", "a", A, "/oauth2/token")


@suite.test("every fault of Entra ID")
def entra(w):
    sweep(w, "Entra ID", "secret", client_id("secret"), "/oauth2/token")


@suite.test("a TLS handshake that hangs, breaks off or is none")
def tls(w):
    sweep(w, "Entra ID", "tls", None, "any",
          ("TLS hang", "TLS garbage", "TLS alert", "TLS end"))


@suite.test("every fault of the API server when it is asked for a token")
def token_request(w):
    faults = [name for name in front.FAULTS if "token" not in name and "expir" not in name
              and name not in ("more members", "two of a member", "not UTF-8")]
    sweep(w, "the API server", "wi", client_id("fed"), "/token", faults)


@suite.test("lists and watches that break off, lie and flood: what is known goes on, then all is read")
def watches(w):
    point, wrong = w.fronts["the API server"], []
    for fault in WATCH_FAULTS:
        with point.plays(fault, "/api"):
            point.wait_hit(60)
            reply = w.clients["wi"].get(WARM_B)
            if reply.appid != client_id("fed"):
                wrong.append(f"{fault}: {reply}")
    assert not wrong, "\n".join(wrong)
    assert high_water_kb(w) - w.start_kb < GROWTH_KB
    late = w.cluster.add_pod("late", {"azure.workload.identity/use": "true"}, account="fed")
    w.cluster.put_pod(late)
    w.cluster.until(lambda: w.cluster.is_known("late"), "the pod that came last is known", 60)
    assert Client(late).get(fresh(w)).appid == client_id("fed")
    assert w.agent.pids() == w.pair, "a process was replaced"


if __name__ == "__main__":
    suite.run()
