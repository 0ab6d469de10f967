"""The releases of a workload: the revisions that the cluster keeps, with what we have noted of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aioproviders.deployment.kubernetes.intent import StoredRelease
from aioproviders.deployment.kubernetes.objects import CHANGE_CAUSE, RELEASE, VERSION, Object, annotations_of
from aioproviders.deployment.kubernetes.status import tag_of
from aioproviders.deployment.kubernetes.workloads import Revision, revisions_of
from aioproviders.deployment.models import DeploymentStatus, Release

__all__ = ["history_of"]


def history_of(
    workload: Object,
    revision_objects: Iterable[Object],
    stored: Sequence[StoredRelease],
    *,
    failed: bool = False,
) -> list[tuple[Release, Revision, StoredRelease | None]]:
    """Join revisions and stored releases; newest first.

    Args:
        workload: The workload.
        revision_objects: Its ReplicaSets or ControllerRevisions.
        stored: What we have stored.
        failed: Whether the current release is known not to be well.
    """
    by_hash = {release.release: release for release in stored}
    entries = []
    for revision in revisions_of(workload, revision_objects):
        # What is noted on a ControllerRevision is of the first release that had its template.
        notes = annotations_of(workload) if revision.current else revision.annotations
        intent = by_hash.get(notes.get(RELEASE, ""))
        entries.append((_release(revision, notes, intent, failed=failed), revision, intent))
    return entries


def _release(
    revision: Revision, notes: dict[str, str] | object, intent: StoredRelease | None, *, failed: bool
) -> Release:
    noted = notes if isinstance(notes, dict) else {}
    images = revision.images
    version = intent.version if intent else noted.get(VERSION) or (tag_of(images[0]) if images else None)
    healthy = intent.healthy if intent else revision.available
    if revision.current:
        well = DeploymentStatus.HEALTHY if healthy else DeploymentStatus.UNKNOWN
        status = DeploymentStatus.FAILED if failed else well
    else:
        status = (
            DeploymentStatus.HEALTHY
            if healthy
            else DeploymentStatus.FAILED
            if intent
            else DeploymentStatus.UNKNOWN
        )
    return Release(
        revision=revision.number,
        version=version or "",
        status=status,
        healthy=healthy,
        current=revision.current,
        created_at=intent.created_at if intent else revision.created_at,
        images=images,
        change_cause=intent.change_cause if intent else noted.get(CHANGE_CAUSE),
    )
