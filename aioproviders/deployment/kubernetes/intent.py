"""What was deployed, kept in the cluster: a Secret for each release."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.objects import Ref
from aioproviders.deployment.kubernetes.plan import Plan

__all__ = ["StoredRelease", "list_releases", "mark_healthy", "read_release", "trim_releases", "write_release"]


@dataclass(frozen=True)
class StoredRelease:
    """One stored release, without its objects' contents.

    Attributes:
        release: Its hash, as in the workload's and its ReplicaSets' annotation `RELEASE`.
        version: Its version.
        healthy: Whether it was marked healthy.
        created_at: When it was deployed first.
        deployed_at: When it was deployed last; newest first is the order of releases.
        change_cause: Why.
        images: Its workload's images.
        objects: What it applied.
    """

    release: str
    version: str
    healthy: bool
    created_at: datetime
    deployed_at: datetime
    change_cause: str | None
    images: tuple[str, ...]
    objects: tuple[Ref, ...]


async def list_releases(api: Api, workload: Ref) -> tuple[StoredRelease, ...]:
    """Return the stored releases of a workload, the one deployed last first."""
    ...


async def read_release(api: Api, workload: Ref, release: str) -> Plan:
    """Return a stored release as a plan to apply again; NotFoundError where it is not kept."""
    ...


async def write_release(api: Api, plan: Plan) -> StoredRelease:
    """Store a release, after it was applied and before it is waited for."""
    ...


async def mark_healthy(api: Api, workload: Ref, release: str) -> None:
    """Note that all instances of a release were available."""
    ...


async def trim_releases(api: Api, workload: Ref, releases: tuple[StoredRelease, ...], keep: int, needed: frozenset[str]) -> tuple[StoredRelease, ...]:
    """Delete all but the last `keep` releases, never those of `needed` (that live ReplicaSets name); returns the kept."""
    ...
