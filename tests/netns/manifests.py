"""The manifests that the tests declare: text in, nothing clever. One namespace, "demo"; identities
are the lab's as well, so that a token can be told by its appid claim."""

import dataclasses
import json

NAMESPACE, POLICY_NAMESPACE = "demo", "imdsgate-system"


@dataclasses.dataclass(frozen=True)
class Identity:
    name: str
    client_id: str
    object_id: str

    @property
    def resource_id(self):
        return ("/subscriptions/11111111-2222-3333-4444-555555555555/resourcegroups/demo/providers/"
                f"Microsoft.ManagedIdentity/userAssignedIdentities/{self.name}")

    @property
    def lab_option(self):
        return f"{self.name},{self.client_id},{self.object_id},{self.resource_id}"


ID_A = Identity("id-a", "aaaaaaaa-0000-4000-8000-000000000001",
                "aaaaaaaa-1111-4000-8000-000000000001")
ID_B = Identity("id-b", "bbbbbbbb-0000-4000-8000-000000000002",
                "bbbbbbbb-1111-4000-8000-000000000002")
IDENTITIES = (ID_A, ID_B)


def identity(ident):
    return f"""\
apiVersion: aadpodidentity.k8s.io/v1
kind: AzureIdentity
metadata:
  name: {ident.name}
  namespace: {NAMESPACE}
spec:
  type: 0
  clientID: {ident.client_id}
  resourceID: {ident.resource_id}
"""


def binding(name, ident, selector):
    return f"""\
apiVersion: aadpodidentity.k8s.io/v1
kind: AzureIdentityBinding
metadata:
  name: {name}
  namespace: {NAMESPACE}
spec:
  azureIdentity: {ident.name}
  selector: {selector}
"""


def exception(name, labels, mode="proxy"):
    pairs = "".join(f"    {key}: {value}\n" for key, value in labels.items())
    return f"""\
apiVersion: aadpodidentity.k8s.io/v1
kind: AzurePodIdentityException
metadata:
  name: {name}
  namespace: {NAMESPACE}
  annotations:
    imdsgate.dev/exception-mode: {mode}
spec:
  podLabels:
{pairs}"""


def service_account(name, client_id):
    return f"""\
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {name}
  namespace: {NAMESPACE}
  annotations:
    azure.workload.identity/client-id: {client_id}
"""


def policy(name, namespace=NAMESPACE, **spec):
    """spec: the fields as they are in the manifest; JSON is YAML as well."""
    return json.dumps({"apiVersion": "imdsgate.dev/v1alpha1", "kind": "MetadataPolicy",
                       "metadata": {"name": name, "namespace": namespace}, "spec": spec}) + "\n"


def pod(name, uid="", cgroup="", labels=None, host_network=False):
    text = f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {NAMESPACE}\n"
    if uid:
        text += f"  uid: {uid}\n"
    if cgroup:
        text += f"  annotations:\n    imdsgate.dev/cgroup: {cgroup}\n"
    if labels:
        text += "  labels:\n" + "".join(f"    {k}: {v}\n" for k, v in labels.items())
    return text + f"spec:\n  hostNetwork: {str(host_network).lower()}\n"


def join(*documents):
    return "---\n".join(documents)
