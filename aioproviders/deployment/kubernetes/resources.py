"""Where the API server keeps objects of a kind: a table of the usual kinds, and discovery for others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import quote

from aioproviders.errors import ConfigurationError, NotFoundError

__all__ = ["Resource", "Resources", "collection_path", "object_path"]


class Resource(NamedTuple):
    """How URLs and permissions call a kind."""

    plural: str
    namespaced: bool


# Names as `kubectl api-resources` prints them; what is not here is asked of the server, once.
_NAMESPACED = {
    "v1": {
        "ConfigMap": "configmaps",
        "Event": "events",
        "LimitRange": "limitranges",
        "PersistentVolumeClaim": "persistentvolumeclaims",
        "Pod": "pods",
        "ResourceQuota": "resourcequotas",
        "Secret": "secrets",
        "Service": "services",
        "ServiceAccount": "serviceaccounts",
    },
    "apps/v1": {
        "ControllerRevision": "controllerrevisions",
        "DaemonSet": "daemonsets",
        "Deployment": "deployments",
        "ReplicaSet": "replicasets",
        "StatefulSet": "statefulsets",
    },
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "batch/v1": {"CronJob": "cronjobs", "Job": "jobs"},
    "discovery.k8s.io/v1": {"EndpointSlice": "endpointslices"},
    "events.k8s.io/v1": {"Event": "events"},
    "networking.k8s.io/v1": {"Ingress": "ingresses", "NetworkPolicy": "networkpolicies"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "rbac.authorization.k8s.io/v1": {"Role": "roles", "RoleBinding": "rolebindings"},
}
_OF_THE_CLUSTER = {
    "v1": {"Namespace": "namespaces", "Node": "nodes", "PersistentVolume": "persistentvolumes"},
    "apiextensions.k8s.io/v1": {"CustomResourceDefinition": "customresourcedefinitions"},
    "authorization.k8s.io/v1": {
        "SelfSubjectAccessReview": "selfsubjectaccessreviews",
        "SelfSubjectRulesReview": "selfsubjectrulesreviews",
    },
    "networking.k8s.io/v1": {"IngressClass": "ingressclasses"},
    "rbac.authorization.k8s.io/v1": {
        "ClusterRole": "clusterroles",
        "ClusterRoleBinding": "clusterrolebindings",
    },
    "scheduling.k8s.io/v1": {"PriorityClass": "priorityclasses"},
    "storage.k8s.io/v1": {"StorageClass": "storageclasses"},
}


class Resources:
    """The kinds that are known, those of the table and those found since.

    Args:
        discover: Reads an ``APIResourceList`` from a path; NotFoundError where there is none.
    """

    def __init__(self, discover: Callable[[str], Awaitable[dict[str, Any]]]) -> None:
        self._discover = discover
        self._found: dict[str, dict[str, Resource]] = {}

    async def of(self, api_version: str, kind: str) -> Resource:
        """Return how a kind is called.

        Raises:
            ConfigurationError: The server has no such kind.
        """
        for table, namespaced in ((_NAMESPACED, True), (_OF_THE_CLUSTER, False)):
            plural = table.get(api_version, {}).get(kind)
            if plural is not None:
                return Resource(plural, namespaced)
        found = self._found.get(api_version, {}).get(kind)
        if found is None:
            try:
                listed = await self._discover(_root(api_version))
            except NotFoundError:
                listed = {}
            self._found[api_version] = {
                str(item["kind"]): Resource(str(item["name"]), bool(item.get("namespaced")))
                for item in listed.get("resources") or ()
                if "/" not in str(item["name"])
            }
            found = self._found[api_version].get(kind)
        if found is None:
            raise ConfigurationError(f"the cluster has no kind {kind!r} in {api_version!r}", sent=False)
        return found


def collection_path(api_version: str, resource: Resource, namespace: str | None) -> str:
    """Return the path of all objects of a kind; of all namespaces where none is given."""
    scope = f"/namespaces/{quote(namespace, safe='')}" if namespace and resource.namespaced else ""
    return f"{_root(api_version)}{scope}/{resource.plural}"


def object_path(api_version: str, resource: Resource, namespace: str | None, name: str) -> str:
    """Return the path of one object."""
    return f"{collection_path(api_version, resource, namespace)}/{quote(name, safe='')}"


def _root(api_version: str) -> str:
    return f"/apis/{quote(api_version)}" if "/" in api_version else f"/api/{quote(api_version)}"
