"""Changing the number of replicas, and nothing else."""

from __future__ import annotations

from functools import partial
from time import monotonic

import anyio

from aioproviders.deployment.config import check_replicas
from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.autoscaling import find_autoscaler
from aioproviders.deployment.kubernetes.objects import Object, Ref
from aioproviders.deployment.kubernetes.ownership import scaled_by_others
from aioproviders.deployment.kubernetes.rolling import (
    Hands,
    RolloutError,
    describe_workload,
    result_of,
    roll_out,
)
from aioproviders.deployment.kubernetes.scene import Scene, TakenOverError
from aioproviders.deployment.kubernetes.status import version_of
from aioproviders.deployment.kubernetes.undoing import GOES_ON, Undone, shielded, tell_cancelled
from aioproviders.deployment.kubernetes.waiting import Verdict, counts_of, scale_verdict
from aioproviders.deployment.kubernetes.workloads import paused_by
from aioproviders.deployment.models import DeploymentResult, DeploymentStatus
from aioproviders.errors import (
    ConflictError,
    NotFoundError,
    ProviderError,
    UnsupportedCapabilityError,
)

__all__ = ["scale_to"]


async def scale_to(hands: Hands, ref: Ref, replicas: int) -> DeploymentResult:
    """Change the number of replicas by the scale subresource, and wait until there are as many.

    Raises:
        ConfigurationError: It is no number of pods.
        ConflictError: The number belongs to an autoscaler.
        NotFoundError: There is no workload.
        UnsupportedCapabilityError: The number of its pods is that of the nodes.
    """
    check_replicas(replicas)
    if ref.kind == "DaemonSet":
        raise UnsupportedCapabilityError(f"{ref} has one pod for each node that fits: it can't be scaled")
    started = monotonic()
    workload = await hands.api.find(ref)
    if workload is None:
        raise NotFoundError(f"{ref} is not there: nothing to scale")
    scaler = await find_autoscaler(hands.api, ref)
    if scaler is not None:
        raise ConflictError(
            f"the number of replicas of {ref} belongs to HorizontalPodAutoscaler/{scaler}: change its "
            "minReplicas and maxReplicas instead"
        )
    version = version_of(workload)
    hands.rollouts.tell("started", DeploymentStatus.PROGRESSING, f"scaling to {replicas}", version=version)
    try:
        changed = await _set(hands.api, ref, replicas)
        scene = await _wait(hands, hands.api, changed, replicas, hands.config.rollout_timeout_ms)
    except anyio.get_cancelled_exc_class():
        before = workload["spec"].get("replicas", 1)
        await shielded(partial(_cancelled, hands, ref, replicas, before))
        raise
    except RolloutError as failure:
        return await _failed(hands, ref, replicas, failure, started)
    except ProviderError as error:
        message = f"scaling to {replicas} failed: {error.message}"
        hands.rollouts.tell("finished", DeploymentStatus.FAILED, message, version=version)
        raise
    counts = counts_of(scene.workload)
    status = DeploymentStatus.HEALTHY if replicas else DeploymentStatus.SCALED_TO_ZERO
    message = f"scaled to {replicas}"
    if (manager := paused_by(scene.workload)) is not None:
        status, message = DeploymentStatus.PAUSED, f"{message}; its rollout is paused by {manager or 'us'}"
    metadata = await describe_workload(hands, scene.workload, scene, started)
    hands.logger.info("rollout.completed", version=version, **counts.model_dump())
    hands.rollouts.tell("finished", status, message, version=version, replicas=counts)
    return result_of(ref, status, message, metadata)


async def _set(api: Api, ref: Ref, replicas: int) -> Object:
    await api.patch(ref, {"spec": {"replicas": replicas}}, subresource="scale")
    # The scale does not tell the generation that it has made.
    return await api.get(ref)


async def _wait(hands: Hands, api: Api, workload: Object, replicas: int, limit_ms: int) -> Scene:
    # What is paused half-way keeps the pods that its strategy lets there be beyond the number.
    rule = scale_verdict if paused_by(workload) is None else _while_paused

    def decide(now: Object, generation: int) -> Verdict:
        if (number := now["spec"].get("replicas", 1)) != replicas:
            manager = scaled_by_others(now) or "somebody else"
            raise TakenOverError(f"{Ref.of(now)} was set to {number} replicas meanwhile by {manager}")
        return rule(now, generation)

    return await roll_out(hands, workload, limit_ms, decide=decide, api=api)


async def _cancelled(hands: Hands, ref: Ref, replicas: int, before: int) -> None:
    what, config = f"scaling to {replicas}", hands.config
    if config.on_cancel != "rollback":  # scaling does not wait for whoever pauses a rollout
        tell_cancelled(hands, what, GOES_ON, DeploymentStatus.PROGRESSING)
        return
    began, limit = monotonic(), config.rollback_timeout_ms / 1000
    try:
        with anyio.fail_after(limit):
            now = (await hands.patient.get(ref))["spec"].get("replicas", 1)
            if now not in {before, replicas}:
                raise TakenOverError(f"somebody else has scaled it to {now} meanwhile")
            changed = await _set(hands.patient, ref, before)
        left = max(0, round((limit - (monotonic() - began)) * 1000))
        await _wait(hands, hands.patient, changed, before, left)
        undone = Undone(told=f"there are {before} replicas again")
    except (RolloutError, ProviderError, TimeoutError) as error:
        undone = Undone(error=str(error) or f"it was not done within {limit:g} s")
    tell_cancelled(hands, what, *undone.outcome)


def _while_paused(workload: Object, generation: int) -> Verdict:
    """Decide as `scale_verdict` does, but that there may be more pods than the number."""
    status, desired = workload.get("status") or {}, workload["spec"].get("replicas", 1)
    there = min(status.get("replicas", 0), desired)
    return scale_verdict({**workload, "status": {**status, "replicas": there}}, generation)


async def _failed(
    hands: Hands, ref: Ref, replicas: int, failure: RolloutError, started: float
) -> DeploymentResult:
    message = f"scaling to {replicas} failed: {failure.error.message}"
    hands.logger.error("rollout.failed", reason=failure.diagnosis.reason, error=message)
    metadata = await describe_workload(hands, failure.workload, None, started)
    metadata["diagnosis"] = failure.diagnosis
    hands.rollouts.tell("finished", DeploymentStatus.FAILED, message, replicas=counts_of(failure.workload))
    return result_of(ref, DeploymentStatus.FAILED, message, metadata, failure.error)
