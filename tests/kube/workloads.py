"""The objects that the tests run in the cluster, as dictionaries. The client image has dial.c,
which reports each attempt as one JSON line, and stay.c, which waits or runs that again and again.
Used by the tests beside cluster.py."""

import images

CLIENT = images.name_of("client:1")
PAUSE = images.name_of("pause:1")
STAY, DIAL, OTHER_DIAL = "/stay", "/dial", "/bin/dial"  # the last is a copy


def metadata(name, namespace, labels=None, annotations=None):
    return {"name": name, "namespace": namespace, "labels": labels or {},
            "annotations": annotations or {}}


def container(name="client", command=(STAY,), **more):
    return {"name": name, "image": CLIENT, "imagePullPolicy": "Never", "command": list(command),
            **more}


def repeated(milliseconds, *dial):
    """A command that dials again and again; `kubectl logs` has the replies."""
    return (STAY, str(milliseconds), DIAL, *dial)


def pod_spec(containers=None, service_account=None, host_network=False, **more):
    spec = {"containers": containers or [container()], "terminationGracePeriodSeconds": 0, **more}
    if service_account:
        spec["serviceAccountName"] = service_account
    if host_network:
        spec["hostNetwork"] = True
    return spec


def pod(name, namespace="default", labels=None, annotations=None, **spec):
    return {"apiVersion": "v1", "kind": "Pod", "spec": pod_spec(**spec),
            "metadata": metadata(name, namespace, labels, annotations)}


def deployment(name, replicas=1, namespace="default", labels=None, annotations=None, **spec):
    """The pods carry the labels and app: NAME."""
    labels = {"app": name, **(labels or {})}
    template = {"metadata": {"labels": labels, "annotations": annotations or {}},
                "spec": pod_spec(**spec)}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(name, namespace),
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
                     "template": template}}


def namespace(name):
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def service_account(name, namespace_name="default", annotations=None):
    return {"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": metadata(name, namespace_name, annotations=annotations)}


# ---- what the agent reads -----------------------------------------------------------------------

def aad(kind, name, namespace_name="default", annotations=None, **spec):
    return {"apiVersion": "aadpodidentity.k8s.io/v1", "kind": kind, "spec": spec,
            "metadata": metadata(name, namespace_name, annotations=annotations)}


def identity(ident, namespace_name="default"):
    """One of the node's, of manifests.py."""
    return aad("AzureIdentity", ident.name, namespace_name, type=0, clientID=ident.client_id,
               resourceID=ident.resource_id)


def binding(name, ident_name, selector, namespace_name="default"):
    return aad("AzureIdentityBinding", name, namespace_name, azureIdentity=ident_name,
               selector=selector)


def exception(name, labels, mode="proxy", namespace_name="default"):
    return aad("AzurePodIdentityException", name, namespace_name,
               {"imdsgate.dev/exception-mode": mode}, podLabels=labels)


def policy(name, namespace_name="default", **spec):
    return {"apiVersion": "imdsgate.dev/v1alpha1", "kind": "MetadataPolicy", "spec": spec,
            "metadata": {"name": name, "namespace": namespace_name}}


def is_ready(item):
    """Of a pod or a node."""
    conditions = item.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def container_id(pod, name="client"):
    (status,) = (s for s in pod["status"]["containerStatuses"] if s["name"] == name)
    return status["containerID"].split("//")[1]
