#!/usr/bin/python3
"""The conformance list of the metadata protocol, case by case, as pods see it: real agent, real
pods, a lab behind. The cases are data (cases/*.yaml); README.md says how to add one.

Every `must` has to hold. A `should` that does not is written down in its case with the reason and
with what happens instead, and exactly that has to happen. A case that waits for a feature is tried
all the same: once it passes, it may not call itself pending any longer.

    test_conformance.py [NUMBER]...    these cases only
    test_conformance.py --write-docs   docs/conformance.md anew, from the cases
"""

import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "netns"))

import cases  # noqa: E402
import judge  # noqa: E402
import node  # noqa: E402
from harness import IMDS, TRACES  # noqa: E402
from places import REPO  # noqa: E402
from tap import Skip, Suite  # noqa: E402

DOCS = f"{REPO}/docs/conformance.md"
TIMEOUT_MS = 15000
POLL_SEC = 0.1
DOCS_HEAD = """\
# Conformance

How imdsgate keeps to the protocol of Azure's instance metadata service, as clients know it. Every
row is a case of `tests/conformance/`, run from real pods against the real agent; the suite fails
when this table is not what it finds. `must`: a named client or the documentation depends on it.
`should`: good to have, or not known of the real service.
"""
SLOW_TRIES = 3  # a busy machine is not the agent's fault
REQUESTS = {"get", "send", "raw", "touch", "join"}


# ---- one step -----------------------------------------------------------------------------------

def command_of(step, variables, user_agent):
    host, port = cases.fill_in(step.get("to", f"{IMDS}:80"), variables).rsplit(":", 1)
    command = {"op": "talk", "to": [host, int(port)], "timeout_ms": TIMEOUT_MS}
    if "touch" in step:
        count, *how = step["touch"].split()
        return {**command, "op": "touch", "count": int(count), "reset": how == ["reset"]}
    command["send"] = cases.request_text(step, variables, user_agent)
    if "drip" in step:
        return {**command, "op": "drip", "interval_ms": int(step["drip"])}
    if "crowd" in step:
        count, concurrency = map(int, step["crowd"].split(" at "))
        return {**command, "op": "crowd", "count": count, "concurrency": concurrency}
    expects = (step.get("expect", {}), step.get("deviation", {}).get("expect", {}))
    return {**command, "keep": step.get("keep"), "head_only": cases.method_of(step) == "HEAD",
            "see_close": any(expect.get("closed") == "yes" for expect in expects)}


