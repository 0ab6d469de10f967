"""What a deploy applies, from a config: the objects in the order to apply them, and which is the workload."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from anyio import to_thread

from aioproviders.deployment.kubernetes.config import KubernetesDeploymentConfig
from aioproviders.deployment.kubernetes.containers import pod_spec, secret_of, settings_of, whole_seconds
from aioproviders.deployment.kubernetes.manifests import (
    find_workload,
    in_order,
    place,
    read_manifests,
    with_images,
)
from aioproviders.deployment.kubernetes.objects import (
    CHANGE_CAUSE,
    MANAGER,
    RELEASE,
    VERSION,
    Object,
    Ref,
    hash_of,
)
from aioproviders.deployment.kubernetes.resources import Resource
from aioproviders.errors import ConfigurationError

__all__ = ["Plan", "make_plan"]

_NAME, _MANAGED_BY, _VERSION_LABEL = (
    "app.kubernetes.io/name",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
)
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")

_SHORTEST_SECRET = 4

FindResource = Callable[[str, str], Awaitable[Resource]]


@dataclass(frozen=True)
class Plan:
    """What a release is.

    Attributes:
        release: Hash of what is applied: the same again has the same. Why it is made is no part of it.
        version: The version.
        change_cause: Why it is made.
        workload: What status, scale and rollback are about.
        objects: All objects, in the order to apply them; the workload among them.
        replicas_given: Whether their number is meant, or only a default.
    """

    release: str
    version: str
    change_cause: str | None
    workload: Ref
    objects: tuple[Object, ...]
    replicas_given: bool = field(default=True, compare=False)

    @property
    def refs(self) -> tuple[Ref, ...]:
        """What names the objects."""
        return tuple(map(Ref.of, self.objects))

    @property
    def workload_object(self) -> Object:
        """The workload as it is applied."""
        return next(obj for obj in self.objects if Ref.of(obj) == self.workload)

    @property
    def defined_kinds(self) -> frozenset[tuple[str, str]]:
        """Groups and kinds that CustomResourceDefinitions among the objects define."""
        specs = (obj.get("spec") or {} for obj in self.objects if obj["kind"] == "CustomResourceDefinition")
        return frozenset(
            (str(spec.get("group")), str((spec.get("names") or {}).get("kind"))) for spec in specs
        )

    @property
    def images(self) -> tuple[str, ...]:
        """The images of the workload's containers."""
        pod = self.workload_object.get("spec", {}).get("template", {}).get("spec", {})
        return tuple(container["image"] for container in pod.get("containers") or () if "image" in container)

    @property
    def secrets(self) -> frozenset[str]:
        """What the Secrets among the objects hold, as far as that is text."""
        found: set[str] = set()
        for obj in self.objects:
            if obj["kind"] != "Secret":
                continue
            for part, value in (*_items(obj, "stringData"), *_items(obj, "data")):
                found.add(value if part == "stringData" else _decoded(value))
        # Masking what is shorter would leave little of any message.
        return frozenset(text for text in found if len(text) >= _SHORTEST_SECRET)

    @classmethod
    def of(cls, objects: Sequence[Object], workload: Ref, version: str, change_cause: str | None) -> Plan:
        """Make the plan of objects; the workload is told version, cause and release in its annotations."""
        told = [
            _annotated(obj, {VERSION: version}) if Ref.of(obj) == workload else obj
            for obj in in_order(objects)
        ]
        release = hash_of(told)
        # On the workload and not in its pod template: there it would make new pods. The Deployment's
        # controller copies it to the ReplicaSet, which is how a release is found again.
        notes = {RELEASE: release, **({CHANGE_CAUSE: change_cause} if change_cause else {})}
        stamped = [_annotated(obj, notes) if Ref.of(obj) == workload else obj for obj in told]
        return cls(release, version, change_cause, workload, tuple(stamped))


def _items(secret: Object, part: str) -> Iterator[tuple[str, str]]:
    values = secret.get(part)
    for value in values.values() if isinstance(values, dict) else ():
        yield part, str(value)


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except ValueError:
        return ""


async def make_plan(config: KubernetesDeploymentConfig, find_resource: FindResource) -> Plan:
    """Make the plan of a config.

    Args:
        config: What to deploy. Where it names manifests, they are read in a worker thread.
        find_resource: `Api.resource`; it is asked of the kinds in manifests.

    Raises:
        ConfigurationError: There is neither an image nor manifests; or manifests that can't be applied.
    """
    if not config.manifests:
        workload = Ref("apps/v1", "Deployment", config.namespace, config.name)
        plan = Plan.of(_objects(config), workload, config.version, config.change_cause)
        return replace(plan, replicas_given="replicas" in config.model_fields_set)
    found = await to_thread.run_sync(read_manifests, config.manifests)
    namespaced = await _scopes([obj for _, obj in found], find_resource)
    objects = [with_images(obj, config.filled) for obj in place(found, config.namespace, namespaced)]
    if config.create_namespace and not any(
        obj["kind"] == "Namespace" and obj["metadata"]["name"] == config.namespace for obj in objects
    ):
        objects.append(_namespace(config))
    return Plan.of(objects, find_workload(objects, config.name), config.version, config.change_cause)


