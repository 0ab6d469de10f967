"""A deploy: apply, wait, and what becomes of it when it fails or its caller is cancelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

import anyio

from aioproviders.deployment.kubernetes.apply import Applied, apply_plan
from aioproviders.deployment.kubernetes.intent import (
    StoredRelease,
    delete_releases,
    kept_releases,
    list_releases,
    mark_healthy,
    write_release,
)
from aioproviders.deployment.kubernetes.kept import told_of
from aioproviders.deployment.kubernetes.objects import RELEASE, Object, annotations_of
from aioproviders.deployment.kubernetes.ownership import scaled_by_others
from aioproviders.deployment.kubernetes.plan import Plan
from aioproviders.deployment.kubernetes.preflight import Preflight
from aioproviders.deployment.kubernetes.prune import find_leftovers, prune
from aioproviders.deployment.kubernetes.rolling import (
    Hands,
    RolloutError,
    describe_workload,
    result_of,
    roll_out,
)
from aioproviders.deployment.kubernetes.scene import Scene
from aioproviders.deployment.kubernetes.undoing import (
    UNCHANGED,
    Undone,
    check_pause,
    pause,
    shielded,
    tell_cancelled,
    undo,
)
from aioproviders.deployment.kubernetes.waiting import counts_of, rollout_verdict, updates_by_itself
from aioproviders.deployment.kubernetes.workloads import paused_by
from aioproviders.deployment.models import DeploymentMetadata, DeploymentResult, DeploymentStatus
from aioproviders.errors import ConflictError, ProviderError

__all__ = ["Deploying"]


class Deploying:
    """One deploy of a plan.

    Args:
        hands: What to work with.
        plan: What to deploy.
        preflight: What the provider has asked for already.
    """

    def __init__(self, hands: Hands, plan: Plan, preflight: Preflight) -> None:
        self._hands, self._plan, self._preflight = hands, plan, preflight
        self._started = monotonic()
        self._begun = False
        self._earlier: Sequence[StoredRelease] = ()
        self._before: Object | None = None
        self._stored: StoredRelease | None = None
        self._applied: Applied | None = None

    async def run(self) -> DeploymentResult:
        """Do it.

        Raises:
            ProviderError: Nothing was changed; or somebody else has taken over.
        """
        hands, plan = self._hands, self._plan
        updates_by_itself(plan.workload_object)
        check_pause(hands, plan.workload)
        hands.rollouts.tell("started", DeploymentStatus.PROGRESSING, f"rolling out {plan.version}")
        hands.logger.info("rollout.started", version=plan.version, release=plan.release)
        try:
            return await self._run()
        except RolloutError as failure:
            return await self._failed(failure)
        except ProviderError as error:
            hands.logger.error("rollout.failed", version=plan.version, error=error.message)  # noqa: TRY400 - expected
            result = await self._stopped(error)
            if result is None:
                raise
            return result
        except anyio.get_cancelled_exc_class():
            if self._begun:
                await shielded(self._cancelled)
            raise

    async def _run(self) -> DeploymentResult:
        hands, plan = self._hands, self._plan
        if hands.config.preflight:
            await self._preflight.check(hands.api, plan, prune=hands.config.prune)
        earlier = self._earlier = await list_releases(hands.api, plan.workload)
        gone = await find_leftovers(hands.api, plan, earlier) if hands.config.prune else ()
        if hands.config.preflight and gone:
            await self._preflight.check(hands.api, plan, prune=True, leftovers=gone)
        self._begun = True
        applied = self._applied = await apply_plan(
            hands.api, plan, force=hands.config.force, leftovers=gone, first=self._store
        )
        if (manager := paused_by(applied.workload)) is not None:
            raise ConflictError(
                f"{plan.workload} was paused by {manager or 'its own manifest'}: what was applied is "
                "rolled out when 'kubectl rollout resume' goes on"
            )
        workload, scene = applied.workload, None
        if applied.changed or rollout_verdict(workload, workload["metadata"]["generation"]).outcome != "done":
            scene = await roll_out(hands, workload, hands.config.rollout_timeout_ms)
            workload = scene.workload
        self._begun = False  # it is done: what is left to do is no reason to undo it
        await self._tidy(scene, earlier)
        return await self._succeeded(workload, scene, changed=applied.changed)

    async def _succeeded(self, workload: Object, scene: Scene | None, *, changed: bool) -> DeploymentResult:
        hands, plan, counts = self._hands, self._plan, counts_of(workload)
        metadata = await describe_workload(hands, workload, scene, self._started)
        zero = not counts.desired and workload["kind"] != "DaemonSet"
        status = DeploymentStatus.SCALED_TO_ZERO if zero else DeploymentStatus.HEALTHY
        message = f"{plan.version} is deployed" + ("" if changed else " already: unchanged")
        message += told_of(self._applied.kept if self._applied is not None else ())
        given = plan.replicas_given and "replicas" in plan.workload_object["spec"]
        if given and (manager := scaled_by_others(workload)):
            message += f"; the number of replicas was set by {manager} meanwhile"
        hands.logger.info(
            "rollout.completed",
            version=plan.version,
            revision=metadata.get("revision"),
            changed=changed,
            **counts.model_dump(),
        )
        hands.rollouts.tell("finished", status, message, replicas=counts)
        return result_of(workload, status, message, metadata)

    async def _store(self, before: Object | None) -> None:
        self._before = before
        self._stored = await write_release(self._hands.api, self._plan, self._earlier)

    async def _tidy(self, scene: Scene | None, earlier: Sequence[StoredRelease]) -> None:
        """Note that the release is well, and delete what is left over of others; failing is no failure."""
        hands, plan, stored = self._hands, self._plan, self._stored
        assert stored is not None  # noqa: S101 - nothing is applied before it
        try:
            if not stored.healthy:
                await mark_healthy(hands.api, plan.workload, plan.release)
                stored = replace(stored, healthy=True)
            if scene is None:
                return
            releases = [stored, *(item for item in earlier if item.release != plan.release)]
            named = {annotations_of(item).get(RELEASE, "") for item in scene.replica_sets}
            kept = kept_releases(releases, hands.config.history_limit, named)
            dropped = [release for release in releases if release not in kept]
            if hands.config.prune:
                await prune(hands.api, plan, kept, dropped)
            # Not before, or nobody would know any more what they had made.
            await delete_releases(hands.api, plan.workload, dropped)
        except ProviderError as error:
            hands.logger.warning("rollout.not_tidied", version=plan.version, error=error.message)

    async def _failed(self, failure: RolloutError) -> DeploymentResult:
        hands, plan = self._hands, self._plan
        told = failure.error.message
        hands.logger.error(
            "rollout.failed",
            version=plan.version,
            reason=failure.diagnosis.reason,
            error=told,
            **counts_of(failure.workload).model_dump(),
        )
        workload, status = failure.workload, DeploymentStatus.FAILED
        scene: Scene | None = None
        message = f"{plan.version} failed: {told}"
        if hands.config.rollback_on_failure:
            hands.rollouts.tell(
                "rollback",
                DeploymentStatus.FAILED,
                f"{message}; rolling back" if self._before is not None else message,
                replicas=counts_of(failure.workload),
            )

            async def go_back() -> Undone:
                undone = await self._go_back()
                self._tell_undone(undone, message, undone.workload or workload)
                return undone

            undone = await shielded(go_back)
            message += f"; {undone}"
            workload = undone.workload or workload
            if undone.scene is not None:
                workload, scene, status = undone.scene.workload, undone.scene, DeploymentStatus.ROLLED_BACK
        else:
            hands.rollouts.tell("finished", status, message, replicas=counts_of(workload))
        metadata = await describe_workload(hands, workload, scene, self._started)
        metadata["diagnosis"] = failure.diagnosis
        return result_of(workload, status, message, metadata, _reworded(failure.error, message))

    def _tell_undone(self, undone: Undone, message: str, workload: Object) -> None:
        """Tell what has come of undoing, before a cancellation of the caller can get in between."""
        hands, status = self._hands, DeploymentStatus.FAILED
        if undone.scene is not None:
            workload, status = undone.scene.workload, DeploymentStatus.ROLLED_BACK
            hands.logger.warning("rollout.rolled_back", version=undone.version, failed=self._plan.version)
        hands.rollouts.tell("finished", status, f"{message}; {undone}", replicas=counts_of(workload))

    async def _go_back(self) -> Undone:
        before = self._before
        if before is None or self._stored is None:
            return Undone()
        if self._applied is None and annotations_of(before).get(RELEASE) == self._plan.release:
            return Undone(told=UNCHANGED)  # cut off while applying what was there already
        return await undo(self._hands, self._plan.workload, self._plan.release, before)

    async def _undo_half(self) -> Undone:
        """Undo an apply that failed behind the workload, as at an autoscaler that the server refuses."""
        hands, plan = self._hands, self._plan
        if self._stored is None or self._applied is not None:
            return Undone(told=UNCHANGED)  # not applied yet, or somebody else's by now
        now, error = await self._look(hands.config.rollback_timeout_ms / 1000)
        if error:
            return Undone(error=error)
        if now is None:
            return Undone(told=UNCHANGED)  # the workload is as it was
        if self._before is None or not hands.config.rollback_on_failure:
            return Undone(workload=now, told=f"{plan.workload} was applied, and goes on by itself")
        return await self._go_back()

    async def _look(self, limit: float) -> tuple[Object | None, str]:
        """Return the workload if it has been applied, and why that can't be told in time, if it can't."""
        hands, plan = self._hands, self._plan
        try:
            with anyio.fail_after(limit):
                now = await hands.patient.find(plan.workload)
        except (ProviderError, TimeoutError) as error:
            return None, str(error) or f"{plan.workload} could not be looked at within {limit:g} s"
        return now if now is not None and annotations_of(now).get(RELEASE) == plan.release else None, ""

    async def _stopped(self, error: ProviderError) -> DeploymentResult | None:
        """Return what came of an apply that failed; None where nothing of the workload was changed."""
        hands, plan = self._hands, self._plan
        message = f"{plan.version} failed: {error.message}"

        async def undo_half() -> Undone:
            undone = await self._undo_half()
            if undone.told == UNCHANGED and undone.error is None:
                hands.rollouts.tell("finished", DeploymentStatus.FAILED, error.message)
            else:
                self._tell_undone(undone, message, undone.workload or plan.workload_object)
            return undone

        undone = await shielded(undo_half)
        if undone.told == UNCHANGED and undone.error is None:
            return None
        workload, scene, status = undone.workload, undone.scene, DeploymentStatus.FAILED
        if scene is not None:
            workload, status = scene.workload, DeploymentStatus.ROLLED_BACK
        metadata = DeploymentMetadata()
        if workload is not None:
            metadata = await describe_workload(hands, workload, scene, self._started)
        message += f"; {undone}"
        return result_of(plan.workload, status, message, metadata, _reworded(error, message))

    async def _cancelled(self) -> None:
        hands, plan = self._hands, self._plan
        if self._stored is None:
            outcome, status = Undone(told=UNCHANGED).outcome
        elif hands.config.on_cancel == "rollback":
            outcome, status = (await self._take_back()).outcome
        else:
            outcome, status = await self._left()
        tell_cancelled(hands, f"rollout of {plan.version}", outcome, status)

    async def _left(self) -> tuple[str, DeploymentStatus]:
        """Pause it or let it go on; where it may not have been applied, look first."""
        hands, plan = self._hands, self._plan
        if self._applied is None:
            now, error = await self._look(hands.config.timeout_ms / 1000)
            if error:
                return f"what has become of it can't be told: {error}", DeploymentStatus.UNKNOWN
            if now is None:
                return Undone(told=UNCHANGED).outcome
        if hands.config.on_cancel == "pause":
            return await pause(hands, plan.workload_object)
        return f"{plan.version} rolls out by itself", DeploymentStatus.PROGRESSING

    async def _take_back(self) -> Undone:
        """Undo what was cancelled: of a first deploy, delete the workload, which then is nobody's yet."""
        hands, plan = self._hands, self._plan
        if self._before is not None:
            return await self._go_back()
        limit = hands.config.rollback_timeout_ms / 1000
        try:
            with anyio.fail_after(limit):
                made = await hands.patient.find(plan.workload)
                if made is None or annotations_of(made).get(RELEASE) != plan.release:
                    return Undone(told=UNCHANGED)
                await hands.patient.delete(plan.workload, uid=made["metadata"]["uid"])
        except (ProviderError, TimeoutError) as error:
            why = str(error) or f"not within {limit:g} s"
            return Undone(error=f"{plan.workload} could not be deleted: {why}")
        others = len(plan.objects) > 1
        stays = "; what else was applied stays" if others else ""
        return Undone(told=f"{plan.workload} is deleted, as there was none before{stays}")


def _reworded(error: ProviderError, message: str) -> ProviderError:
    return type(error)(message, outage=False, retryable=False)
