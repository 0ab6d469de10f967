"""Who says how many replicas there are: the config, or an autoscaler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.objects import MANAGER, Object, Ref
from aioproviders.deployment.kubernetes.plan import Plan

__all__ = [
    "AUTOSCALER",
    "autoscaler_of",
    "find_autoscaler",
    "left_to_autoscaler",
    "only_replicas",
    "owns_replicas",
    "planned_autoscaler",
    "without_replicas",
]

AUTOSCALER = "HorizontalPodAutoscaler"
_SCALED = ("Deployment", "StatefulSet")


def left_to_autoscaler(obj: Object, before: Object | None) -> Object:
    """Return the workload with no number of replicas but the one that is still ours, as it was `before`."""
    rest = without_replicas(obj)
    if before is None or not owns_replicas(before):
        return rest
    return {**rest, "spec": {**rest["spec"], "replicas": before["spec"]["replicas"]}}


async def find_autoscaler(api: Api, workload: Ref) -> str | None:
    """Return the name of the HorizontalPodAutoscaler of a workload; None where it has none."""
    found = await autoscaler_of(api, workload)
    return None if found is None else str(found["metadata"]["name"])


async def autoscaler_of(api: Api, workload: Ref) -> Object | None:
    """Return the HorizontalPodAutoscaler of a workload; None where it has none."""
    if workload.kind not in _SCALED:
        return None
    version = "autoscaling/v2"
    listed = await api.list(version, AUTOSCALER, workload.namespace)
    # Items of a list don't say what they are.
    found = ({"apiVersion": version, "kind": AUTOSCALER, **item} for item in listed["items"])
    return next((item for item in found if _scales(item, workload)), None)


def planned_autoscaler(plan: Plan) -> Object | None:
    """Return the HorizontalPodAutoscaler of the workload that the plan makes, if it makes one."""
    found = (obj for obj in plan.objects if obj["kind"] == AUTOSCALER and _scales(obj, plan.workload))
    return next(found, None)


def _scales(autoscaler: Mapping[str, Any], workload: Ref) -> bool:
    target = (autoscaler.get("spec") or {}).get("scaleTargetRef") or {}
    return (target.get("kind"), target.get("name")) == (workload.kind, workload.name)


def only_replicas(workload: Ref, replicas: int) -> Object:
    """Return the workload with nothing but its number of replicas."""
    return {
        "apiVersion": workload.api_version,
        "kind": workload.kind,
        "metadata": {"name": workload.name, "namespace": workload.namespace},
        "spec": {"replicas": replicas},
    }


def owns_replicas(obj: Mapping[str, Any]) -> bool:
    """Whether ``spec.replicas`` belongs to what we have applied."""
    return any(
        entry.get("manager") == MANAGER
        and entry.get("operation") == "Apply"
        and "f:replicas" in (entry.get("fieldsV1") or {}).get("f:spec", {})
        for entry in obj["metadata"].get("managedFields") or ()
    )


def without_replicas(obj: Object) -> Object:
    """Return the workload without its number of replicas."""
    return {**obj, "spec": {key: value for key, value in obj["spec"].items() if key != "replicas"}}
