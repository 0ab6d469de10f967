"""The releases of a workload: the revisions that the cluster keeps, with what we have noted of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aioproviders.deployment.kubernetes.intent import StoredRelease
from aioproviders.deployment.kubernetes.objects import CHANGE_CAUSE, RELEASE, Object
from aioproviders.deployment.kubernetes.provenance import Origin, origins_of
from aioproviders.deployment.kubernetes.status import is_settled
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
    revisions = revisions_of(workload, revision_objects)
    origins = origins_of(workload, revisions)
    settled = is_settled(workload)
    seen: set[str] = set()
    entries = []
    for revision in revisions:
        origin = origins[revision.name]
        intent = by_hash.get(origin.notes.get(RELEASE, "")) if origin.own else None
        made = revision.created_at
        if intent is not None and intent.release not in seen:
            # Of a release's revisions the newest was deployed last; or somebody has restarted it since.
            seen.add(intent.release)
            made = max(intent.deployed_at, made or intent.deployed_at)
        # Of what others have made it is known only while it runs.
        healthy = intent.healthy if intent else revision.current and settled
        release = _release(revision, origin, intent, healthy=healthy, failed=failed)
        entries.append((release.model_copy(update={"created_at": made}), revision, intent))
    return entries


def _release(
    revision: Revision, origin: Origin, intent: StoredRelease | None, *, healthy: bool, failed: bool
) -> Release:
    images = revision.images
    version = intent.version if intent else origin.version(images)
    status = DeploymentStatus.HEALTHY if healthy else DeploymentStatus.UNKNOWN
    if (revision.current and failed) or (intent and not healthy and not revision.current):
        undone = intent is not None and intent.rolled_back and not revision.current
        status = DeploymentStatus.ROLLED_BACK if undone else DeploymentStatus.FAILED
    return Release(
        revision=revision.number,
        version=version or "",
        status=status,
        healthy=healthy,
        current=revision.current,
        images=images,
        change_cause=intent.change_cause if intent else origin.notes.get(CHANGE_CAUSE),
    )
