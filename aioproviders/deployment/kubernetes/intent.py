"""What was deployed, kept in the cluster: a Secret for each release, with the objects that it applied.

A rollback applies them again as the same field manager, so that it does not fight the next deploy.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.objects import (
    CHANGE_CAUSE,
    HEALTHY,
    MANAGER,
    RELEASE,
    ROLLED_BACK,
    VERSION,
    Object,
    Ref,
    annotations_of,
    labels_of,
)
from aioproviders.deployment.kubernetes.plan import Plan
from aioproviders.deployment.kubernetes.side_by_side import side_by_side
from aioproviders.errors import NotFoundError, RequestError

__all__ = [
    "StoredRelease",
    "delete_releases",
    "kept_releases",
    "list_releases",
    "mark_healthy",
    "mark_rolled_back",
    "objects_of_others",
    "read_release",
    "write_release",
]

_OF = "aioproviders.dev/deployment"
_DEPLOYED = "aioproviders.dev/deployed-at"
_IMAGES, _OBJECTS = "aioproviders.dev/images", "aioproviders.dev/objects"
_KEY = "release"
_LONG_AGO = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True)
class StoredRelease:
    """One stored release, without its objects' contents.

    Attributes:
        release: Its hash, as in the annotation `RELEASE` of the workload and its ReplicaSets.
        version: Its version.
        healthy: Whether it was marked healthy.
        created_at: When it was deployed first.
        deployed_at: When it was deployed last.
        change_cause: Why.
        images: Its workload's images.
        objects: What it applied.
        rolled_back: Whether it was undone.
    """

    release: str
    version: str
    healthy: bool
    created_at: datetime
    deployed_at: datetime
    change_cause: str | None
    images: tuple[str, ...]
    objects: tuple[Ref, ...]
    rolled_back: bool = False


async def list_releases(api: Api, workload: Ref) -> tuple[StoredRelease, ...]:
    """Return the stored releases of a workload, the one deployed last first; one request."""
    labels = f"app.kubernetes.io/managed-by={MANAGER},{_OF}={workload.name}"
    listed = await api.list("v1", "Secret", workload.namespace, labels=labels, metadata_only=True)
    releases = [_stored(item) for item in listed["items"]]
    return tuple(sorted(releases, key=lambda release: release.deployed_at, reverse=True))


async def objects_of_others(api: Api, workload: Ref) -> frozenset[Ref]:
    """Return what the latest releases of the namespace's other deployments applied; one request."""
    labels = f"app.kubernetes.io/managed-by={MANAGER},{_OF},{_OF}!={workload.name}"
    listed = await api.list("v1", "Secret", workload.namespace, labels=labels, metadata_only=True)
    items = ((labels_of(item)[_OF], _stored(item)) for item in listed["items"])
    latest = dict(sorted(items, key=lambda item: item[1].deployed_at))  # of each name, the last holds
    return frozenset(ref for release in latest.values() for ref in release.objects)


async def read_release(api: Api, workload: Ref, release: str) -> Plan:
    """Return a stored release as a plan, to apply it again.

    Raises:
        NotFoundError: It is not kept.
        RequestError: What is stored can't be read.
    """
    ref = _ref(workload, release)
    try:
        secret = await api.get(ref)
    except NotFoundError as error:
        raise NotFoundError(f"the release {release} of {workload} is not kept any more") from error
    try:
        packed = base64.b64decode(secret["data"][_KEY])
        content = json.loads(gzip.decompress(packed))
        return Plan(
            release,
            content["version"],
            content["change_cause"],
            Ref(*content["workload"]),
            tuple(content["objects"]),
        )
    except (KeyError, TypeError, ValueError, OSError, EOFError, binascii.Error) as error:
        raise RequestError(f"{ref} in {ref.namespace} can't be read as a release", retryable=False) from error


