"""Ways that are requests: bytes to the gate that are to reach the service behind it, or to be taken
for something else than they are. All are sent by the pod without a binding, so that none may bring
more than a refusal; tests/conformance says which exactly."""

from bypass.way import Way, attempt

HOST, TRUE, END = "Host: 169.254.169.254\r\n", "Metadata: true\r\n", "\r\n"
QUERY = "api-version=2018-02-01&resource=https://vault.azure.net"
TOKEN = f"/metadata/identity/oauth2/token?{QUERY}"
CLOSED = "/metadata/identity/info?api-version=2018-02-01"
HIDDEN = f"GET {TOKEN} HTTP/1.1\r\n{HOST}{TRUE}\r\n"


def get(path, headers=HOST + TRUE, version="HTTP/1.1", method="GET", body=""):
    return f"{method} {path} {version}\r\n{headers}Connection: close\r\n{END}{body}"


PATHS = {
    "upper case": f"/metadata/Identity/OAuth2/token?{QUERY}",
    "backslashes": f"/metadata/identity\\oauth2\\token?{QUERY}",
    "an encoded slash": f"/metadata/identity/oauth2%2Ftoken?{QUERY}",
    "encoded twice": f"/metadata/identity/oauth2%252Ftoken?{QUERY}",
    "an encoded question mark": f"/metadata/identity/oauth2/token%3F{QUERY}",
    "a path parameter": f"/metadata/identity/oauth2/token;x?{QUERY}",
    "dots": f"/metadata/./identity/oauth2/token?{QUERY}",
    "dots that lead up": f"/metadata/instance/../identity/oauth2/token?{QUERY}",
    "encoded dots": f"/metadata/instance/%2e%2e/identity/oauth2/token?{QUERY}",
    "two slashes": f"//metadata/identity/oauth2/token?{QUERY}",
    "a longer name": f"/metadata/identity/oauth2/tokenX?{QUERY}",
    "a path below": f"/metadata/identity/oauth2/token/extra?{QUERY}",
    "a fragment": f"/metadata/scheduledevents#/../identity/oauth2/token?{QUERY}",
    "NUL": f"/metadata/identity/oauth2/token%00.png?{QUERY}",
    "another cloud's": "/latest/meta-data/iam/security-credentials/",
    "the secrets store driver's": f"/host/token?{QUERY}",
}
REQUESTS = {
    **{f"path: {name}": get(path) for name, path in PATHS.items()},
    "an absolute target": get(f"http://169.254.169.254{TOKEN}"),
    "another service's absolute target": get("http://168.63.129.16/machine?comp=goalstate"),
    "a target without a host": get(f"http://{TOKEN}"),
    "CONNECT": get("168.63.129.16:32526", method="CONNECT"),
    "OPTIONS *": get("*", method="OPTIONS"),
    "TRACE": get(TOKEN, method="TRACE"),
    "another host": get(TOKEN, "Host: evil.example\r\n" + TRUE),
    "WireServer as host": get(TOKEN, "Host: 168.63.129.16\r\n" + TRUE),
    "two hosts": get(TOKEN, HOST + "Host: evil.example\r\n" + TRUE),
    "no host": get(TOKEN, TRUE),
    "a forwarded request": get(TOKEN, HOST + TRUE + "X-Forwarded-For: 10.77.1.2\r\n"),
    "Forwarded": get(TOKEN, HOST + TRUE + "Forwarded: for=10.77.1.2\r\n"),
    "Metadata twice": get(TOKEN, HOST + "Metadata: false\r\n" + TRUE),
    "Metadata in a folded line": get(TOKEN, HOST + "Metadata:\r\n true\r\n"),
    "on behalf of another pod": get(TOKEN, HOST + TRUE + "podns: demo\r\npodname: a\r\n"),
    "another pod's name for /host/token":
        get(f"/host/token?{QUERY}", HOST + "podns: demo\r\npodname: a\r\n"),
    "a space before the colon": get(TOKEN, HOST + "Metadata : true\r\n"),
    "a bare line feed": f"GET {TOKEN} HTTP/1.1\n{HOST}{TRUE}\n",
    "a bare carriage return": get(TOKEN, HOST + "X: a\rMetadata: true\r\n"),
    "NUL in a header": get(TOKEN, HOST + "Metadata: true\0\r\n"),
    "smuggled by length and chunks": get(
        CLOSED, HOST + TRUE + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        body="0\r\n\r\n" + HIDDEN, method="POST"),
    "smuggled by two lengths": get(
        CLOSED, HOST + TRUE + f"Content-Length: 0\r\nContent-Length: {len(HIDDEN)}\r\n",
        body=HIDDEN),
    "smuggled in a body": get(
        CLOSED, HOST + TRUE + f"Content-Length: {len(HIDDEN)}\r\n", body=HIDDEN),
    "smuggled by an unknown coding": get(
        CLOSED, HOST + TRUE + "Transfer-Encoding: xchunked\r\n", body="0\r\n\r\n" + HIDDEN),
    "smuggled in a chunk extension": get(
        CLOSED, HOST + TRUE + "Transfer-Encoding: chunked\r\n",
        body="1;a=\n\nb\r\nx\r\n0\r\n\r\n" + HIDDEN, method="POST"),
    "pipelined": f"GET {CLOSED} HTTP/1.1\r\n{HOST}{TRUE}\r\n" + get(TOKEN),
    "HTTP/0.9": f"GET {TOKEN}\r\n\r\n",
    "HTTP/1.0": get(TOKEN, TRUE, version="HTTP/1.0"),
    "HTTP/2 by force": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\0\0\0\x04\0\0\0\0\0",
    "an upgrade": get(TOKEN, HOST + TRUE + "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\n"),
    "a WebSocket": get(TOKEN, HOST + TRUE + "Upgrade: websocket\r\nSec-WebSocket-Key: eA==\r\n"),
    "a TLS handshake": "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    "the identity of another pod, by object id": get(
        f"{TOKEN}&object_id=aaaaaaaa-1111-4000-8000-000000000001"),
    "a query that says two things": get(
        f"{TOKEN}&client_id=aaaaaaaa-0000-4000-8000-000000000001&client_id="),
}


def refused(record):
    """By rule, by route or by parser; in any case it is known who asked."""
    return (record["kind"] in ("token.denied", "metadata.denied", "request.rejected")
            and record.get("pod", {}).get("name") == "c")


def request(text):
    def run(w):
        path = f"{w.tmp}/request"
        with open(path, "wb") as f:
            f.write(text.encode("latin-1"))
        return attempt("exchange_raw", file=path, timeout=3000)(w)
    return run


WAYS = tuple(Way(name, "a request", request(text), refused) for name, text in REQUESTS.items())
