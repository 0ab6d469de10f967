"""Going back to an earlier release because somebody says so."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic

import anyio

from aioproviders.deployment.kubernetes.history import history_of
from aioproviders.deployment.kubernetes.intent import StoredRelease, list_releases, mark_healthy
from aioproviders.deployment.kubernetes.kept import told_of
from aioproviders.deployment.kubernetes.objects import VERSION, Object, Ref
from aioproviders.deployment.kubernetes.restoring import Restored, clear_up, is_done, restore
from aioproviders.deployment.kubernetes.rolling import (
    Hands,
    RolloutError,
    describe_workload,
    result_of,
    roll_out,
)
from aioproviders.deployment.kubernetes.scene import Scene
from aioproviders.deployment.kubernetes.undoing import (
    GOES_ON,
    check_pause,
    pause,
    shielded,
    tell_cancelled,
    undo,
)
from aioproviders.deployment.kubernetes.waiting import counts_of, updates_by_itself
from aioproviders.deployment.kubernetes.workloads import Revision, paused_by, revision_objects
from aioproviders.deployment.models import DeploymentResult, DeploymentStatus, Release
from aioproviders.deployment.releases import find_release
from aioproviders.errors import ConflictError, NotFoundError, ProviderError

__all__ = ["roll_back"]


async def roll_back(hands: Hands, ref: Ref, wanted: str) -> DeploymentResult:
    """Go back to the release that `wanted` names, and wait until it is well.

    Raises:
        NotFoundError: There is no workload, or no such release.
        ConflictError: Somebody has paused the workload.
        UnsupportedCapabilityError: ``on_cancel`` is "pause", and the workload can't.
    """
    started = monotonic()
    workload = await hands.api.find(ref)
    if workload is None:
        raise NotFoundError(f"{ref} is not there: nothing to roll back")
    updates_by_itself(workload)
    check_pause(hands, ref)
    kept = await revision_objects(hands.api, workload)
    earlier = await list_releases(hands.api, ref)
    entries = history_of(workload, kept, earlier)
    release = find_release([entry[0] for entry in entries], wanted)
    _, revision, stored = next(entry for entry in entries if entry[0] is release)
    if manager := paused_by(workload):
        raise ConflictError(
            f"{ref} was paused by {manager}; 'kubectl rollout resume' it, or nothing would be rolled back"
        )
    # A revision without a release has the version that its history tells, which may be none of its own.
    target = stored or replace(revision, annotations=_noted(revision, release.version))
    return await _RollingBack(hands, workload, release, target, earlier, started).run()


class _RollingBack:
    """One rollback.

    Args:
        hands: What to work with.
        workload: As it is.
        release: Where to go back to.
        target: The same, as it is stored or else as the cluster keeps it.
        earlier: All that are stored.
        started: When it was asked for, by the monotonic clock, in seconds.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - as much as there is to it
        self,
        hands: Hands,
        workload: Object,
        release: Release,
        target: StoredRelease | Revision,
        earlier: tuple[StoredRelease, ...],
        started: float,
    ) -> None:
        self._hands, self._before, self._release, self._target = hands, workload, release, target
        self._earlier, self._started = earlier, started
        self._ref = Ref.of(workload)
        self._restored: Restored | None = None

    async def run(self) -> DeploymentResult:
        """Do it."""
        hands, release = self._hands, self._release
        hands.rollouts.tell("started", DeploymentStatus.PROGRESSING, f"rolling back to {release.version}")
        hands.logger.info(
            "rollout.started", version=release.version, revision=release.revision, rollback=True
        )
        try:
            return await self._run()
        except RolloutError as failure:
            return await self._failed(failure)
        except ProviderError as error:
            message = f"the rollback to {release.version} failed: {error.message}"
            hands.rollouts.tell("finished", DeploymentStatus.FAILED, message)
            raise

    async def _run(self) -> DeploymentResult:
        hands, earlier = self._hands, self._earlier
        try:
            restored = self._restored = await restore(hands, hands.api, self._before, self._target, earlier)
            if not restored.changed and is_done(restored.workload):
                message = f"{self._release.version} runs already: unchanged{told_of(restored.kept)}"
                return await self._succeeded(restored.workload, None, message)
            scene = await roll_out(hands, restored.workload, hands.config.rollout_timeout_ms)
        except anyio.get_cancelled_exc_class():
            await shielded(self._cancelled)
            raise
        await self._note_healthy()
        await clear_up(hands, hands.api, restored.plan, earlier)
        message = f"rolled back to {self._release.version}{told_of(restored.kept)}"
        return await self._succeeded(scene.workload, scene, message)

    async def _succeeded(self, workload: Object, scene: Scene | None, message: str) -> DeploymentResult:
        hands, counts = self._hands, counts_of(workload)
        zero = not counts.desired and workload["kind"] != "DaemonSet"
        status = DeploymentStatus.SCALED_TO_ZERO if zero else DeploymentStatus.HEALTHY
        metadata = await describe_workload(hands, workload, scene, self._started)
        hands.logger.info(
            "rollout.completed",
            version=self._release.version,
            revision=metadata.get("revision"),
            changed=scene is not None,
        )
        hands.rollouts.tell("finished", status, message, replicas=counts)
        return result_of(workload, status, message, metadata)

    async def _failed(self, failure: RolloutError) -> DeploymentResult:
        hands, workload = self._hands, failure.workload
        hands.logger.warning("rollout.failed", version=self._release.version, reason=failure.diagnosis.reason)
        metadata = await describe_workload(hands, workload, None, self._started)
        metadata["diagnosis"] = failure.diagnosis
        message = f"the rollback to {self._release.version} failed: {failure.error.message}"
        hands.rollouts.tell("finished", DeploymentStatus.FAILED, message, replicas=counts_of(workload))
        return result_of(self._ref, DeploymentStatus.FAILED, message, metadata, failure.error)

    async def _cancelled(self) -> None:
        hands, restored = self._hands, self._restored
        outcome, status = GOES_ON, DeploymentStatus.PROGRESSING
        if hands.config.on_cancel == "rollback":
            release = self._target.release if isinstance(self._target, StoredRelease) else None
            # Only what ran before, and was well, is wanted again.
            undone = await undo(hands, self._ref, release, self._before, any_healthy=False)
            if undone.done or undone.error is not None:
                outcome, status = undone.outcome
            else:
                outcome = f"what ran before was not healthy: {GOES_ON}"
        elif hands.config.on_cancel == "pause" and restored is not None and restored.plan is not None:
            outcome, status = await pause(hands, restored.plan.workload_object)
        tell_cancelled(hands, f"rollback to {self._release.version}", outcome, status)

    async def _note_healthy(self) -> None:
        """Note that the release is well; failing is no failure."""
        stored = self._target
        if not isinstance(stored, StoredRelease) or stored.healthy:
            return
        try:
            await mark_healthy(self._hands.api, self._ref, stored.release)
        except ProviderError as error:
            self._hands.logger.warning("rollout.not_tidied", version=stored.version, error=error.message)


def _noted(revision: Revision, version: str) -> dict[str, str]:
    notes = dict(revision.annotations)
    return notes | {VERSION: version} if VERSION in notes else notes
