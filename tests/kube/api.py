"""A small client of the API server for the tests: requests, and waiting for a condition by list and
watch. Never goes on after its deadline. Used by cluster.py."""

import contextlib
import http.client
import json
import ssl
import time

MERGE_PATCH = "application/merge-patch+json"
EXCHANGE = "api://AzureADTokenExchange"  # the audience that Entra wants
_GONE = 410


class ApiError(AssertionError):
    def __init__(self, status, text):
        super().__init__(f"API server: {status}: {text[:500]}")
        self.status = status


class Api:
    def __init__(self, address, port, ca_file, token):
        self._address, self._port, self._token = address, port, token
        self._tls = ssl.create_default_context(cafile=ca_file)

    def as_user(self, token):
        other = Api.__new__(Api)
        other.__dict__ = {**self.__dict__, "_token": token}
        return other

    def _open(self, method, path, body, content_type, timeout):
        connection = http.client.HTTPSConnection(self._address, self._port, timeout=timeout,
                                                 context=self._tls)
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json, */*"}
        if body is not None:
            headers["Content-Type"] = content_type
            body = json.dumps(body)
        connection.request(method, path, body, headers)
        return connection, connection.getresponse()

    def request(self, method, path, body=None, content_type="application/json", timeout=15):
        """The reply's JSON; ApiError carries the status."""
        connection, response = self._open(method, path, body, content_type, timeout)
        with contextlib.closing(connection):
            text = response.read().decode()
            if response.status >= 300:
                raise ApiError(response.status, text)
            return json.loads(text)

    def get(self, path):
        return self.request("GET", path)

    def patch(self, path, body):
        return self.request("PATCH", path, body, MERGE_PATCH)

    def delete(self, path, grace=0):
        return self.request("DELETE", path, {"gracePeriodSeconds": grace})

    # -- waiting

    def wait_ready(self, timeout=30):
        """Until the server's caches are filled: before that it refuses what RBAC allows. There is no
        event that says so; this asks again and again."""
        deadline = time.monotonic() + timeout
        while True:
            connection, response = self._open("GET", "/readyz?verbose", None, None, 10)
            with contextlib.closing(connection):
                text = response.read().decode()
            if response.status == 200:
                return
            assert time.monotonic() < deadline, f"API server not ready after {timeout} s: {text}"
            time.sleep(0.05)

    @staticmethod
    def _key(item):
        return item["metadata"].get("namespace", ""), item["metadata"]["name"]

    def _watch(self, path, version, deadline):
        """(type, object), until the server ends the watch or the time is over (TimeoutError)."""
        query = f"watch=1&resourceVersion={version}"
        connection, response = self._open("GET", path + ("&" if "?" in path else "?") + query,
                                          None, None, max(0.01, deadline - time.monotonic()))
        with contextlib.closing(connection):
            if response.status >= 300:
                raise ApiError(response.status, response.read().decode())
            sock = connection.sock or response.fp.raw._sock  # pylint: disable=protected-access
            while True:
                sock.settimeout(max(0.01, deadline - time.monotonic()))
                line = response.readline()
                if not line:
                    return
                event = json.loads(line)
                yield event["type"], event["object"]

    def _states(self, path, deadline):
        """All objects by (namespace, name), anew after each change."""
        while True:
            answer = self.get(path)
            objects = {self._key(item): item for item in answer["items"]}
            yield objects
            for kind, item in self._watch(path, answer["metadata"]["resourceVersion"], deadline):
                if kind == "ERROR":
                    if item.get("code") != _GONE:
                        raise ApiError(item.get("code"), json.dumps(item))
                    break
                if kind == "DELETED":
                    objects.pop(self._key(item), None)
                else:
                    objects[self._key(item)] = item
                yield objects

    def watch_until(self, path, version, wanted, timeout=30):
        """The object of the first event after `version` for which wanted(type, object) holds."""
        for kind, item in self._watch(path, version, time.monotonic() + timeout):
            if wanted(kind, item):
                return item
        raise AssertionError(f"the watch of {path} ended without the event")

    def wait_for(self, path, wanted, timeout=30, what="condition"):
        """Waits until wanted({(namespace, name): object}) of the collection at `path` gives
        something true, and returns that."""
        deadline, objects = time.monotonic() + timeout, {}
        with contextlib.suppress(TimeoutError):
            for objects in self._states(path, deadline):
                found = wanted(objects)
                if found:
                    return found
                if time.monotonic() > deadline:
                    break
        names = ", ".join("/".join(key).lstrip("/") for key in sorted(objects)) or "nothing"
        last = json.dumps([item.get("status") for item in objects.values()])[:2000]
        raise AssertionError(f"{what}: not within {timeout} s at {path}; there: {names}: {last}")


def status_of(function, *args):
    """The HTTP status of a request that may be refused."""
    try:
        function(*args)
    except ApiError as error:
        return error.status
    return 200


def request_token(api, namespace, account, audience=EXCHANGE, **bound):
    """A token of a ServiceAccount. bound: name and uid of the pod that it ends with."""
    spec = {"audiences": [audience], "expirationSeconds": 3600}
    if bound:
        spec["boundObjectRef"] = {"apiVersion": "v1", "kind": "Pod", **bound}
    return api.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token",
                       {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                        "spec": spec})["status"]["token"]