class Run:
    """One case on its way: what its steps hand on to those after them."""

    def __init__(self, world, case):
        self.world, self.case = world, case
        self.variables, self.saved = dict(node.VARIABLES), {}
        self.notes, self._background, self._audit_mark = [], set(), 0

    def run(self):
        """Complaints; empty when the case holds."""
        problems, mark = [], self.world.lab.log.mark()
        self._audit_mark = self.world.agent.audit.mark()
        try:
            for number, step in enumerate(self.case.steps, 1):
                problems += [f"step {number}: {p}" for p in self._step(step)]
        finally:
            self.world.resume_server()
            self.world.end_clients(self._background)
            self.world.lab.tell('{"clear":true}')
        self.world.lab.check_untouched_by_clients(mark)
        return problems

    def _step(self, step):
        if "fill" in step:
            self.variables["fill"] = "x" * int(step["fill"])
        problems = []
        for value in step.get("each", [""]):
            self.variables["each"] = cases.fill_in(value, self.variables)
            self._prepare(step)
            if step.keys() & REQUESTS:
                problems += [f"{value[:120]!r}: {p}" if value else p for p in self._one(step)]
        return problems

    def _prepare(self, step):
        if "lab" in step:
            self.world.lab.tell(cases.fill_in(step["lab"], self.variables))
        if "agent" in step:
            self._agent_actions()[step["agent"]]()

    def _agent_actions(self):
        return {"kill server": self.world.agent.kill_server,
                "pause server": self.world.pause_server, "resume server": self.world.resume_server}

    def _client(self, step):
        name = step.get("join", step.get("background", ""))
        if name:
            self._background.add(name)
        caller = cases.fill_in(step.get("caller", "p"), self.variables)
        return self.world.client(caller, name)

    def _one(self, step):
        """One request of a step, again where waiting or a slow machine calls for it."""
        if "background" in step:
            self._client(step).post(self._command(step))
            return []
        deadline = time.monotonic() + int(step.get("until_ms", 0)) / 1000
        tries = 1
        while True:
            problems, expected = self._attempt(step)
            if expected or not problems:
                return problems
            if judge.only_slow(problems) and tries < SLOW_TRIES and "until_ms" not in step:
                tries += 1
            elif time.monotonic() >= deadline:
                return problems
            else:
                time.sleep(POLL_SEC)

    def _command(self, step):
        agent = f"{node.USER_AGENT}-node" if step.get("caller") == "node" else node.USER_AGENT
        return command_of(step, self.variables, agent)

    def _attempt(self, step):
        """(complaints, whether asking again is of no use)"""
        mark = self.world.lab.log.mark()
        client = self._client(step)
        report = client.wait() if "join" in step else client.ask(self._command(step))
        reply = judge.Reply(report, cases.method_of(step) if "join" not in step else "GET")
        problems = self._problems(step, step.get("expect", {}), reply, mark)
        self._save(step, reply)
        if "deviation" in step:
            return self._deviation(step, reply, mark, problems), True
        return problems + [f"got {reply}"] * bool(problems), False

    def _deviation(self, step, reply, mark, problems):
        if not problems:
            return ["holds: it is no deviation any longer"]
        problems = self._problems(step, step["deviation"]["expect"], reply, mark)
        if not problems:
            self.notes.append(f"deviation: {step['deviation']['reason']}")
        return [f"not even as the deviation says: {p}" for p in problems] \
            + [f"got {reply}"] * bool(problems)

    def _problems(self, step, raw_expect, reply, mark):
        expect = cases.fill_in_all(raw_expect, self.variables)
        problems = judge.problems_of(reply, expect, self.saved)
        if "upstream" in expect:
            calls = self.world.lab.upstream_calls(mark)
            if len(calls) != int(expect["upstream"]):
                problems.append(f"upstream was asked {len(calls)} times, not {expect['upstream']}")
        if "denials" in expect:
            self._wait_for_audit(step)
            denials = self.world.denials_since(self._audit_mark)
            if len(denials) != int(expect["denials"]):
                problems.append(f"recorded as an attack: {denials[:2]}")
        if expect.get("closed") == "no":
            problems += self._still_open(step)
        return problems

    def _still_open(self, step):
        """A connection is open if it can be used."""
        probe = {"get": "$B", "metadata": "none", "keep": step["keep"],
                 "expect": {"j400": "Required metadata header not specified"}}
        again = judge.Reply(self._client(step).ask(self._command(probe)))
        return judge.problems_of(again, probe["expect"], {})

    def _wait_for_audit(self, step):
        """Connections are accepted in order: once ours is recorded, those before it are."""
        request_id = f"conformance-{self.case.number}"
        self._client(step).ask(self._command({
            "get": "$B", "metadata": "none", "headers": [f"x-ms-client-request-id: {request_id}"]}))
        self.world.agent.audit.wait_for(
            lambda r: r.get("request", {}).get("request_id") == request_id, self._audit_mark)

    def _save(self, step, reply):
        for name, path in step.get("save", {}).items():
            value = reply.member(path)
            self.saved[name] = value
            if isinstance(value, str):
                self.variables[name] = value
                self.variables[f"{name}_sha256"] = judge.digest(value)


# ---- the cases as points ------------------------------------------------------------------------

def point(case):
    def check(world):
        run = Run(world, case)
        try:
            problems = run.run()
        except AssertionError as error:
            problems = [str(error)]
        if case.pending:
            assert problems, "the case holds: take its `pending` out"
            raise Skip(f"pending: {case.pending}")
        for note in run.notes:
            print(f"# {case.number}: {note}")
        assert not problems, "\n" + "\n".join(problems)
    return check


def title_of(case):
    return f"{case.number} ({case.strength}) {case.name}"


def docs_of(all_cases):
    counts = {word: sum(case.strength == word for case in all_cases) for word in ("must", "should")}
    lines = [DOCS_HEAD, f"{counts['must']} cases are a `must`, {counts['should']} a `should`.", "",
             "| | | case | for | result |", "|---|---|---|---|---|"]
    for case in all_cases:
        result = "; ".join(f"deviates: {reason}" for reason in case.deviations) or "holds"
        if case.pending:
            result = f"pending: {case.pending}"
        cells = (str(case.number), case.strength, case.name, case.clients, result)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def docs_are_current(_world):
    with open(DOCS, encoding="utf-8") as f:
        assert f.read() == docs_of(cases.load()), "write it anew: test_conformance.py --write-docs"


def main(arguments):
    all_cases = cases.load()
    if arguments == ["--write-docs"]:
        with open(DOCS, "w", encoding="utf-8") as f:
            f.write(docs_of(all_cases))
        return
    suite = Suite(node.Node, [
        ("upstream saw rebuilt requests only", lambda w: w.lab.check_untouched_by_clients()),
        ("docs/conformance.md is current", docs_are_current), *TRACES])
    for case in all_cases:
        if not arguments or str(case.number) in arguments:
            suite.test(title_of(case))(point(case))
    suite.run()


if __name__ == "__main__":
    main(sys.argv[1:])
