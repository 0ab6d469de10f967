"""What becomes of a change that has failed, or whose caller is cancelled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio

from aioproviders.calls import outside_calls
from aioproviders.deployment.kubernetes.autoscaling import owns_replicas, without_replicas
from aioproviders.deployment.kubernetes.objects import RELEASE, TEMPLATE, Object, Ref, annotations_of
from aioproviders.deployment.kubernetes.provenance import noted_as
from aioproviders.deployment.kubernetes.restoring import go_back
from aioproviders.deployment.kubernetes.rolling import Hands, RolloutError
from aioproviders.deployment.kubernetes.scene import Scene
from aioproviders.deployment.models import DeploymentStatus
from aioproviders.errors import ProviderError, UnsupportedCapabilityError

__all__ = ["GOES_ON", "UNCHANGED", "Undone", "check_pause", "pause", "shielded", "tell_cancelled", "undo"]

T = TypeVar("T")

GOES_ON = "it goes on by itself"
_STAYS = "there is no healthy release to go back to: it stays, and goes on by itself"
UNCHANGED = "nothing was changed"


@dataclass(frozen=True)
class Undone:
    """What undoing came to.

    Attributes:
        scene: What there is then, where something was restored.
        workload: As it was seen last, where it was looked at and nothing was restored.
        version: What was restored.
        error: Why it failed.
        told: Or else why there was nothing to restore.
    """

    scene: Scene | None = None
    workload: Object | None = None
    version: str = ""
    error: str | None = None
    told: str = _STAYS

    @property
    def done(self) -> bool:
        """Whether all is as it was before."""
        return self.error is None and (self.scene is not None or self.told != _STAYS)

    @property
    def outcome(self) -> tuple[str, DeploymentStatus]:
        """What came of a change that was cancelled, and the status then."""
        if self.error is not None:
            return f"undoing it failed: {self.error}", DeploymentStatus.FAILED
        return str(self), DeploymentStatus.ROLLED_BACK if self.done else DeploymentStatus.FAILED

    def __str__(self) -> str:
        if self.error is not None:
            return f"and the rollback failed: {self.error}"
        return f"{self.version} is back" if self.scene else self.told


async def undo(
    hands: Hands, ref: Ref, undone: str | None, before: Object, *, any_healthy: bool = True
) -> Undone:
    """Undo a rollout, see `go_back`; never raises but for cancellation."""
    limit = hands.config.rollback_timeout_ms / 1000
    try:
        back = await go_back(hands, ref, undone, before, any_healthy=any_healthy)
    except RolloutError as failure:
        return Undone(error=failure.error.message, workload=failure.workload)
    except ProviderError as error:
        return Undone(error=error.message, workload=await _seen_last(hands, ref))
    except TimeoutError:
        why = f": {hands.patience.error.message}" if hands.patience.error else ""
        return Undone(error=f"it was not done within {limit:g} s{why}", workload=await _seen_last(hands, ref))
    if back is None:
        return Undone()
    scene, version = back
    return Undone(scene=scene, version=version)


async def _seen_last(hands: Hands, ref: Ref) -> Object | None:
    try:
        with anyio.move_on_after(hands.config.timeout_ms / 1000):
            return await hands.patient.find(ref)
    except ProviderError:
        return None  # it was about that error anyway
    return None


def check_pause(hands: Hands, workload: Ref) -> None:
    """Make sure that ``on_cancel`` can be done.

    Raises:
        UnsupportedCapabilityError: It is "pause", and only Deployments can.
    """
    if hands.config.on_cancel == "pause" and workload.kind != "Deployment":
        raise UnsupportedCapabilityError(
            f"{workload}: only Deployments can pause; on_cancel should be 'rollback' or 'leave'"
        )


async def pause(hands: Hands, workload: Object) -> tuple[str, DeploymentStatus]:
    """Pause by an apply: the next one, which does not name the field, takes it away.

    Args:
        hands: What to work with.
        workload: As it was applied.
    """
    paused = {**workload, "spec": {**workload["spec"], "paused": True}}
    try:
        with anyio.fail_after(hands.config.rollback_timeout_ms / 1000):
            now = await hands.patient.find(Ref.of(workload))
            if now is not None and not owns_replicas(now):
                paused = without_replicas(paused)  # an autoscaler's, or whose who has scaled it meanwhile
            if now is not None and annotations_of(now).get(RELEASE) == annotations_of(workload).get(RELEASE):
                paused = noted_as(paused, annotations_of(now).get(TEMPLATE))
            await hands.patient.apply(paused, force=hands.config.force)
    except (ProviderError, TimeoutError) as error:
        return f"it could not be paused: {error}", DeploymentStatus.PROGRESSING
    return "it is paused", DeploymentStatus.PAUSED


def tell_cancelled(hands: Hands, what: str, outcome: str, status: DeploymentStatus) -> None:
    """Tell whoever looks on what came of a change whose caller was cancelled."""
    hands.logger.warning("rollout.cancelled", what=what, outcome=outcome)
    hands.rollouts.tell("finished", status, f"the {what} was cancelled: {outcome}")


async def shielded(undo: Callable[[], Awaitable[T]]) -> T:
    """Undo something whatever becomes of the caller."""
    done: list[T] = []

    async def work() -> None:
        # Outside the call: its deadline may be what has cancelled it.
        with anyio.CancelScope(shield=True), outside_calls():
            done.append(await undo())

    # In a task of its own: a shield keeps anyio's cancellation off, not `asyncio.Task.cancel()`.
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(work)
    return done[0]
