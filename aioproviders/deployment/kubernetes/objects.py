"""Kubernetes objects as the plain dicts that they are in JSON, and what names one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

__all__ = [
    "CHANGE_CAUSE",
    "HANDOVER",
    "HEALTHY",
    "MANAGER",
    "RELEASE",
    "RESTORER",
    "ROLLED_BACK",
    "TEMPLATE",
    "VERSION",
    "WORKLOADS",
    "Object",
    "Ref",
    "annotations_of",
    "hash_of",
    "is_applied_by_us",
    "labels_of",
]

Object = dict[str, Any]
"""An object, or a part of one: JSON, camelCase keys."""

MANAGER = "aioproviders"
"""Our field manager, and what ``app.kubernetes.io/managed-by`` says."""
HANDOVER = "aioproviders-handover"
"""The manager that holds the number of replicas from when we let go of it until the autoscaler sets it."""
RESTORER = "aioproviders-rollback"
"""The manager that holds what was brought back of a revision that is none of our releases."""
RELEASE = "aioproviders.dev/release"
"""Annotation of a workload: the hash of the release; and the type and a label of stored releases."""
VERSION = "aioproviders.dev/version"
HEALTHY = "aioproviders.dev/healthy"
ROLLED_BACK = "aioproviders.dev/rolled-back"
TEMPLATE = "aioproviders.dev/template"
"""Annotation of a workload: the hash of its pods' template as the server makes it of the release."""
CHANGE_CAUSE = "kubernetes.io/change-cause"
"""What kubectl's ``rollout history`` shows."""

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")


class Ref(NamedTuple):
    """What names an object in a cluster; the namespace is None where its kind has none."""

    api_version: str
    kind: str
    namespace: str | None
    name: str

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> Self:
        """Return what names `obj`."""
        metadata = obj["metadata"]
        return cls(obj["apiVersion"], obj["kind"], metadata.get("namespace"), metadata["name"])

    @property
    def identity(self) -> tuple[str, str, str | None, str]:
        """What it is whatever version of its kind it is named by."""
        return self.group, self.kind, self.namespace, self.name

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}"


def annotations_of(obj: Mapping[str, Any]) -> dict[str, str]:
    """Return the object's annotations; never None."""
    return obj.get("metadata", {}).get("annotations") or {}


def labels_of(obj: Mapping[str, Any]) -> dict[str, str]:
    """Return the object's labels; never None."""
    return obj.get("metadata", {}).get("labels") or {}


def is_applied_by_us(obj: Mapping[str, Any]) -> bool:
    """Whether fields of the object belong to what we have applied."""
    return any(
        entry.get("manager") == MANAGER and entry.get("operation") == "Apply"
        for entry in obj["metadata"].get("managedFields") or ()
    )


def hash_of(value: Any) -> str:
    """Return 10 hexadecimal digits that say what `value`, JSON, contains, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:10]
