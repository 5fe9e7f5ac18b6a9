"""Asks the agent's own HTTP service: scrape_client.py WHERE METHOD TARGET [UID:GID], WHERE a path of a
unix socket or ADDRESS:PORT. One JSON line: status, type and body, or the name of the error, and how long it took in seconds.
Runs in namespaces of the tests only."""

import http.client
import json
import sys
import time

from inside import Connection, become, stay_inside


def main():
    stay_inside()
    where, method, target = sys.argv[1:4]
    if len(sys.argv) > 4:
        become(*map(int, sys.argv[4].split(":")))
    said, started = {}, time.monotonic()
    try:
        connection = Connection(where)
        connection.request(method, target)
        reply = connection.getresponse()
        said = {"status": reply.status, "type": reply.getheader("Content-Type"),
                "body": reply.read().decode()}
    except (OSError, http.client.HTTPException) as error:
        said["error"] = type(error).__name__
    print(json.dumps({**said, "took": time.monotonic() - started}))


main()
