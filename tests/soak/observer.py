"""What came of it: takes answers, audit records and figures of the processes as they come, and says
in the end what was wrong. Used by soak.py."""

import collections
import json
import os
import time

import checks
import figures
from ledger import Ledger
from places import TOKEN_TEXT
from truth import PRESENT, judge

SETTLE_SEC = 15      # for listeners and entries of pods that have just come or gone
LOST_BY_A_KILL = 64  # records that were on their way to the file
SHOWN_MAX = 1000     # complaints that are kept of a kind
MONITOR, SERVER = "the monitor", "the server"


class Observer:
    def __init__(self, node, faults, kills):
        self._node, self._agent = node, node.world.agent
        self._faults, self._kills = faults, kills
        self._ledger, self._audit = Ledger(), figures.Follower(node.audit_path)
        self._pids = dict(zip((MONITOR, SERVER), self._agent.pids()))
        self._pss, self._descriptors = collections.defaultdict(list), collections.defaultdict(list)
        self._hits, self._control, self._minute = [], [], []
        self._counts, self._rest = collections.Counter(), []
        self._wrong, self._untold, self._counted = [], [], []
        self.came = self.ended = self._killed = 0

    # -- what comes

    def take(self, application, answers):
        for answer in answers:
            complaint = judge(answer, application.presence, application.rules, self._faults,
                              self._kills)
            if complaint and len(self._wrong) < SHOWN_MAX:
                self._wrong.append(f"{complaint}: {answer}")
            self._counts[answer.get("status", answer["result"])] += 1
            if answer.get("control_ms"):
                self._control.append((answer["begin"], answer["control_ms"]))
            record = self._ledger.answer(answer, application.pod.uid)
            if record:
                self._compare(answer, record)

    def read_audit(self):
        for line in self._audit.read():
            if TOKEN_TEXT.search(line.decode()):
                self._untold.append("there is a token in the audit")
            record = json.loads(line)
            if record["kind"] == "events.lost":
                self._untold.append(f"{record}")
            if record.get("request", {}).get("request_id"):
                answer = self._ledger.record(record)
                if answer:
                    self._compare(answer, record)

    def _compare(self, answer, record):
        """Latencies are those of tokens from the cache that no fault has touched."""
        begin, end = answer["begin"], answer["end"]
        if (record.get("token", {}).get("cache") == "hit" and not self._faults.touch(begin, end)
                and not self._kills.touch(begin, end)):
            self._hits.append((begin, (end - begin) * 1000))
            self._minute.append(self._hits[-1][1])

    def server_was_killed(self):
        self._killed += 1
        self._pids = dict(zip((MONITOR, SERVER), self._agent.pids()))
        self._pss.pop(SERVER, None)
        self._descriptors.pop(SERVER, None)

    # -- figures

    def sample(self):
        for name, pid in self._pids.items():
            self._pss[name].append((time.monotonic(), figures.pss_kb(pid)))

    def _settle(self, wanted):
        """What is counted, once it is as it has to be; or what it is after SETTLE_SEC."""
        deadline = time.monotonic() + SETTLE_SEC
        while True:
            status = self._agent.cli("status")
            self._agent.world.outputs.clear()  # a run may take a day
            counted = {"listeners": status["listeners"], "pods": status["objects"]["pods"],
                       **{f"map {name}": figures.map_entries(
                           f"{self._agent.world.bpffs}/imdsgate/v4/{name}") for name in
                          ("listeners", "workloads")}}
            if counted == wanted or time.monotonic() > deadline:
                return status, counted

    def moment(self, applications):
        """Under load, while no pod comes or goes. The host has a listener, too, and all pods that may
        not pass have two entries together: where kubelet keeps pods, and their QoS class below."""
        declared = [a for a in applications if a.presence.value == PRESENT]
        listeners = len(applications) + 1
        wanted = {"listeners": listeners, "pods": len(declared), "map listeners": listeners,
                  "map workloads": 2 + sum(a.passes for a in declared)}
        status, counted = self._settle(wanted)
        if counted != wanted:
            self._counted.append(f"{counted} instead of {wanted}")
        for name, own in ((MONITOR, status["listeners"]),
                          (SERVER, status["listeners"] + status["connections"])):
            number = sum(figures.descriptors(self._pids[name]).values())
            self._descriptors[name].append(number - own)

    def count_at_rest(self):
        """No pod is there."""
        wanted = {"listeners": 1, "pods": 0, "map listeners": 1, "map workloads": 2}
        _, counted = self._settle(wanted)
        counted["map flows"] = figures.map_entries(f"{self._agent.world.bpffs}/imdsgate/v4/flows")
        counted["pins"] = sum(len(names) for _, _, names in
                              os.walk(f"{self._agent.world.bpffs}/imdsgate"))
        for name, pid in self._pids.items():
            for kind, number in figures.descriptors(pid).items():
                counted[f"{name}: {kind}"] = number
        self._rest.append(counted)

    def line(self, seconds):
        minute, self._minute = self._minute, []
        latency = "no latencies" if len(minute) < 2 else "p50 {:.2f} p90 {:.2f} p99 {:.2f} ms".format(
            *checks.percentiles(minute))
        memory = " ".join(f"{series[-1][1] / 1024:.1f}" for series in self._pss.values() if series)
        counts = " ".join(f"{count} × {what}" for what, count in self._counts.most_common())
        return (f"{seconds / 60:5.1f} min: {self.came} pods came, {self.ended} went; {counts}; "
                f"{latency}; {memory} MiB; {len(self._wrong)} wrong")

    # -- the end

    def verdict(self):
        """[(what must hold, complaints)]"""
        self.read_audit()
        audit = self._ledger.close(self.ended, self._killed * LOST_BY_A_KILL) + self._untold
        if not self._killed:
            status = self._agent.cli("status")
            audit += [f"{sink}" for sink in status["audit"]["sinks"] if sink["lost"]]
        # a server that was just started grows
        lasting = [MONITOR] if self._killed else list(self._pids)
        hits, control = sorted(self._hits), sorted(self._control)
        return [
            ("every answer was right, and no token was another's", self._wrong),
            ("every answer has its audit record, and every record its request", audit),
            ("listeners and entries of maps are those of the pods that are there", self._counted),
            ("when no pod is left, nothing is left of any", checks.at_rest(*self._rest)),
            *((f"{name}'s memory is flat", checks.memory(name, self._pss[name]))
              for name in lasting),
            *((f"{name}'s descriptors are flat",
               checks.descriptors(name, self._descriptors[name])) for name in lasting),
            ("latency in the end is what it was at first", checks.latency(hits, control)),
        ]