async def _scopes(objects: Sequence[Object], find_resource: FindResource) -> dict[tuple[str, str], bool]:
    """Return which kinds live in namespaces; those that the manifests define are not asked of the server."""
    scopes: dict[tuple[str, str], bool] = {}
    for obj in objects:
        if obj["kind"] == "CustomResourceDefinition":
            spec = obj.get("spec") or {}
            kind = str((spec.get("names") or {}).get("kind"))
            for version in spec.get("versions") or ():
                scopes[f"{spec.get('group')}/{version.get('name')}", kind] = spec.get("scope") == "Namespaced"
    for obj in objects:
        key = (obj["apiVersion"], obj["kind"])
        if key not in scopes:
            scopes[key] = (await find_resource(*key)).namespaced
    return scopes


def _objects(config: KubernetesDeploymentConfig) -> list[Object]:
    made = [_deployment(config)]
    if config.create_namespace:
        made.append(_namespace(config))
    made += [obj for obj in (secret_of(config), settings_of(config)) if obj is not None]
    if config.service is not None:
        made.append(_service(config))
    if config.autoscaling is not None:
        made.append(_autoscaler(config))
    if config.disruption_budget is not None:
        made.append(_budget(config))
    return [_labelled(obj, config) for obj in made]


def _namespace(config: KubernetesDeploymentConfig) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": config.namespace}}


def _metadata(config: KubernetesDeploymentConfig, annotations: Any = None) -> Object:
    metadata: Object = {"name": config.name, "namespace": config.namespace}
    return metadata | ({"annotations": dict(annotations)} if annotations else {})


def _selector(config: KubernetesDeploymentConfig) -> dict[str, str]:
    # A Deployment's selector can't be changed, so it is of what never changes.
    return {_NAME: config.name}


def _deployment(config: KubernetesDeploymentConfig) -> Object:
    rolling = config.strategy.kind == "rolling_update"
    spec: Object = {
        "selector": {"matchLabels": _selector(config)},
        "minReadySeconds": config.min_ready_seconds,
        "progressDeadlineSeconds": max(
            whole_seconds(config.rollout_timeout_ms), config.min_ready_seconds + 1
        ),
        "revisionHistoryLimit": config.history_limit - 1,  # beside the current one
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {
                "maxSurge": config.strategy.max_surge,
                "maxUnavailable": config.strategy.max_unavailable,
            },
        }
        if rolling
        else {"type": "Recreate"},
        "template": {"metadata": {"labels": _labels(config)}, "spec": pod_spec(config)},
    }
    if config.autoscaling is None:
        spec["replicas"] = config.replicas
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(config, config.annotations),
        "spec": spec,
    }


def _service(config: KubernetesDeploymentConfig) -> Object:
    assert config.service is not None  # noqa: S101 - asked by the caller
    ports = [
        {"name": port.name, "port": port.port, "targetPort": port.name, "protocol": port.protocol.upper()}
        for port in config.ports
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(config, config.service.annotations),
        "spec": {"type": config.service.type, "selector": _selector(config), "ports": ports},
    }


def _autoscaler(config: KubernetesDeploymentConfig) -> Object:
    scaling = config.autoscaling
    assert scaling is not None  # noqa: S101 - likewise
    aims = {"cpu": scaling.cpu_percent, "memory": scaling.memory_percent}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _metadata(config),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": config.name},
            "minReplicas": scaling.min_replicas,
            "maxReplicas": scaling.max_replicas,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": name,
                        "target": {"type": "Utilization", "averageUtilization": percent},
                    },
                }
                for name, percent in aims.items()
                if percent is not None
            ],
        },
    }


def _budget(config: KubernetesDeploymentConfig) -> Object:
    budget = config.disruption_budget
    assert budget is not None  # noqa: S101 - likewise
    limits = {"minAvailable": budget.min_available, "maxUnavailable": budget.max_unavailable}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(config),
        "spec": {
            "selector": {"matchLabels": _selector(config)},
            **{key: value for key, value in limits.items() if value is not None},
        },
    }


def _labels(config: KubernetesDeploymentConfig) -> dict[str, str]:
    """Return the labels of the pods: none that changes with the version alone."""
    ours = {_NAME: config.name, _MANAGED_BY: MANAGER}
    for key, value in ours.items():
        if config.labels.get(key, value) != value:
            raise ConfigurationError(
                f"{config.name}: the label {key!r} is always {value!r} here; leave it out"
            )
    return {**config.labels, **ours}


def _labelled(obj: Object, config: KubernetesDeploymentConfig) -> Object:
    labels = _labels(config)
    if obj["kind"] == "Deployment" and _LABEL_VALUE.fullmatch(config.version):
        labels[_VERSION_LABEL] = config.version
    if obj["kind"] == "Namespace":
        # Others live there, too.
        labels = {_MANAGED_BY: MANAGER}
    return {**obj, "metadata": {**obj["metadata"], "labels": labels}}


def _annotated(obj: Object, annotations: dict[str, str]) -> Object:
    metadata = obj["metadata"]
    return {
        **obj,
        "metadata": {**metadata, "annotations": {**(metadata.get("annotations") or {}), **annotations}},
    }
