"""One attempt to reach a metadata address, of a kind that dial.c does not know; runs in a place that
the test made and nowhere else.

    attempt.py NAME [KEY=VALUE]…      one JSON line, with the members of dial.c's

It never decides whether an outcome is right: it reports. The attempts are in attempts/."""

import json
import signal
import sys

from attempts import gate, ring, sockets, tasks
from attempts.core import Attempt, guarded, is_confined


def find(name):
    return next(getattr(module, name) for module in (sockets, tasks, gate, ring)
                if hasattr(module, name))


def main():
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    function = find(sys.argv[1])
    attempt = Attempt(dict(word.split("=", 1) for word in sys.argv[2:]))
    is_confined()
    if function is tasks.own_netns:  # its child says it
        function(attempt)
        return
    print(json.dumps(guarded(lambda: function(attempt))), flush=True)


if __name__ == "__main__":
    main()
