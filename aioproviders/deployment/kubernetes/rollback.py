"""Going back to an earlier release: by what we have stored of it, or else by what the cluster keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic
from typing import NamedTuple

import anyio

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.apply import apply_plan
from aioproviders.deployment.kubernetes.history import history_of
from aioproviders.deployment.kubernetes.intent import (
    StoredRelease,
    list_releases,
    mark_healthy,
    read_release,
    write_release,
)
from aioproviders.deployment.kubernetes.objects import RELEASE, VERSION, Object, Ref, annotations_of
from aioproviders.deployment.kubernetes.plan import Plan
from aioproviders.deployment.kubernetes.provenance import version_noted
from aioproviders.deployment.kubernetes.prune import find_leftovers, prune
from aioproviders.deployment.kubernetes.rolling import (
    Hands,
    RolloutError,
    describe_workload,
    result_of,
    roll_out,
)
from aioproviders.deployment.kubernetes.scene import Scene
from aioproviders.deployment.kubernetes.waiting import counts_of, rollout_verdict, updates_by_itself
from aioproviders.deployment.kubernetes.workloads import (
    Revision,
    is_of,
    merge_patch,
    paused_by,
    revision_objects,
    revisions_of,
    unhashed,
)
from aioproviders.deployment.models import DeploymentResult, DeploymentStatus
from aioproviders.deployment.releases import find_release
from aioproviders.errors import ConflictError, NotFoundError, ProviderError

__all__ = ["go_back", "keep_replicas", "roll_back"]


class _Restored(NamedTuple):
    """The workload as it was applied, the plan where one is stored, and whether anything had to change."""

    workload: Object
    plan: Plan | None
    changed: bool


async def roll_back(hands: Hands, ref: Ref, wanted: str) -> DeploymentResult:
    """Go back to the release that `wanted` names, and wait until it is well.

    Raises:
        NotFoundError: There is no workload, or no such release.
        ConflictError: Somebody has paused the workload.
    """
    started = monotonic()
    workload = await hands.api.find(ref)
    if workload is None:
        raise NotFoundError(f"{ref} is not there: nothing to roll back")
    updates_by_itself(workload)
    kept = await revision_objects(hands.api, workload)
    earlier = await list_releases(hands.api, ref)
    entries = history_of(workload, kept, earlier)
    release = find_release([entry[0] for entry in entries], wanted)
    _, revision, stored = next(entry for entry in entries if entry[0] is release)
    if manager := paused_by(workload):
        raise ConflictError(
            f"{ref} was paused by {manager}; 'kubectl rollout resume' it, or nothing would be rolled back"
        )
    hands.rollouts.tell("started", DeploymentStatus.PROGRESSING, f"rolling back to {release.version}")
    hands.logger.info("rollout.started", version=release.version, revision=release.revision, rollback=True)
    try:
        # A revision without a release has the version that its history tells, which may be none of its own.
        target = stored or replace(revision, annotations=_noted(revision, release.version))
        restored = await _restore(hands, hands.api, workload, target, earlier)
        if not restored.changed and _is_done(restored.workload):
            return await _unchanged(hands, restored.workload, release.version, started)
        scene = await roll_out(hands, restored.workload, hands.config.rollout_timeout_ms)
    except RolloutError as failure:
        hands.logger.warning("rollout.failed", version=release.version, reason=failure.diagnosis.reason)
        metadata = await describe_workload(hands, failure.workload, None, started)
        metadata["diagnosis"] = failure.diagnosis
        message = f"the rollback to {release.version} failed: {failure.error.message}"
        hands.rollouts.tell(
            "finished", DeploymentStatus.FAILED, message, replicas=counts_of(failure.workload)
        )
        return result_of(ref, DeploymentStatus.FAILED, message, metadata, failure.error)
    except ProviderError as error:
        message = f"the rollback to {release.version} failed: {error.message}"
        hands.rollouts.tell("finished", DeploymentStatus.FAILED, message)
        raise
    if stored is not None and not stored.healthy:
        await _note_healthy(hands, ref, stored)
    await _clear_up(hands, hands.api, restored.plan, earlier)
    metadata = await describe_workload(hands, scene.workload, scene, started)
    counts, status = counts_of(scene.workload), _well(scene.workload)
    message = f"rolled back to {release.version}"
    hands.logger.info("rollout.completed", version=release.version, revision=metadata.get("revision"))
    hands.rollouts.tell("finished", status, message, replicas=counts)
    return result_of(ref, status, message, metadata)


async def go_back(hands: Hands, ref: Ref, failed: str, before: Object | None) -> tuple[Scene, str] | None:
    """Undo a rollout: restore the last release that was healthy, and wait until it is.

    To be called where nothing cancels it; bounded by ``rollback_timeout_ms``, and so is clearing up after it.

    Args:
        hands: What to work with.
        ref: The workload.
        failed: Hash of the release that is undone.
        before: The workload as it was before, where that is known.

    Returns:
        What there is then, and the version restored; None where there was nothing to go back to.

    Raises:
        RolloutError: The release that was restored isn't well either.
        ProviderError: It could not be restored.
        TimeoutError: The time was up before it was well.
    """
    api, limit = hands.patient, hands.config.rollback_timeout_ms / 1000
    with anyio.fail_after(limit):
        earlier = await list_releases(api, ref)
        target = await _last_healthy(api, earlier, failed, before)
        if target is None:
            return None
        now = await api.get(ref)
        number = before["spec"].get("replicas") if before else None
        if number is not None:
            now = {**now, "spec": {**now["spec"], "replicas": number}}
        restored = await _restore(hands, api, now, target, earlier)
        scene = await roll_out(hands, restored.workload, hands.config.rollback_timeout_ms, api=api)
    with anyio.move_on_after(limit):
        await _clear_up(hands, api, restored.plan, earlier)
    version = target.version if isinstance(target, StoredRelease) else _version(target)
    return scene, version


async def _last_healthy(
    api: Api, earlier: Sequence[StoredRelease], failed: str, before: Object | None
) -> StoredRelease | Revision | None:
    own = annotations_of(before).get(RELEASE) if before else None
    # A rollout whose caller went away may have ended well with nobody there to note it.
    was_well = before is not None and _is_done(before)
    healthy = [
        release
        for release in earlier
        if (release.healthy and release.release != failed) or (was_well and release.release == own)
    ]
    target: StoredRelease | Revision | None
    target = next((release for release in healthy if release.release == own), None)
    if target is None and before is not None and was_well and own is None:
        target = await _foreign(api, before)
    return target or next(iter(healthy), None)


def keep_replicas(plan: Plan, workload: Object) -> Plan:
    """Return the plan with as many replicas as `workload` has, where the plan says how many."""
    number = workload["spec"].get("replicas")

    def kept(obj: Object) -> Object:
        if Ref.of(obj) != plan.workload or "replicas" not in obj.get("spec", {}) or number is None:
            return obj
        return {**obj, "spec": {**obj["spec"], "replicas": number}}

    return replace(plan, objects=tuple(map(kept, plan.objects)))


async def _restore(
    hands: Hands,
    api: Api,
    workload: Object,
    target: StoredRelease | Revision,
    earlier: Sequence[StoredRelease],
) -> _Restored:
    """Apply the release; what runs it already may have been changed by others."""
    ref, config = Ref.of(workload), hands.config
    if isinstance(target, StoredRelease):
        plan = await read_release(api, ref, target.release)
        gone = await find_leftovers(api, plan, earlier) if config.prune else ()
        applied = await apply_plan(api, keep_replicas(plan, workload), force=config.force, leftovers=gone)
        await write_release(api, plan, earlier)
        return _Restored(applied.workload, plan, applied.changed)
    # Made by somebody else: there is no intent, just the pods' template.
    if is_of(workload, target) and paused_by(workload) is None:
        return _Restored(workload, None, changed=False)
    notes = {RELEASE: None, VERSION: target.annotations.get(VERSION)}
    template = merge_patch(unhashed(workload["spec"]["template"]), target.template)
    changes: Object = {"metadata": {"annotations": notes}, "spec": {"template": template}}
    return _Restored(await api.patch(ref, changes), None, changed=True)


async def _unchanged(hands: Hands, workload: Object, version: str, started: float) -> DeploymentResult:
    """Return the result where nothing was to be done."""
    status, message = _well(workload), f"{version} runs already: unchanged"
    metadata = await describe_workload(hands, workload, None, started)
    hands.logger.info("rollout.completed", version=version, changed=False)
    hands.rollouts.tell("finished", status, message, replicas=counts_of(workload))
    return result_of(workload, status, message, metadata)


async def _note_healthy(hands: Hands, ref: Ref, stored: StoredRelease) -> None:
    """Note that the release is well; failing is no failure."""
    try:
        await mark_healthy(hands.api, ref, stored.release)
    except ProviderError as error:
        hands.logger.warning("rollout.not_tidied", version=stored.version, error=error.message)


async def _clear_up(hands: Hands, api: Api, plan: Plan | None, earlier: Sequence[StoredRelease]) -> None:
    """Delete what the release left behind has and the restored one has not; failing is no failure."""
    if plan is None or not hands.config.prune:
        return
    try:
        await prune(api, plan, earlier)
    except ProviderError as error:
        hands.logger.warning("rollout.not_tidied", version=plan.version, error=error.message)


async def _foreign(api: Api, before: Object) -> Revision | None:
    """Return the revision of a workload as somebody else had made it."""
    template = unhashed(before["spec"]["template"])
    for revision in revisions_of(before, await revision_objects(api, before)):
        if revision.template == template:
            return revision
    return None


def _is_done(workload: Object) -> bool:
    return rollout_verdict(workload, workload["metadata"]["generation"]).outcome == "done"


def _well(workload: Object) -> DeploymentStatus:
    zero = not counts_of(workload).desired and workload["kind"] != "DaemonSet"
    return DeploymentStatus.SCALED_TO_ZERO if zero else DeploymentStatus.HEALTHY


def _noted(revision: Revision, version: str) -> dict[str, str]:
    notes = dict(revision.annotations)
    return notes | {VERSION: version} if VERSION in notes else notes


def _version(revision: Revision) -> str:
    return version_noted(revision.annotations, revision.images) or "what ran before"
