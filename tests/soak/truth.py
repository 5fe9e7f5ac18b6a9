"""Who may get what, and when: what an answer has to be, judged by what was declared while its
request was under way. Pure: knows times and values, no clock and no agent. Used by soak.py."""

# Within this time after the API server was told, a change counts for every request that begins.
SETTLE_SEC = 3
# What a fault of the upstream leaves behind after its end: failures are remembered for 5 s
# (IG_TOKEN_NEGATIVE_SEC), a call that hangs ends after 20 (IG_UPSTREAM_TIMEOUT_SEC).
AFTERMATH_SEC, HANG_AFTERMATH_SEC = 7, 28
ABSENT, PRESENT, GONE = "absent", "present", "gone"
KEPT_SEC = 120  # no request lasts that long


class Timeline:
    """A value that changes. Between a change and its settling both the old and the new one hold."""

    def __init__(self, value, now=float("-inf")):
        self._changes = [(now, now, value)]  # (from, settled, value)

    @property
    def value(self):
        return self._changes[-1][2]

    def change(self, now, value):
        self._changes.append((now, now + SETTLE_SEC, value))
        while len(self._changes) > 1 and self._changes[1][1] < now - KEPT_SEC:
            self._changes.pop(0)

    def possible(self, begin, end):
        """The values that a request from begin to end may have met."""
        until = [settled for _, settled, _ in self._changes[1:]] + [float("inf")]
        return {value for (since, _, value), last in zip(self._changes, until)
                if since <= end and last >= begin}


class Disturbances:
    """Times within which an answer may be an error that is nobody's fault."""

    def __init__(self):
        self._spans = []

    def add(self, begin, end):
        self._spans = [span for span in self._spans if span[1] > begin - KEPT_SEC]
        self._spans.append((begin, end))

    def touch(self, begin, end):
        return any(since <= end and until >= begin for since, until in self._spans)


def judge(answer, presence, rules, faults, kills):
    """What is wrong with an answer: a text, or None. answer: {"begin", "end", "result", and for
    the result "ok" "status", and for status 200 "client_id"}."""
    begin, end = answer["begin"], answer["end"]
    there, allowed = presence.possible(begin, end), rules.possible(begin, end)
    if answer["result"] != "ok":
        known = there == {PRESENT} and len(allowed) == 1
        return (f"no answer ({answer['result']}) though nothing had changed"
                if known and not kills.touch(begin, end) else None)
    if answer["status"] == 200:
        if PRESENT in there and answer["client_id"] in allowed:
            return None
        return (f"WRONG token: of {answer['client_id']}, allowed was {sorted(map(str, allowed))}, "
                f"the pod was {sorted(there)}")
    if answer["status"] == 400:
        return None if None in allowed or there != {PRESENT} else "denied though it is bound"
    hurt = there != {PRESENT} or faults.touch(begin, end) or kills.touch(begin, end)
    return None if hurt else f"status {answer['status']} without a fault"
