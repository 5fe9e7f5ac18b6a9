"""Asks for /host/token: host_client.py WHERE COUNT POD TARGET [UID], WHERE a path of a unix socket or
ADDRESS:PORT. One JSON line: the last status and body, and how often there was which status.
Runs in namespaces of the tests only."""

import http.client
import json
import os
import sys

from inside import Connection, become, stay_inside


def main():
    stay_inside()
    where, count, pod, target = sys.argv[1], int(sys.argv[2]), *sys.argv[3:5]
    if len(sys.argv) > 5:
        become(int(sys.argv[5]), int(sys.argv[5]))
    said, seen = {"pid": os.getpid()}, {}
    try:
        connection = Connection(where)
        for _ in range(count):
            connection.request("GET", target, headers={"podns": "demo", "podname": pod})
            reply = connection.getresponse()
            said["status"], said["body"] = reply.status, reply.read().decode()
            seen[reply.status] = seen.get(reply.status, 0) + 1
    except (OSError, http.client.HTTPException) as error:
        said["error"] = type(error).__name__
    print(json.dumps({**said, "seen": seen}))


main()
