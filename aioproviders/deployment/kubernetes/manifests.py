"""Reading the manifests that a config names; in a worker thread, since it reads files."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from aioproviders.deployment.kubernetes.objects import WORKLOADS, Object, Ref
from aioproviders.deployment.kubernetes.yaml_documents import Document, read_documents, read_text
from aioproviders.errors import ConfigurationError

__all__ = ["find_workload", "in_order", "place", "read_manifests", "with_images"]

_SUFFIXES = (".yaml", ".yml")
# What others need comes first; after Helm's InstallOrder (releaseutil/kind_sorter.go).
_ORDER = (
    "Namespace",
    "PriorityClass",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodSecurityPolicy",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "StatefulSet",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
)
_RANK = {kind: rank for rank, kind in enumerate(_ORDER)}


def read_manifests(paths: Iterable[Path]) -> list[tuple[str, Object]]:
    """Read files, and the ``.yaml`` and ``.yml`` files of folders, in the order of their names.

    Returns:
        Where each object stands, for errors, and the object; lists are taken apart.

    Raises:
        ConfigurationError: A file can't be read or is broken; something in it is no object; one stands twice.
    """
    found: list[tuple[str, Object]] = []
    for path in paths:
        for file in _files(path):
            for document in read_documents(read_text(file), str(file)):
                found += _objects(document)
    if not found:
        raise ConfigurationError(f"manifests: nothing is in {', '.join(map(str, paths))}")
    return found


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())
    if not files:
        raise ConfigurationError(f"manifests: the folder {path} has no .yaml or .yml file")
    return files


def _objects(document: Document) -> Iterator[tuple[str, Object]]:
    where, value = document
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where}: should be an object with apiVersion, kind and metadata")
    for key in ("apiVersion", "kind"):
        if not isinstance(value.get(key), str) or not value[key]:
            raise ConfigurationError(f"{where}: has no {key!r}")
    if value["kind"].endswith("List") and isinstance(value.get("items"), list):
        for number, item in enumerate(value["items"], 1):
            yield from _objects(Document(f"{where}, item {number}", item))
        return
    metadata = value.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        raise ConfigurationError(f"{where}: {value['kind']} has no 'metadata.name'")
    if "managedFields" in metadata:
        raise ConfigurationError(f"{where}: 'metadata.managedFields' is the server's; leave it out")
    yield where, value


def place(
    found: Iterable[tuple[str, Object]], namespace: str, namespaced: Mapping[tuple[str, str], bool]
) -> list[Object]:
    """Put the objects into a namespace.

    Args:
        found: Of `read_manifests`.
        namespace: The namespace.
        namespaced: Whether objects of an (apiVersion, kind) live in one.

    Raises:
        ConfigurationError: One says another namespace; two are the same.
    """
    placed: dict[Ref, Object] = {}
    for where, obj in found:
        metadata = dict(obj["metadata"])
        if namespaced[obj["apiVersion"], obj["kind"]]:
            said = metadata.setdefault("namespace", namespace)
            if said != namespace:
                raise ConfigurationError(
                    f"{where}: {obj['kind']}/{metadata['name']} is for namespace {said!r}, "
                    f"and the config says {namespace!r}"
                )
        else:
            metadata.pop("namespace", None)
        made = {**obj, "metadata": metadata}
        ref = Ref.of(made)
        if ref in placed:
            raise ConfigurationError(f"{where}: {ref} stands in the manifests twice")
        placed[ref] = made
    return list(placed.values())


def with_images(obj: Object, fill: Callable[[str], str]) -> Object:
    """Return an object with the images of its pods' containers filled in; where there are none, itself.

    Args:
        obj: The object, as its author wrote it.
        fill: Puts the version in the place of ``{version}``, which no image can have in its name.
    """
    inner: Any = obj
    for key in ("spec", "template", "spec"):
        inner = inner.get(key) if isinstance(inner, Mapping) else None
    if not isinstance(inner, Mapping):
        return obj
    made = copy.deepcopy(obj)
    pod = made["spec"]["template"]["spec"]
    for key in ("containers", "initContainers"):
        for container in pod.get(key) or () if isinstance(pod.get(key), list) else ():
            if isinstance(container, dict) and isinstance(container.get("image"), str):
                container["image"] = fill(container["image"])
    return made


def find_workload(objects: Iterable[Object], name: str) -> Ref:
    """Find the Deployment, StatefulSet or DaemonSet of that name.

    Raises:
        ConfigurationError: There is none, or more than one; says which there are.
    """
    workloads = [Ref.of(obj) for obj in objects if is_workload(obj)]
    named = [ref for ref in workloads if ref.name == name]
    if len(named) == 1:
        return named[0]
    known = ", ".join(map(str, workloads)) or "none"
    if named:
        raise ConfigurationError(f"manifests: several workloads are called {name!r}: {known}")
    kinds = ", ".join(WORKLOADS[:-1]) + " or " + WORKLOADS[-1]
    raise ConfigurationError(
        f"manifests: no {kinds} is called {name!r}, as the config is; there are: {known}"
    )


def is_workload(obj: Mapping[str, Any]) -> bool:
    """Whether it is of a kind that can be rolled out."""
    return obj["apiVersion"] == "apps/v1" and obj["kind"] in WORKLOADS


def in_order(objects: Iterable[Object]) -> list[Object]:
    """Sort objects so that what others need comes first; those of one kind stay as they are."""
    return sorted(objects, key=lambda obj: _RANK.get(obj["kind"], len(_ORDER)))
