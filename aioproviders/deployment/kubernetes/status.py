"""Where a workload stands, as a `DeploymentState`."""

from __future__ import annotations

from collections.abc import Iterable

from aioproviders.deployment.kubernetes.objects import Object, Ref, annotations_of
from aioproviders.deployment.kubernetes.ownership import changed_by_others, scaled_by_others
from aioproviders.deployment.kubernetes.pods import instance_of, is_ended
from aioproviders.deployment.kubernetes.provenance import (
    Origin,
    origins_of,
    version_noted,
)
from aioproviders.deployment.kubernetes.waiting import (
    Verdict,
    counts_of,
    failure_of,
    rollout_verdict,
)
from aioproviders.deployment.kubernetes.workloads import (
    REVISION,
    Revision,
    by_controller,
    images_of,
    is_controlled_by,
    is_of,
    new_pods,
    new_replica_set,
    paused_by,
    revisions_of,
    without,
)
from aioproviders.deployment.models import DeploymentState, DeploymentStatus, Instance, Replicas

__all__ = ["absent", "instances_of", "is_settled", "revision_number", "state_of", "version_of"]


def absent(ref: Ref) -> DeploymentState:
    """Return the state of a workload that is not there."""
    return DeploymentState(
        name=ref.name,
        namespace=ref.namespace or "",
        status=DeploymentStatus.NOT_FOUND,
        message=f"{ref} is not there",
        version=None,
        revision=None,
        replicas=Replicas(),
        images=(),
        instances=(),
        endpoints=(),
    )


def state_of(
    workload: Object,
    revision_objects: Iterable[Object],
    pods: Iterable[Object],
    *,
    under_way: str | None = None,
) -> DeploymentState:
    """Return the state of a workload.

    Args:
        workload: The workload.
        revision_objects: Its ReplicaSets or ControllerRevisions.
        pods: The pods that match its selector.
        under_way: What we are doing to it, if anything.
    """
    kept, found = list(revision_objects), list(pods)
    status, message = _status(workload, kept, found, under_way)
    instances = instances_of(workload, kept, found)
    revisions = revisions_of(workload, kept)
    origin = _origin(workload, revisions)
    changed = "" if origin.own else changed_by_others(workload)
    scaled = scaled_by_others(workload)
    message += f"; changed since it was deployed: {changed}" if changed else ""
    message += f"; the number of replicas was set by {scaled}" if scaled else ""
    return DeploymentState(
        name=workload["metadata"]["name"],
        namespace=workload["metadata"]["namespace"],
        status=status,
        message=message,
        version=origin.version(images_of(workload["spec"]["template"])),
        revision=revision_number(workload, revisions),
        replicas=counts_of(workload),
        images=images_of(workload["spec"]["template"]),
        instances=instances,
        endpoints=tuple(item.address for item in instances if item.ready and item.address),
    )


def version_of(workload: Object) -> str | None:
    """Return the version noted on it, or else the tag of its first image."""
    return version_noted(annotations_of(workload), images_of(workload["spec"]["template"]))


def _origin(workload: Object, revisions: list[Revision]) -> Origin:
    origins = origins_of(workload, revisions)
    current = next((origins[item.name] for item in revisions if item.current and is_of(workload, item)), None)
    return current or Origin(annotations_of(workload), own=True)


def revision_number(workload: Object, revisions: Iterable[Revision]) -> int | None:
    """Return the number of a workload's current revision."""
    if workload["kind"] == "Deployment":
        number = annotations_of(workload).get(REVISION)
        return int(number) if number else None
    return next((revision.number for revision in revisions if revision.current), None)


