"""Asking for tokens out of pods, and what has to be true of the answer at the client and in the audit.
Used by the tests beside it."""

import manifests
import workloads
from places import TOKEN_PATH

A, B = manifests.ID_A, manifests.ID_B
VAULT, STORAGE = "https://vault.azure.net", "https://storage.azure.com"


def token_path(resource=VAULT, **selector):
    return f"{TOKEN_PATH}&resource={resource}" + "".join(
        f"&{name}={value}" for name, value in selector.items())


def ask(c, pod, resource=VAULT, selector=(), **options):
    return c.dial(pod, path=token_path(resource, **dict(selector)), **options)


def bindings(namespace):
    """sel-a and sel-b are bound to one identity each, sel-ab to both."""
    pairs = (("a", A), ("b", B), ("ab", A), ("ab", B))
    return [workloads.identity(A, namespace), workloads.identity(B, namespace),
            *(workloads.binding(f"{selector}-{ident.name}", ident.name, f"sel-{selector}",
                                namespace) for selector, ident in pairs)]


def make_namespace(c, name):
    if name != "default":
        c.apply(workloads.namespace(name))
    c.wait_account(name, "default")
    c.apply(*bindings(name))


def labels(selector):
    return {"aadpodidbinding": f"sel-{selector}"}


def expect_token(c, reply, ident, pod, mark, **members):
    """The reply has the identity's token, and the audit says so of the pod."""
    client_id = ident if isinstance(ident, str) else ident.client_id
    assert reply.status == 200 and reply.appid == client_id, reply
    return c.agent.recorded("token.issued", mark, pod__name=pod, identity__client_id=client_id,
                            **members)


def expect_refusal(c, reply, status, reason, pod, mark):
    assert reply.status == status and not reply.appid, reply
    record = c.agent.recorded("token.denied", mark, pod__name=pod)
    assert record["reason"] == reason and "token" not in record, record
    return record
