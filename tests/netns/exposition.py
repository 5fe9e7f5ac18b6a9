"""Reading what the agent says about itself: a strict parser of the exposition format for what the
agent writes, numbers by name and labels, and waiting until they are as expected. Used by the tests
of metrics."""

import json
import re
import sys
import time

from places import HERE

PORT = 9182  # of a namespace that the test made
META = re.compile(r"# (HELP|TYPE) ([a-z_0-9]+) (.*)")
SAMPLE = re.compile(r'([a-z_0-9]+)(?:\{([^}]*)\})? (\d+(?:\.\d{6})?)')
LABEL = re.compile(r'([a-z_]+)="([^"\\]*)"(?:,|$)')


class Page:
    """One scrape. Whatever the parser does not know is an error."""

    def __init__(self, text):
        self.help, self.type, self._values, family = {}, {}, {}, None
        assert text.endswith("\n")
        for line in text.splitlines():
            meta, sample = META.fullmatch(line), SAMPLE.fullmatch(line)
            if meta:
                family = meta[2]
                where = self.help if meta[1] == "HELP" else self.type
                assert family not in where, f"twice: {line}"
                where[family] = meta[3]
                continue
            assert sample, f"what is {line!r}?"
            name, labels, value = sample.groups()
            assert name == family or (self.type[family] == "histogram"
                                      and name in {family + s for s in ("_bucket", "_sum", "_count")}), line
            pairs = LABEL.findall(labels or "")
            assert ",".join(f'{k}="{v}"' for k, v in pairs) == (labels or ""), line
            key = (name, tuple(pairs))
            assert key not in self._values, f"twice: {line}"
            self._values[key] = float(value)

    def series(self, name):
        """[(labels, value)]"""
        return [(dict(labels), value) for (n, labels), value in self._values.items() if n == name]

    def get(self, name, **labels):
        """The sum over every series that has these labels; it is an error if there is none."""
        found = [value for have, value in self.series(name) if labels.items() <= have.items()]
        assert found, f"no {name}{labels}"
        return sum(found)

    def labels(self, family):
        """{label: its values}, without le."""
        names = {family, family + "_bucket"}
        found = {}
        for (name, labels), _ in self._values.items():
            if name in names:
                for key, value in labels:
                    if key != "le":
                        found.setdefault(key, set()).add(value)
        return found


def ask(place, where, target="/metrics", method="GET", user=None):
    status, out, err = place.run([sys.executable, "-S", f"{HERE}/scrape_client.py", str(where),
                                  method, target, *([user] if user else [])])
    assert status == 0, err
    return json.loads(out)


def scrape(place, where):
    reply = ask(place, where)
    assert reply.get("status") == 200, reply
    assert reply["type"] == "text/plain; version=0.0.4; charset=utf-8", reply["type"]
    return Page(reply["body"])


def ask_until(place, where, target, wanted, timeout=10):
    """Asks again until wanted(reply); the agent collects anew only so often, and counts some things
    a moment after the client has its answer."""
    deadline = time.monotonic() + timeout
    while True:
        reply = ask(place, where, target)
        if wanted(reply):
            return reply
        assert time.monotonic() < deadline, f"still {str(reply)[:2000]}"


class Watcher:
    """Says how numbers change."""

    def __init__(self, place, where):
        self._place, self._where = place, where
        self.before = None

    def mark(self):
        """From here on. The first page may have been collected a moment ago."""
        first = page = scrape(self._place, self._where)
        collections = "imdsgate_metrics_collections_total"
        while page.get(collections) == first.get(collections):
            page = scrape(self._place, self._where)
        self.before = page

    def moved(self, *expected, timeout=10):
        """Waits until each (name, labels, by how much) holds. "+": by some amount."""
        deadline = time.monotonic() + timeout
        while True:
            now = scrape(self._place, self._where)
            wrong = [(name, labels, by, got) for name, labels, by in expected
                     if not self._as_wanted(got := now.get(name, **labels)
                                            - self.before.get(name, **labels), by)]
            if not wrong:
                return now
            assert time.monotonic() < deadline, f"did not move so: {wrong}"

    @staticmethod
    def _as_wanted(got, by):
        return got > 0 if by == "+" else abs(got - by) < 1e-9