def instances_of(
    workload: Object, revision_objects: Iterable[Object], pods: Iterable[Object]
) -> tuple[Instance, ...]:
    """Return the workload's pods that count, each with the release it belongs to."""
    kept, found = list(revision_objects), list(pods)
    if workload["kind"] == "Deployment":
        instances = []
        controlled = [item for item in kept if is_controlled_by(item, workload["metadata"]["uid"])]
        origins = origins_of(workload, revisions_of(workload, controlled))
        pods_of = by_controller(found)
        for owner in controlled:
            notes, metadata = annotations_of(owner), owner["metadata"]
            # One whose revision is not noted yet has just been made.
            origin = origins.get(metadata["name"]) or Origin(notes, own=True)
            version = origin.version(images_of(owner["spec"]["template"]))
            number = int(notes[REVISION]) if REVISION in notes else None
            own = [pod for pod in pods_of.get(metadata["uid"], ()) if not is_ended(pod)]
            instances += [instance_of(pod, version, number) for pod in own]
        return tuple(sorted(instances, key=lambda instance: instance.name))
    new = {pod["metadata"]["name"] for pod in new_pods(workload, None, found)}
    revisions = revisions_of(workload, kept)
    version = _origin(workload, revisions).version(images_of(workload["spec"]["template"]))
    number = revision_number(workload, revisions)
    return tuple(
        instance_of(pod, version, number) if pod["metadata"]["name"] in new else instance_of(pod)
        for pod in sorted(found, key=lambda pod: str(pod["metadata"]["name"]))
        if is_controlled_by(pod, workload["metadata"]["uid"]) and not is_ended(pod)
    )


def _status(  # noqa: PLR0911 - one table
    workload: Object, kept: list[Object], pods: list[Object], under_way: str | None
) -> tuple[DeploymentStatus, str]:
    if workload["metadata"].get("deletionTimestamp"):
        return DeploymentStatus.TERMINATING, "it is being deleted"
    manager = paused_by(workload)
    if manager is not None:
        return DeploymentStatus.PAUSED, f"paused by {manager or 'us'}"
    counts = counts_of(workload)
    verdict = rollout_verdict(workload, workload["metadata"].get("generation", 0))
    if verdict.outcome == "done":
        zero = not counts.desired and workload["kind"] != "DaemonSet"
        return (
            (DeploymentStatus.SCALED_TO_ZERO, "scaled to zero")
            if zero
            else (DeploymentStatus.HEALTHY, verdict.message)
        )
    if under_way is not None:
        return DeploymentStatus.PROGRESSING, f"{under_way}: {verdict.message}"
    if verdict.outcome == "failed":
        return DeploymentStatus.FAILED, f"{verdict.reason}: {verdict.message}"
    failure = _failure(workload, kept, pods)
    if failure is not None:
        return DeploymentStatus.FAILED, f"{failure.reason}: {failure.message}"
    if not is_settled(workload):
        return DeploymentStatus.PROGRESSING, verdict.message
    if counts.available:
        return DeploymentStatus.DEGRADED, verdict.message
    return DeploymentStatus.FAILED, f"no instance is available: {verdict.message}"


def _failure(workload: Object, kept: list[Object], pods: list[Object]) -> Verdict | None:
    deployment = workload["kind"] == "Deployment"
    replica_set = new_replica_set(workload, kept) if deployment else None
    if deployment and replica_set is None:
        return None
    wanted = (replica_set or {}).get("spec", {}).get("replicas", 1)
    new = new_pods(workload, replica_set, pods)
    failure = failure_of(
        new,
        wanted=wanted,
        replica_set=replica_set,
        old_pods=without(pods, new),
    )
    return failure[0] if failure is not None else None


def is_settled(workload: Object) -> bool:
    """Whether its last rollout had come to its end: what is amiss has come about since."""
    status = workload.get("status") or {}
    if status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0):
        return False
    if workload["kind"] == "Deployment":
        conditions = status.get("conditions") or []
        reasons = {item.get("type"): item.get("reason") for item in conditions}
        return bool(reasons.get("Progressing") == "NewReplicaSetAvailable")
    counts = counts_of(workload)
    if workload["kind"] == "StatefulSet":
        return status.get("updateRevision") == status.get("currentRevision")
    return counts.updated >= counts.desired
