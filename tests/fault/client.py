"""Asks the metadata address: one JSON line in ({"path", "timeout", "headers"}), one out: result "ok"
with status and body, "closed" when the connection ended without an answer, "broken" when it ended
within one, "error" with the name of the errno. Runs in namespaces of the tests only."""

import errno
import http.client
import json
import os
import sys


def ask(request):
    connection = http.client.HTTPConnection("169.254.169.254", 80, timeout=request["timeout"])
    try:
        connection.request("GET", request["path"], headers=request["headers"])
        response = connection.getresponse()
        body = response.read()
        return {"result": "ok", "status": response.status, "body": body.decode("utf-8", "replace"),
                "retry_after": response.getheader("Retry-After")}
    except TimeoutError:
        return {"result": "timeout"}
    except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
        return {"result": "closed"}
    except http.client.HTTPException as error:
        return {"result": "broken", "what": repr(error)}
    except OSError as error:
        return {"result": "error", "errno": errno.errorcode.get(error.errno, str(error))}
    finally:
        connection.close()


def main():
    # like every client of the tests: never where there is a way out
    if str(os.stat("/proc/self/ns/net").st_ino) in os.environ["IG_FORBIDDEN_NETNS"].split(","):
        sys.exit(99)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(ask(json.loads(line))), flush=True)


main()
