#!/usr/bin/python3
"""300 pods come and go while they fetch tokens, in waves that use the names of the wave before with
other bindings. Each pod asks for an audience of its own, so that a token says for which identity
and for which pod it was meant. The clients' own logs are what counts, to their last line: they are
opened before the pods are deleted."""

import collections
import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
import agent
import cluster
import workloads
from places import Reply
from tap import Suite
from tokens import A, B, labels, make_namespace, token_path

NETNS = "/run/netns"
PODS = "/api/v1/namespaces/default/pods"
WAVES, SIZE = 6, 50
KINDS = (("a", A.client_id), ("b", B.client_id), (None, None))  # label and identity
# what a pod that is deleted may see until its processes are killed
PARTING = ("ECONNREFUSED", "ECONNRESET", "ENODATA", "EPIPE", "EPERM", "ENETUNREACH")

suite = Suite(agent.build, agent.TRACES, seconds=280)


class Client:
    """One pod of a wave, and what it says."""

    def __init__(self, c, wave, number):
        self.name, self.wave = f"churn-{number}", wave
        selector, self.appid = KINDS[(wave + number) % len(KINDS)]
        self.resource = f"https://wave-{wave}-{number}.example"
        dial = workloads.repeated(500, "plain", "--timeout", "20000", "--path",
                                  token_path(self.resource))
        body = workloads.pod(self.name, labels={"wave": str(wave),
                                                **(labels(selector) if selector else {})},
                             containers=[workloads.container(command=dial)])
        self.uid = c.api.request("POST", PODS, body)["metadata"]["uid"]
        self._log, self._rest, self.replies, self.before = None, "", [], 0

    def read(self):
        """All that it has said until now."""
        if not self._log:
            self._log = open(f"{cluster.LOGS}/default_{self.name}_{self.uid}/client/0.log",
                             encoding="utf-8")
        *whole, self._rest = (self._rest + self._log.read()).split("\n")
        for line in whole:
            if " stdout F {" in line:
                self.replies.append(Reply(json.loads(line.split(" ", 3)[3])))
        return self.replies

    def delete(self, c):
        self.read()
        self.before = len(self.replies)
        c.api.delete(f"{PODS}/{self.name}")

    def close(self):
        self.read()
        self._log.close()

    def judge(self, reply, alive):
        """What kind of answer it is; a wrong one is an error."""
        if reply.appid:
            assert reply.appid == self.appid, f"a token of another identity: {self.name}: {reply}"
            assert json.loads(reply.body)["resource"] == self.resource, f"another's: {reply}"
            return "token"
        if reply.status == 400 and not self.appid:
            return "refused"
        assert not alive, f"wave {self.wave}: {self.name}: {reply}"
        assert reply.status in (400, 503) or reply["errno"] in PARTING, reply
        return "parting"


def wait_answered(c, clients, since):
    """Until each has an answer; the agent's record of it is what wakes us up."""
    missing = {client.uid for client in clients}

    def everybody(record):
        if record["kind"] in ("token.issued", "token.denied"):
            missing.discard(record["pod"].get("uid"))
        return not missing
    try:
        c.agent.audit.wait_for(everybody, since, timeout=90)
    except AssertionError as error:
        lost = [client.name for client in clients if client.uid in missing]
        raise AssertionError(f"pods that got no answer: {lost}") from error


@suite.test("the agent is there")
def _(c):
    c.agent.install()
    make_namespace(c, "default")


@suite.test(f"{WAVES * SIZE} pods come and go: no wrong token, no lost pod")
def _(c):
    lab, first_record, started = c.lab.mark(), c.agent.audit.mark(), time.monotonic()
    everybody, wave = [], []
    for number in range(WAVES):
        mark = c.agent.audit.mark()
        for client in wave:
            client.delete(c)  # the name is free at once, the process ends when kubelet has time
        wave = [Client(c, number, i) for i in range(SIZE)]
        everybody += wave
        wait_answered(c, wave, mark)
        c.wait_pods(f"wave={number}", SIZE)
    for client in wave:
        client.delete(c)
    c.wait_pods(f"wave={WAVES - 1}", 0)
    outcomes = collections.Counter()
    for client in everybody:
        client.close()
        assert client.before, f"{client.name} of wave {client.wave} said nothing"
        for i, reply in enumerate(client.replies):
            outcomes[client.judge(reply, i < client.before)] += 1
    bound = {client.uid: client.appid for client in everybody}
    issued = c.agent.audit.find(lambda r: r["kind"] == "token.issued", first_record)
    for record in issued:
        assert bound[record["pod"]["uid"]] == record["identity"]["client_id"], record
    print(f"# {len(everybody)} pods, {sum(outcomes.values())} answers: {dict(outcomes)}; "
          f"{len(issued)} tokens recorded, {time.monotonic() - started:.0f} s")
    assert len(everybody) == WAVES * SIZE and outcomes["token"] and outcomes["refused"]
    upstream = c.lab.only_the_agent(lab)
    assert len(upstream) >= 2 * WAVES * SIZE // 3, len(upstream)


def namespaces_left():
    """containerd may leave that of a sandbox whose making or end was interrupted."""
    return [n for n in os.listdir(NETNS) if os.path.ismount(f"{NETNS}/{n}")]


@suite.test("nothing of them is left in the agent")
def _(c):
    # a request of a pod that is not known any more waits for it, for some seconds
    status = c.until(c.agent.status, lambda s: s["connections"] == 0 and s["listeners"] ==
                     1 + len(namespaces_left()), timeout=30)
    print(f"# left by the runtime: {namespaces_left()}")
    assert c.agent.pods() == {c.agent.wait()["metadata"]["name"]}, c.agent.pods()
    assert status["counters"]["flow_table_full"] == 0, status
    assert not status["audit"]["lost_kernel"], status
    assert not any(sink["lost"] for sink in status["audit"]["sinks"]), status


if __name__ == "__main__":
    cluster.run(suite)
