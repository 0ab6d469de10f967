"""Whether a rollout is over: decisions on what a workload, its ReplicaSet and its pods say; no I/O.

The rules are those of ``kubectl rollout status`` (k8s.io/kubectl, pkg/polymorphichelpers/rollout_status.go),
and a rollout is done only when kstatus says so too (sigs.k8s.io/cli-utils, pkg/kstatus/status/core.go).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aioproviders.deployment.kubernetes.pods import Trouble, is_ended, is_ready, trouble_of
from aioproviders.deployment.models import Replicas
from aioproviders.errors import UnsupportedCapabilityError

__all__ = [
    "LATE",
    "Verdict",
    "counts_of",
    "failure_of",
    "progressing_of",
    "refusal_of",
    "rollout_verdict",
    "scale_verdict",
    "updates_by_itself",
]

Object = Mapping[str, Any]

LATE = "ProgressDeadlineExceeded"
# What keeps pods from being made and may pass: a new namespace gets its service account a moment later.
_PASSING_CREATE_FAILURE = re.compile(r"looking up service account|failed calling webhook", re.IGNORECASE)
_FOREVER = 2**31 - 1  # progressDeadlineSeconds that means: none


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be thought of a rollout.

    Attributes:
        outcome: Whether it goes on, or how it ended.
        message: Why, in one line.
        reason: Of a failure, in Kubernetes' word.
    """

    outcome: Literal["waiting", "done", "failed"]
    message: str
    reason: str = ""


def rollout_verdict(workload: Object, generation: int) -> Verdict:
    """Decide on the rollout of a Deployment, StatefulSet or DaemonSet.

    Args:
        workload: The object.
        generation: Its ``metadata.generation`` as the apply returned it; older status says nothing.
    """
    status = workload.get("status") or {}
    wanted = max(generation, workload["metadata"].get("generation", 0))
    if workload["metadata"].get("generation", 0) < generation or status.get("observedGeneration", 0) < wanted:
        return Verdict("waiting", "the controller has not seen the change yet")
    match workload["kind"]:
        case "Deployment":
            return _deployment(workload["spec"], status)
        case "StatefulSet":
            return _stateful_set(workload["spec"], status)
        case _:
            return _daemon_set(status)


def scale_verdict(workload: Object, generation: int) -> Verdict:
    """Decide on a change of nothing but the number of replicas; arguments as of `rollout_verdict`."""
    status, desired = workload.get("status") or {}, workload["spec"].get("replicas", 1)
    wanted = max(generation, workload["metadata"].get("generation", 0))
    if workload["metadata"].get("generation", 0) < generation or status.get("observedGeneration", 0) < wanted:
        return Verdict("waiting", "the controller has not seen the change yet")
    there, available = status.get("replicas", 0), status.get("availableReplicas", 0)
    if there != desired:
        return Verdict("waiting", f"{there} replicas are there, {desired} should be")
    if available < desired:
        return Verdict("waiting", f"{available} of {desired} replicas are available")
    return Verdict("done", f"scaled to {desired}")


def counts_of(workload: Object) -> Replicas:
    """Return how many instances `workload` says there are."""
    status = workload.get("status") or {}
    if workload["kind"] == "DaemonSet":
        return Replicas(
            desired=status.get("desiredNumberScheduled", 0),
            updated=status.get("updatedNumberScheduled", 0),
            ready=status.get("numberReady", 0),
            available=status.get("numberAvailable", 0),
        )
    return Replicas(
        desired=workload["spec"].get("replicas", 1),
        updated=status.get("updatedReplicas", 0),
        ready=status.get("readyReplicas", 0),
        available=status.get("availableReplicas", 0),
    )


def failure_of(
    pods: Sequence[Object],
    *,
    wanted: int,
    replica_set: Object | None = None,
    long_unschedulable: Collection[str] = (),
    old_pods: Sequence[Object] = (),
) -> tuple[Verdict, Trouble | None] | None:
    """Return why a rollout can't succeed any more, and the pod that shows it; None while it may.

    One pod that goes on badly proves nothing, since its node may be to blame: all of the new pods have to.

    Args:
        pods: The pods of the new release.
        wanted: How many of them there should be by now.
        replica_set: The new release's ReplicaSet, for workloads that have them.
        long_unschedulable: Names of pods that have fitted on no node for so long that none will come.
        old_pods: Those of other releases, which a quota counts until they have ended.
    """
    alive = [pod for pod in pods if not is_ended(pod)]
    troubles = [
        trouble_of(pod, long_unschedulable=pod["metadata"]["name"] in long_unschedulable) for pod in alive
    ]
    doomed = [trouble for trouble in troubles if trouble is not None and trouble.doomed]
    refusal = refusal_of(replica_set or {})
    if alive and len(doomed) == len(alive) and (refusal is not None or len(alive) >= wanted):
        return Verdict("failed", doomed[0].message, doomed[0].reason), doomed[0]
    if refusal is None or _PASSING_CREATE_FAILURE.search(refusal.message):
        return None
    coming = sum(map(is_ready, alive)) + len(doomed) < len(alive)
    ending = any(pod["metadata"].get("deletionTimestamp") for pod in (*pods, *old_pods))
    return None if coming or ending else (refusal, None)


