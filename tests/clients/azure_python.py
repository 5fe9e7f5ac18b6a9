"""Asks for a token as Python applications on Azure do, with the real azure-identity: prints one
line of JSON, with the identity that the token was issued for instead of the token.

    python3 azure_python.py managed|default [client_id|object_id|resource_id VALUE]

Run by test_clients.py inside a pod of the test's world; never anywhere else."""

import base64
import json
import logging
import sys

from azure.identity import DefaultAzureCredential, ManagedIdentityCredential

RESOURCE = "https://vault.azure.net"


def credential(kind, selector=None, value=None):
    if kind == "default":
        if selector not in (None, "client_id"):
            raise ValueError(f"DefaultAzureCredential has no {selector}")
        return DefaultAzureCredential(**{"managed_identity_client_id": value} if selector else {})
    if selector == "client_id":
        return ManagedIdentityCredential(client_id=value)
    # the others go on the wire under the name that they have here
    names = {"object_id": "object_id", "resource_id": "msi_res_id"}
    return ManagedIdentityCredential(
        **{"identity_config": {names[selector]: value}} if selector else {})


def claims(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def main():
    logging.disable(logging.CRITICAL)  # DefaultAzureCredential logs all that it tried
    try:
        got = claims(credential(*sys.argv[1:]).get_token(f"{RESOURCE}/.default").token)
    except Exception as error:  # pylint: disable=broad-except
        print(json.dumps({"result": "error", "name": type(error).__name__, "message": str(error)}))
        sys.exit(1)
    print(json.dumps({"result": "ok", "appid": got["appid"], "aud": got["aud"]}))


if __name__ == "__main__":
    main()
