"""Candidate manifests for the tests of the policy tools."""

ALPHA, BETA = ("aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002")


def pod(name, labels=None, namespace="shop", account="cart", containers=(), host_network=False,
        phase="Running"):
    """containers: (name, id) each, as a pod's status has them."""
    pairs = "".join(f"    {key}: '{value}'\n" for key, value in (labels or {}).items())
    status = "".join(f"  - name: {c}\n    containerID: containerd://{i}\n" for c, i in containers)
    spec = "".join(f"  - name: {c}\n" for c, _ in containers)
    return (f"---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: {namespace}\n"
            + (f"  labels:\n{pairs}" if pairs else "")
            + f"spec:\n  serviceAccountName: {account}\n  hostNetwork: {str(host_network).lower()}\n"
            + (f"  containers:\n{spec}" if spec else "")
            + f"status:\n  phase: {phase}\n" + (f"  containerStatuses:\n{status}" if status else ""))


def identity(name, client_id, namespace="shop", extra=""):
    return ("---\napiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentity\n"
            f"metadata: {{name: {name}, namespace: {namespace}{extra}}}\n"
            f"spec:\n  type: 0\n  clientID: {client_id}\n  resourceID: /subscriptions/s/resourcegroups"
            f"/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}\n")


def binding(name, identity_name, selector, namespace="shop"):
    return ("---\napiVersion: aadpodidentity.k8s.io/v1\nkind: AzureIdentityBinding\n"
            f"metadata: {{name: {name}, namespace: {namespace}}}\n"
            f"spec: {{azureIdentity: {identity_name}, selector: {selector}}}\n")


def exception(name, label, value, mode="proxy", namespace="shop"):
    return ("---\napiVersion: aadpodidentity.k8s.io/v1\nkind: AzurePodIdentityException\n"
            f"metadata: {{name: {name}, namespace: {namespace}, "
            f"annotations: {{imdsgate.dev/exception-mode: {mode}}}}}\n"
            f"spec: {{podLabels: {{{label}: {value}}}}}\n")


def policy(name, spec, namespace="shop"):
    """spec: YAML in flow style, such as "{allow: {resources: []}}"."""
    return ("---\napiVersion: imdsgate.dev/v1alpha1\nkind: MetadataPolicy\n"
            f"metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n")


BASE = (identity("alpha", ALPHA) + identity("beta", BETA) + binding("alpha", "alpha", "one")
        + binding("beta", "beta", "two") + binding("both-a", "alpha", "both")
        + binding("both-b", "beta", "both"))