def refusal_of(replica_set: Object) -> Verdict | None:
    """Return why not all pods of a ReplicaSet may be made, as by a quota; None: all may."""
    for condition in _fresh_conditions(replica_set):
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            message = " ".join((condition.get("message") or "").split())
            return Verdict("failed", message, condition.get("reason") or "FailedCreate")
    return None


def _fresh_conditions(replica_set: Object) -> list[Object]:
    status, metadata = replica_set.get("status") or {}, replica_set.get("metadata") or {}
    fresh = status.get("observedGeneration", 0) >= metadata.get("generation", 0)
    return (status.get("conditions") or []) if fresh else []


def updates_by_itself(workload: Object) -> None:
    """Make sure that changing `workload`'s template changes its pods.

    Raises:
        UnsupportedCapabilityError: Its pods are replaced only when somebody deletes them.
    """
    if workload["kind"] == "Deployment":
        return
    strategy = (workload.get("spec") or {}).get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        raise UnsupportedCapabilityError(
            f"{workload['kind']} {workload['metadata']['name']}: its updateStrategy is {strategy['type']}, "
            "so that nothing rolls out by itself; RollingUpdate would"
        )


def _deployment(  # noqa: PLR0911 - one table
    spec: Object, status: Object
) -> Verdict:
    conditions = {condition.get("type"): condition for condition in status.get("conditions") or []}
    progressing = progressing_of(status)
    if progressing.get("reason") == LATE:
        return Verdict("failed", "it made no progress within its deadline", LATE)
    desired, there = spec.get("replicas", 1), status.get("replicas", 0)
    updated, available = status.get("updatedReplicas", 0), status.get("availableReplicas", 0)
    if updated < desired:
        return Verdict("waiting", f"{updated} of {desired} new replicas have been made")
    if there > updated:
        return Verdict("waiting", f"old replicas are about to end: {there - updated}")
    if available < updated:
        return Verdict("waiting", f"{available} of {updated} new replicas are available")
    # So far kubectl; the rest is kstatus'.
    if there != desired:
        return Verdict("waiting", f"{there} replicas are there, {desired} should be")
    if status.get("readyReplicas", 0) < desired:
        return Verdict("waiting", f"{status.get('readyReplicas', 0)} of {desired} replicas are ready")
    if (conditions.get("Available") or {}).get("status") != "True":
        return Verdict("waiting", "it is not available yet")
    never_late = spec.get("progressDeadlineSeconds", 600) == _FOREVER
    if not never_late and not _new_replica_set_is_there(progressing):
        return Verdict("waiting", "the new ReplicaSet is not available yet")
    return Verdict("done", f"{available} of {desired} replicas are available")


def progressing_of(status: Object) -> Object:
    """Return what a Deployment's status says of its progress."""
    conditions = status.get("conditions") or []
    return next((item for item in conditions if item.get("type") == "Progressing"), {})


def _new_replica_set_is_there(progressing: Object) -> bool:
    return progressing.get("status") == "True" and progressing.get("reason") == "NewReplicaSetAvailable"


def _stateful_set(spec: Object, status: Object) -> Verdict:
    desired, there = spec.get("replicas", 1), status.get("replicas", 0)
    ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    if ready < desired:
        return Verdict("waiting", f"{ready} of {desired} replicas are ready")
    if there != desired:
        return Verdict("waiting", f"{there} replicas are there, {desired} should be")
    rolling = (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
    partition = rolling.get("partition") or 0
    if updated < desired - partition:
        return Verdict("waiting", f"{updated} of {desired - partition} replicas are updated")
    if status.get("availableReplicas", ready) < desired:
        return Verdict("waiting", f"{status['availableReplicas']} of {desired} replicas are available")
    if not partition and desired and status.get("updateRevision") != status.get("currentRevision"):
        return Verdict("waiting", "the last of the old replicas is about to end")
    return Verdict("done", f"{updated} of {desired} replicas are updated")


def _daemon_set(status: Object) -> Verdict:
    desired = status.get("desiredNumberScheduled", 0)
    for key, word in (
        ("currentNumberScheduled", "made"),
        ("updatedNumberScheduled", "updated"),
        ("numberAvailable", "available"),
        ("numberReady", "ready"),
    ):
        if (count := status.get(key, 0)) < desired:
            return Verdict("waiting", f"{count} of {desired} pods are {word}")
    return Verdict("done", f"{desired} of {desired} pods are available")
