"""Bringing back an earlier release: by what we have stored of it, or else by what the cluster keeps."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import NamedTuple

import anyio

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.apply import apply_plan
from aioproviders.deployment.kubernetes.intent import (
    StoredRelease,
    list_releases,
    mark_rolled_back,
    read_release,
    write_release,
)
from aioproviders.deployment.kubernetes.kept import Kept
from aioproviders.deployment.kubernetes.objects import (
    CHANGE_CAUSE,
    RELEASE,
    RESTORER,
    TEMPLATE,
    VERSION,
    Object,
    Ref,
    annotations_of,
)
from aioproviders.deployment.kubernetes.plan import Plan
from aioproviders.deployment.kubernetes.provenance import is_as_noted, version_noted
from aioproviders.deployment.kubernetes.prune import find_leftovers, prune
from aioproviders.deployment.kubernetes.rolling import Hands, roll_out
from aioproviders.deployment.kubernetes.scene import Scene, TakenOverError
from aioproviders.deployment.kubernetes.waiting import rollout_verdict
from aioproviders.deployment.kubernetes.workloads import (
    Revision,
    is_of,
    merge_patch,
    paused_by,
    revision_objects,
    revisions_of,
    unhashed,
)
from aioproviders.errors import ProviderError

__all__ = ["Restored", "clear_up", "go_back", "is_done", "keep_replicas", "restore"]


class Restored(NamedTuple):
    """What bringing back a release came to.

    Attributes:
        workload: The workload as it was applied.
        plan: The plan, where one is stored.
        changed: Whether anything had to change.
        kept: What others have set of its pods, and stays.
    """

    workload: Object
    plan: Plan | None
    changed: bool
    kept: tuple[Kept, ...] = ()


async def go_back(
    hands: Hands, ref: Ref, undone: str | None, before: Object | None, *, any_healthy: bool = True
) -> tuple[Scene, str] | None:
    """Undo a rollout: restore what ran before if that was healthy, and wait until it is again.

    To be called where nothing cancels it; bounded by ``rollback_timeout_ms``, and so is clearing up after it.

    Args:
        hands: What to work with.
        ref: The workload.
        undone: Hash of the release that is undone; None for what is none of ours.
        before: The workload as it was before, where that is known.
        any_healthy: Whether another one that was healthy would do, too.

    Returns:
        What there is then, and the version restored; None where there was nothing to go back to.

    Raises:
        RolloutError: The release that was restored isn't well either.
        TakenOverError: Somebody else has deployed meanwhile.
        ProviderError: It could not be restored.
        TimeoutError: The time was up before it was well.
    """
    api, limit = hands.patient, hands.config.rollback_timeout_ms / 1000
    began = monotonic()
    with anyio.fail_after(limit):
        earlier = await list_releases(api, ref)
        target = await _fallback(api, earlier, undone, before, any_healthy=any_healthy)
        if target is None:
            return None
        now = await api.get(ref)
        if annotations_of(now).get(RELEASE) not in (undone, _release_of(before)):
            raise TakenOverError(f"{ref} was taken over meanwhile: somebody else deployed another release")
        number = before["spec"].get("replicas") if before else None
        if number is not None:
            now = {**now, "spec": {**now["spec"], "replicas": number}}
        restored = await restore(hands, api, now, target, earlier)
    left = limit - (monotonic() - began)
    scene = await roll_out(hands, restored.workload, max(0, round(left * 1000)), api=api)
    with anyio.move_on_after(limit):
        if undone is not None and undone in {release.release for release in earlier}:
            with suppress(ProviderError):  # the history tells less, and that is all
                await mark_rolled_back(api, ref, undone)
        await clear_up(hands, api, restored.plan, earlier)
    version = target.version if isinstance(target, StoredRelease) else _version(target)
    return scene, version


async def _fallback(
    api: Api,
    earlier: Sequence[StoredRelease],
    undone: str | None,
    before: Object | None,
    *,
    any_healthy: bool,
) -> StoredRelease | Revision | None:
    own = _release_of(before)
    # A rollout whose caller went away may have ended well with nobody there to note it.
    was_well = before is not None and is_done(before)
    healthy = [
        release
        for release in earlier
        if (release.healthy and release.release != undone) or (was_well and release.release == own)
    ]
    target: StoredRelease | Revision | None
    target = next((release for release in healthy if release.release == own), None)
    changed = before is not None and _is_changed(before)
    if before is not None and was_well and (own is None or changed):
        # What others have made is not to be had from what we have stored.
        target = await _foreign(api, before) or target
    return target or (next(iter(healthy), None) if any_healthy else None)


def keep_replicas(plan: Plan, workload: Object) -> Plan:
    """Return the plan with as many replicas as `workload` has, where the plan says how many."""
    number = workload["spec"].get("replicas")

    def kept(obj: Object) -> Object:
        if Ref.of(obj) != plan.workload or "replicas" not in obj.get("spec", {}) or number is None:
            return obj
        return {**obj, "spec": {**obj["spec"], "replicas": number}}

    return replace(plan, objects=tuple(map(kept, plan.objects)))


async def restore(
    hands: Hands,
    api: Api,
    workload: Object,
    target: StoredRelease | Revision,
    earlier: Sequence[StoredRelease],
) -> Restored:
    """Apply a release; what runs it already may have been changed by others.

    Args:
        hands: What to work with.
        api: What to apply it by.
        workload: The workload as it is.
        target: The release, or the revision of one that is none of ours.
        earlier: Of `list_releases`.
    """
    ref, config = Ref.of(workload), hands.config
    if isinstance(target, StoredRelease):
        plan = await read_release(api, ref, target.release)
        gone = await find_leftovers(api, plan, earlier) if config.prune else ()
        kept = keep_replicas(plan, workload)
        applied = await apply_plan(api, kept, force=config.force, leftovers=gone)
        await write_release(api, plan, earlier)
        return Restored(applied.workload, kept, applied.changed, applied.kept)
    # Made by somebody else: there is no intent, just the pods' template.
    if is_of(workload, target) and paused_by(workload) is None:
        return Restored(workload, None, changed=False)
    told = {note: target.annotations.get(note) for note in (VERSION, CHANGE_CAUSE)}
    spec = {"template": merge_patch(unhashed(workload["spec"]["template"]), target.template)}
    if "paused" in workload["spec"]:
        spec["paused"] = None
    changes: Object = {"metadata": {"annotations": {RELEASE: None, TEMPLATE: None, **told}}, "spec": spec}
    return Restored(await api.patch(ref, changes, manager=RESTORER), None, changed=True)


async def clear_up(hands: Hands, api: Api, plan: Plan | None, earlier: Sequence[StoredRelease]) -> None:
    """Delete what the release left behind has and the restored one has not; failing is no failure."""
    if plan is None or not hands.config.prune:
        return
    try:
        await prune(api, plan, earlier)
    except ProviderError as error:
        hands.logger.warning("rollout.not_tidied", version=plan.version, error=error.message)


def is_done(workload: Object) -> bool:
    """Whether there is nothing more to wait for."""
    return rollout_verdict(workload, workload["metadata"]["generation"]).outcome == "done"


async def _foreign(api: Api, before: Object) -> Revision | None:
    """Return the revision of a workload as somebody else had made it."""
    template = unhashed(before["spec"]["template"])
    for revision in revisions_of(before, await revision_objects(api, before)):
        # A ControllerRevision writes its template in another way.
        if revision.template == template or (before["kind"] != "Deployment" and revision.current):
            notes = dict(revision.annotations)
            if _is_changed(before) and VERSION in notes:
                notes[VERSION] = f"{notes[VERSION]} (changed)"
            return replace(revision, current=False, annotations=notes)  # as it was before
    return None


def _is_changed(workload: Object) -> bool:
    """Whether a Deployment's pods are not those of its release any more."""
    return is_as_noted(annotations_of(workload), unhashed(workload["spec"]["template"])) is False


def _release_of(workload: Object | None) -> str | None:
    return annotations_of(workload).get(RELEASE) if workload else None


def _version(revision: Revision) -> str:
    return version_noted(revision.annotations, revision.images) or "what ran before"
