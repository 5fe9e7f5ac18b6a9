"""Asks Prometheus' HTTP API: api_client.py ADDRESS PATH QUERY, QUERY a JSON object. Prints the answer as it
is, {} when there is none. Runs in namespaces of the tests only."""

import http.client
import json
import os
import sys
import urllib.parse


def main():
    # like every client of the tests: never where there is a way out
    if str(os.stat("/proc/self/ns/net").st_ino) in os.environ["IG_FORBIDDEN_NETNS"].split(","):
        sys.exit(99)
    address, path, query = sys.argv[1:]
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", f"{path}?{urllib.parse.urlencode(json.loads(query))}")
        reply = connection.getresponse()
        print("{}" if reply.status == 503 else reply.read().decode())  # 503: still starting
    except OSError:
        print("{}")


main()
