"""The releases of a workload: the revisions that the cluster keeps, with what we have noted of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from aioproviders.deployment.kubernetes.intent import StoredRelease
from aioproviders.deployment.kubernetes.objects import CHANGE_CAUSE, RELEASE, VERSION, Object, annotations_of
from aioproviders.deployment.kubernetes.status import tag_of
from aioproviders.deployment.kubernetes.workloads import Revision, revisions_of
from aioproviders.deployment.models import DeploymentStatus, Release

__all__ = ["history_of"]

_NEVER = datetime.max.replace(tzinfo=UTC)


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
    revisions = revisions_of(workload, revision_objects)
    first: dict[str, str] = {}
    for revision in sorted(revisions, key=lambda item: (item.created_at or _NEVER, item.number)):
        first.setdefault(revision.annotations.get(RELEASE, ""), revision.name)
    entries = []
    for revision in revisions:
        # What is noted on a ControllerRevision is of the first release that had its template.
        notes = annotations_of(workload) if revision.current else revision.annotations
        # What others change of a release, as by 'kubectl rollout restart', has its notes but is not it.
        own = first.get(revision.annotations.get(RELEASE, "")) == revision.name
        intent = by_hash.get(notes.get(RELEASE, "")) if own else None
        entries.append((_release(revision, notes, intent, failed=failed), revision, intent))
    return entries


def _release(
    revision: Revision, noted: Mapping[str, str], intent: StoredRelease | None, *, failed: bool
) -> Release:
    images = revision.images
    version = intent.version if intent else noted.get(VERSION) or (tag_of(images[0]) if images else None)
    healthy = intent.healthy if intent else revision.available
    status = DeploymentStatus.HEALTHY if healthy else DeploymentStatus.UNKNOWN
    if (revision.current and failed) or (intent and not healthy and not revision.current):
        status = DeploymentStatus.FAILED
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