async def write_release(api: Api, plan: Plan, earlier: Sequence[StoredRelease] = ()) -> StoredRelease:
    """Store a release, before it is applied: what can't be stored could not be gone back to.

    One that was deployed before is then the latest, and as healthy as it was.

    Args:
        api: The API server.
        plan: What will be applied.
        earlier: Of `list_releases`, where that is known: the latest one again then costs no request.
    """
    if earlier and earlier[0].release == plan.release and earlier[0].change_cause == plan.change_cause:
        return earlier[0]
    return _stored(await api.apply(_secret(plan, datetime.now(UTC))))


async def mark_healthy(api: Api, workload: Ref, release: str) -> None:
    """Note that all instances of a release were available."""
    await api.patch(_ref(workload, release), {"metadata": {"annotations": {HEALTHY: "true"}}})


async def mark_rolled_back(api: Api, workload: Ref, release: str) -> None:
    """Note that a release was undone."""
    await api.patch(_ref(workload, release), {"metadata": {"annotations": {ROLLED_BACK: "true"}}})


def kept_releases(
    releases: Sequence[StoredRelease], keep: int, needed: Collection[str] = ()
) -> tuple[StoredRelease, ...]:
    """Return those of `releases` that stay, newest first.

    Args:
        releases: Newest first, as of `list_releases`.
        keep: So many stay; the last healthy one stays in any case.
        needed: Hashes of others that stay, such as those that live ReplicaSets name.
    """
    last_healthy = next((release.release for release in releases if release.healthy), None)
    return tuple(
        release
        for number, release in enumerate(releases)
        if number < keep or release.release in needed or release.release == last_healthy
    )


async def delete_releases(api: Api, workload: Ref, releases: Iterable[StoredRelease]) -> None:
    """Delete stored releases, side by side; what they made is not named by anything thereafter."""
    await side_by_side(partial(api.delete, _ref(workload, release.release)) for release in releases)


def _ref(workload: Ref, release: str) -> Ref:
    return Ref("v1", "Secret", workload.namespace, f"{workload.name}.release.{release}")


def _secret(plan: Plan, now: datetime) -> Object:
    content = {
        "version": plan.version,
        "change_cause": plan.change_cause,
        "workload": list(plan.workload),
        "objects": plan.objects,
    }
    packed = gzip.compress(json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode(), mtime=0)
    ref = _ref(plan.workload, plan.release)
    annotations = {
        VERSION: plan.version,
        _DEPLOYED: now.isoformat(),
        _IMAGES: json.dumps(plan.images),
        _OBJECTS: json.dumps(plan.refs),
    }
    if plan.change_cause:
        annotations[CHANGE_CAUSE] = plan.change_cause
    return {
        "apiVersion": ref.api_version,
        "kind": ref.kind,
        "type": RELEASE,
        "metadata": {
            "name": ref.name,
            "namespace": ref.namespace,
            "labels": {
                "app.kubernetes.io/managed-by": MANAGER,
                _OF: plan.workload.name,
                RELEASE: plan.release,
            },
            "annotations": annotations,
        },
        "data": {_KEY: base64.b64encode(packed).decode()},
    }


def _stored(secret: Object) -> StoredRelease:
    notes = annotations_of(secret)
    created = _time(secret["metadata"].get("creationTimestamp"))
    return StoredRelease(
        release=labels_of(secret).get(RELEASE, ""),
        version=notes.get(VERSION, ""),
        healthy=notes.get(HEALTHY) == "true",
        created_at=created,
        deployed_at=max(created, _time(notes.get(_DEPLOYED))),
        change_cause=notes.get(CHANGE_CAUSE),
        images=tuple(_listed(notes.get(_IMAGES))),
        objects=tuple(Ref(*names) for names in _listed(notes.get(_OBJECTS))),
        rolled_back=notes.get(ROLLED_BACK) == "true",
    )


def _time(text: str | None) -> datetime:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return _LONG_AGO
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _listed(text: str | None) -> list[Any]:
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return []
    return found if isinstance(found, list) else []
