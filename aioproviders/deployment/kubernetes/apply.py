"""Applying a plan by server-side apply, and telling what that would change."""

from __future__ import annotations

from dataclasses import dataclass

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.objects import Object
from aioproviders.deployment.kubernetes.plan import Plan
from aioproviders.deployment.models import Change

__all__ = ["Applied", "apply_plan", "diff_plan"]


@dataclass(frozen=True)
class Applied:
    """What applying came to.

    Attributes:
        before: The workload before; None where there was none.
        workload: The workload as the last PATCH returned it; its ``metadata.generation`` is what to wait for.
        autoscaler: Name of the HorizontalPodAutoscaler that owns the replicas, if one does.
        changed: Whether the workload's or any other object's spec changed (another generation, or another
            resourceVersion).
    """

    before: Object | None
    workload: Object
    autoscaler: str | None
    changed: bool


async def apply_plan(api: Api, plan: Plan, *, force: bool = False) -> Applied:
    """Apply all objects of `plan` in order; hands replicas over to an autoscaler first."""
    ...


async def diff_plan(api: Api, plan: Plan, *, force: bool = False) -> tuple[Change, ...]:
    """Tell what `apply_plan` would change; secrets' values are masked."""
    ...
