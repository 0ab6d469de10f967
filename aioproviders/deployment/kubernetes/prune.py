"""Deleting what earlier releases of ours made and the current one doesn't."""

from __future__ import annotations

from collections.abc import Sequence

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.intent import StoredRelease
from aioproviders.deployment.kubernetes.objects import Ref
from aioproviders.deployment.kubernetes.plan import Plan

__all__ = ["prune"]


async def prune(api: Api, plan: Plan, kept: Sequence[StoredRelease], dropped: Sequence[StoredRelease] = ()) -> tuple[Ref, ...]:
    """Delete what is left over, after a success; returns what was deleted.

    Never a Namespace or a PersistentVolumeClaim; nothing that isn't ours any more; ConfigMaps and Secrets
    named by their content only when no release of `kept` has them.
    """
    ...
