"""Looking on at a rollout that somebody else has begun."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.objects import Object
from aioproviders.deployment.kubernetes.status import version_of
from aioproviders.deployment.kubernetes.waiting import Verdict, counts_of, rollout_verdict
from aioproviders.deployment.kubernetes.watching import Mirror
from aioproviders.deployment.models import DeploymentStatus, Replicas, RolloutEvent

__all__ = ["track"]

_STATUS = {
    "waiting": DeploymentStatus.PROGRESSING,
    "done": DeploymentStatus.HEALTHY,
    "failed": DeploymentStatus.FAILED,
}


async def track(api: Api, workload: Object) -> AsyncGenerator[RolloutEvent, None]:
    """Yield the steps of the rollout that `workload` is in until it ends; none where it is in none.

    Raises:
        ProviderError: The cluster doesn't let us look.
    """
    verdict = _verdict(workload)
    if verdict.outcome != "waiting":
        return
    metadata = workload["metadata"]
    yield _event("started", workload, verdict)
    told = counts_of(workload), verdict
    mirror = Mirror(
        api,
        workload["apiVersion"],
        workload["kind"],
        metadata["namespace"],
        fields=f"metadata.name={metadata['name']}",
        known=workload,
    )
    async with aclosing(mirror.changes()) as changes:
        async for _ in changes:
            now = mirror.objects.get(metadata["name"])
            if now is None:
                gone = Verdict("failed", "it was deleted")
                yield _event("finished", workload, gone, DeploymentStatus.NOT_FOUND)
                return
            verdict = _verdict(now)
            if verdict.outcome != "waiting":
                yield _event("finished", now, verdict)
                return
            if (counts_of(now), verdict) != told:
                told = counts_of(now), verdict
                yield _event("progress", now, verdict)


def _verdict(workload: Object) -> Verdict:
    return rollout_verdict(workload, workload["metadata"]["generation"])


def _event(
    kind: Any, workload: Object, verdict: Verdict, status: DeploymentStatus | None = None
) -> RolloutEvent:
    counts: Replicas = counts_of(workload)
    if status is None:
        zero = verdict.outcome == "done" and not counts.desired
        status = DeploymentStatus.SCALED_TO_ZERO if zero else _STATUS[verdict.outcome]
    return RolloutEvent(
        kind=kind,
        at=datetime.now(UTC),
        status=status,
        message=verdict.message,
        version=version_of(workload),
        replicas=counts,
    )
