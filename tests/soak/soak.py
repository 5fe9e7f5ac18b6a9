#!/usr/bin/python3
"""A node under everyday load for as long as one likes: `make soak MINUTES=n`. README.md says what
happens on it and what is checked.

    soak.py [--minutes N] [--seed N] [--kill-server SECONDS]

Prints TAP, a comment a minute, and the closing line of the suites; exit 0 if all is well."""

import argparse
import os
import random
import selectors
import signal
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "netns")]
# pylint: disable=wrong-import-position
from node import soak_node
from observer import Observer
from truth import AFTERMATH_SEC, HANG_AFTERMATH_SEC, Disturbances

PODS = 12          # at a time
POD_EVERY_SEC, RULE_EVERY_SEC = 1.2, 1.5
FAULT_EVERY_SEC, FAULT_SEC = 18, 2
# of the upstream; one in so many draws is "hang", whose aftermath is long
FAULTS = [{"reset": True}, {"garbage": True}, {"garbage_body": True}, {"truncate": True},
          {"huge": True}, {"delay_ms": 400}, {"fail": {"status": 429, "retry_after": 1}},
          {"fail": {"status": 500}}, {"fail": {"status": 503}}, {"hang": True}]
MOMENT_SEC = 60    # between counting everything, and lines


class Soak:
    """Does things at random until the time is over; what came of them is observer.py's affair."""

    def __init__(self, node, options):
        self._node, self._chance, self._options = node, node.chance, options
        self.faults, self.kills = Disturbances(), Disturbances()
        self.observer = Observer(node, self.faults, self.kills)
        self._selector = selectors.DefaultSelector()
        self._applications, self._undeclared, self._withdrawn = [], [], []
        self._due = []

    # -- what happens

    def _pod_comes(self, passes=None):
        application = self._node.add(passes)
        self._applications.append(application)
        self._selector.register(application, selectors.EVENT_READ)
        self.observer.came += 1
        if self._chance.random() < 0.5:
            application.declare()
        else:  # its requests are there before the API server's word of it
            self._undeclared.append(application)

    def _pod_goes(self, application):
        self._applications.remove(application)
        self._selector.unregister(application)
        self.observer.take(application, application.end())
        self.observer.ended += 1
        if application in self._withdrawn:
            self._withdrawn.remove(application)
        elif application in self._undeclared:
            self._undeclared.remove(application)
        else:
            application.withdraw()
        self._node.remove(application)

    def _churn(self):
        for application in self._withdrawn[:]:
            self._pod_goes(application)
        for application in self._undeclared[:]:
            self._undeclared.remove(application)
            application.declare()
        if len(self._applications) < PODS:
            self._pod_comes()
            return
        application = self._chance.choice(self._applications)
        if self._chance.random() < 0.3:  # it is deleted, and does not notice
            application.withdraw()
            self._withdrawn.append(application)
        else:
            self._pod_goes(application)

    def _fault(self):
        fault, now = self._chance.choice(FAULTS), time.monotonic()
        after = HANG_AFTERMATH_SEC if "hang" in fault else AFTERMATH_SEC
        self._node.world.lab.admin(**fault)
        self.faults.add(now, now + FAULT_SEC + after)
        self._at(FAULT_SEC, self._fault_ends, after)

    def _fault_ends(self, after):
        self._node.world.lab.admin(clear=True)
        self.faults.add(time.monotonic() - FAULT_SEC, time.monotonic() + after)

    def _kill(self):
        begin = time.monotonic()
        self._node.world.agent.kill_server()
        self._node.cluster.until_synced()
        self.kills.add(begin, time.monotonic() + AFTERMATH_SEC)
        self.observer.server_was_killed()

    # -- when

    def _at(self, seconds, action, *args):
        self._due.append((time.monotonic() + seconds, action, args))

    def _every(self, seconds, action):
        def again():
            action()
            self._at(seconds * self._chance.uniform(0.5, 1.5), again)
        self._at(seconds, again)

    def _pass_time(self, until):
        while (now := time.monotonic()) < until:
            for entry in [e for e in self._due if e[0] <= now]:
                self._due.remove(entry)
                entry[1](*entry[2])
            due = min([until, *(when for when, _, _ in self._due)])
            for key, _ in self._selector.select(max(0, due - time.monotonic())):
                answers = key.fileobj.read()
                assert answers is not None, f"a caller ended by itself: {key.fileobj.pod.name}"
                self.observer.take(key.fileobj, answers)
            self.observer.read_audit()

    def _warm_up(self):
        """Somebody was served and has gone: what is there from then on was made for good."""
        self._pod_comes(passes=False)
        if self._undeclared:
            self._undeclared.pop().declare()
        self._pass_time(time.monotonic() + 3)
        self._pod_goes(self._applications[0])
        self.observer.count_at_rest()

    def run(self):
        self._warm_up()
        begin, end = time.monotonic(), time.monotonic() + self._options.minutes * 60
        for _ in range(PODS):
            self._pod_comes()
        self._churn()
        self._every(POD_EVERY_SEC, self._churn)
        self._every(RULE_EVERY_SEC, self._node.change_rule)
        self._every(FAULT_EVERY_SEC, self._fault)
        self._every(1, self.observer.sample)
        if self._options.kill_server:
            self._every(self._options.kill_server, self._kill)
        while time.monotonic() < end:
            self._pass_time(min(end, time.monotonic() + MOMENT_SEC))
            self.observer.moment(self._applications)
            print("#", self.observer.line(time.monotonic() - begin), flush=True)
        self._node.world.lab.admin(clear=True)
        for application in self._applications[:]:
            self._pod_goes(application)
        self.observer.count_at_rest()


def say(verdict):
    failed = 0
    print(f"1..{len(verdict)}")
    for number, (title, complaints) in enumerate(verdict, 1):
        print(f"{'not ok' if complaints else 'ok'} {number} - {title}")
        for complaint in complaints[:20]:
            print(f"# {complaint}")
        failed += bool(complaints)
    print(f"{len(verdict) - failed} passed, {failed} failed, 0 skipped", flush=True)
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(prog="soak.py", description="a node under everyday load")
    parser.add_argument("--minutes", type=float, default=10, metavar="N", help="how long (10)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2 ** 32))
    parser.add_argument("--kill-server", type=float, metavar="SECONDS",
                        help="kill the server process about this often")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("soak.py needs root: namespaces, control groups and BPF")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the node is taken down
    print(f"# {options.minutes:g} minutes, seed {options.seed}", flush=True)
    with soak_node(options.seed) as node:
        soak = Soak(node, options)
        try:
            soak.run()
        except Exception:
            print(node.world.tails(), file=sys.stderr)
            raise
        sys.exit(say(soak.observer.verdict()))


if __name__ == "__main__":
    main()
