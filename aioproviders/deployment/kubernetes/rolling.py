"""One rollout, from the change to its end: waiting, telling of it, and finding out why where it fails."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

import anyio

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.config import KubernetesDeploymentConfig
from aioproviders.deployment.kubernetes.diagnosis import diagnose
from aioproviders.deployment.kubernetes.objects import Object, Ref
from aioproviders.deployment.kubernetes.patience import Patience
from aioproviders.deployment.kubernetes.pods import is_ended, is_ready
from aioproviders.deployment.kubernetes.scene import Decision, Scene
from aioproviders.deployment.kubernetes.status import instances_of, revision_number, version_of
from aioproviders.deployment.kubernetes.waiting import (
    LATE,
    Verdict,
    counts_of,
    refusal_of,
    rollout_verdict,
)
from aioproviders.deployment.kubernetes.workloads import (
    images_of,
    is_controlled_by,
    revision_objects,
    revisions_of,
)
from aioproviders.deployment.models import (
    DeploymentMetadata,
    DeploymentResult,
    DeploymentStatus,
    Diagnosis,
    Instance,
)
from aioproviders.deployment.rollouts import Rollouts
from aioproviders.errors import ConflictError, ProviderError, ProviderTimeoutError, RequestError
from aioproviders.logs import ProviderLogger
from aioproviders.redaction import Redactor

__all__ = ["Hands", "RolloutError", "describe_workload", "result_of", "roll_out"]

TIMEOUT = "RolloutTimeout"
UNREACHABLE = "ApiServerUnreachable"


@dataclass(frozen=True)
class Hands:
    """What a rollout works with.

    Attributes:
        api: The API server; each request is under the provider's limits.
        patient: The same for what must be done whatever becomes of the caller: under no limit but the
            time that it is given.
        patience: What runs the requests of `patient`.
        config: What is to be deployed, and how.
        rollouts: Tells who looks on.
        logger: The provider's.
        redactor: Masks secrets.
    """

    api: Api
    patient: Api
    patience: Patience
    config: KubernetesDeploymentConfig
    rollouts: Rollouts
    logger: ProviderLogger
    redactor: Redactor


class RolloutError(Exception):
    """A rollout that has failed.

    Attributes:
        error: What it is for the caller.
        diagnosis: Why.
        workload: The workload as it was then.
    """

    def __init__(self, error: ProviderError, diagnosis: Diagnosis, workload: Object) -> None:
        super().__init__(error.message)
        self.error, self.diagnosis, self.workload = error, diagnosis, workload


async def roll_out(
    hands: Hands,
    workload: Object,
    limit_ms: int,
    *,
    decide: Decision = rollout_verdict,
    api: Api | None = None,
) -> Scene:
    """Wait until a change of `workload` is rolled out.

    Args:
        hands: What to work with.
        workload: As the request returned it that changed it.
        limit_ms: Longest time to wait.
        decide: What to wait for.
        api: Another API to look by.

    Returns:
        What there is to see in the end.

    Raises:
        RolloutError: It failed, or did not end in time.
        TakenOverError: Somebody else has changed the workload meanwhile.
        NotFoundError: Somebody has deleted it.
    """
    scene = Scene(api or hands.api, workload)
    teller = _Teller(hands)
    verdict = Verdict("failed", "", TIMEOUT)
    with anyio.move_on_after(limit_ms / 1000) as scope:
        if workload["kind"] == "StatefulSet" and decide is rollout_verdict:
            await _unstick(hands, api or hands.api, scene)
        verdict = await scene.until_decided(decide, teller.tell)
    if scope.cancelled_caught:
        late = f"not done within {limit_ms / 1000:g} s"
        if scene.lost is not None:
            raise _out_of_reach(late, scene, *scene.lost)
        verdict = Verdict("failed", f"{late}: {scene.standing}", TIMEOUT)
    if verdict.outcome == "done":
        return scene
    diagnosis = await diagnose(
        (api or hands.api).bare(),
        hands.redactor,
        reason=verdict.reason,
        message=verdict.message,
        trouble=scene.trouble,
        pods=scene.new_pods,
        failing=scene.replica_set or scene.workload,
        refusal=refusal_of(scene.replica_set or {}),
    )
    told = str(diagnosis)
    kind: type[ProviderError] = RequestError
    if verdict.reason in (TIMEOUT, LATE):
        kind = ProviderTimeoutError
        told = f"{verdict.message}; {told}" if diagnosis.reason != verdict.reason else told
    raise RolloutError(kind(told, outage=False, retryable=False), diagnosis, scene.workload)


def _out_of_reach(late: str, scene: Scene, seconds: float, error: ProviderError) -> RolloutError:
    """Return the failure of a rollout of which nothing is known: there is nobody to ask about it."""
    message = (
        f"{late}: the API server can't be reached since {seconds:.0f} s ({error.message}); "
        f"last seen: {scene.standing}"
    )
    diagnosis = Diagnosis(
        reason=UNREACHABLE,
        message=message,
        suggestion="check the way to the API server; the cluster goes on with the rollout by itself",
    )
    failure = ProviderTimeoutError(message, outage=False, retryable=False)
    return RolloutError(failure, diagnosis, scene.workload)


async def _unstick(hands: Hands, api: Api, scene: Scene) -> None:
    """Delete a StatefulSet's old pods that aren't ready: it would wait for them for ever.

    Source: Kubernetes documentation, "StatefulSets", "Forced rollback".
    """

    def seen(workload: Object, generation: int) -> Verdict:
        observed = (workload.get("status") or {}).get("observedGeneration", 0)
        return Verdict("done" if scene.synced and observed >= generation else "waiting", "")

    await scene.until_decided(seen, lambda *_: None)
    workload, new = scene.workload, scene.new_pods
    rolling = (workload["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    for pod in scene.pods:
        metadata = pod["metadata"]
        old = is_controlled_by(pod, workload["metadata"]["uid"]) and pod not in new
        if not old or is_ended(pod) or is_ready(pod):
            continue
        if int(metadata["name"].rpartition("-")[2]) < (rolling.get("partition") or 0):
            continue
        hands.logger.warning("rollout.pod_deleted", pod=metadata["name"], message="it was not ready")
        with suppress(ConflictError):  # another has come in its place meanwhile
            await api.delete(Ref("v1", "Pod", metadata["namespace"], metadata["name"]), uid=metadata["uid"])


async def describe_workload(
    hands: Hands, workload: Object, scene: Scene | None, started: float
) -> DeploymentMetadata:
    """Return what a result says of a workload; `started` by the monotonic clock, in seconds."""
    kept: list[Object] = scene.replica_sets if scene else []
    if workload["kind"] != "Deployment":
        with suppress(ProviderError):  # what has come of it is known without its number
            kept = await revision_objects(hands.api, workload)
    return DeploymentMetadata(
        revision=revision_number(workload, revisions_of(workload, kept)),
        version=version_of(workload),
        replicas=counts_of(workload),
        images=images_of(workload["spec"]["template"]),
        duration_ms=round((monotonic() - started) * 1000, 3),
    )


def result_of(
    workload: Object | Ref,
    status: DeploymentStatus,
    message: str,
    metadata: DeploymentMetadata,
    error: ProviderError | None = None,
) -> DeploymentResult:
    """Return the result of what was done to a workload."""
    ref = workload if isinstance(workload, Ref) else Ref.of(workload)
    result = DeploymentResult(
        success=error is None,
        deployment_id=f"{ref.namespace}/{ref.name}",
        status=status,
        message=message,
        metadata=metadata,
    )
    return result if error is None else result.because_of(error)


class _Teller:
    """Tells of each change that it has not told of."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._counts: Any = None
        self._instances: Mapping[str, Instance] = {}

    def tell(self, scene: Scene, message: str) -> None:
        workload, tell = scene.workload, self._hands.rollouts.tell
        counts = counts_of(workload)
        if (counts, message) != self._counts:
            self._counts = counts, message
            tell("progress", DeploymentStatus.PROGRESSING, message, replicas=counts)
            self._hands.logger.info(
                "rollout.progressed", version=version_of(workload), message=message, **counts.model_dump()
            )
        instances = {item.name: item for item in instances_of(workload, scene.replica_sets, scene.pods)}
        for name, item in instances.items():
            if self._instances.get(name) != item:
                word = f"{name} is {item.phase}" + (f": {item.reason}" if item.reason else "")
                tell("instance", DeploymentStatus.PROGRESSING, word, replicas=counts, instance=item)
        for name, item in self._instances.items():
            if name not in instances:
                gone = item.model_copy(update={"phase": "stopped", "ready": False, "reason": None})
                tell(
                    "instance",
                    DeploymentStatus.PROGRESSING,
                    f"{name} is stopped",
                    replicas=counts,
                    instance=gone,
                )
        self._instances = instances
