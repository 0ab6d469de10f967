"""Deleting what earlier releases of ours made and the current one doesn't."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.intent import StoredRelease, objects_of_others
from aioproviders.deployment.kubernetes.objects import Ref, is_applied_by_us
from aioproviders.deployment.kubernetes.plan import Plan
from aioproviders.deployment.kubernetes.side_by_side import side_by_side
from aioproviders.errors import ConfigurationError, ConflictError, ProviderError

__all__ = ["find_leftovers", "leftovers", "prune"]

_NEVER = frozenset({"PersistentVolumeClaim"})
"""What holds data."""
_BY_CONTENT = re.compile(r"-(env|settings)-[0-9a-f]{10}")


def leftovers(
    plan: Plan, kept: Sequence[StoredRelease], dropped: Sequence[StoredRelease] = ()
) -> tuple[Ref, ...]:
    """Return what earlier releases made and nothing needs any more; asks nobody.

    Args:
        plan: The current release.
        kept: The releases that can be gone back to.
        dropped: Releases that are not kept any more.

    Returns:
        What to delete: never a volume, or what belongs to the whole cluster, where deployments of other
        namespaces may need it; a ConfigMap or Secret that is named by its content only when no kept
        release has it.
    """
    current = {ref.identity for ref in plan.refs}
    needed = {ref.identity for release in kept for ref in release.objects if _is_by_content(ref, plan)}
    made = {ref.identity: ref for release in (*dropped, *reversed(kept)) for ref in release.objects}
    return tuple(
        ref
        for identity, ref in made.items()
        if identity not in current | needed and ref.namespace is not None and ref.kind not in _NEVER
    )


async def find_leftovers(
    api: Api, plan: Plan, kept: Sequence[StoredRelease], dropped: Sequence[StoredRelease] = ()
) -> tuple[Ref, ...]:
    """Return `leftovers` but for what another deployment of ours has made its own; a request at most."""
    found = leftovers(plan, kept, dropped)
    taken = await objects_of_others(api, plan.workload) if found else ()
    others = {ref.identity for ref in taken}
    return tuple(ref for ref in found if ref.identity not in others)


async def prune(
    api: Api, plan: Plan, kept: Sequence[StoredRelease], dropped: Sequence[StoredRelease] = ()
) -> tuple[Ref, ...]:
    """Delete what is left over, see `find_leftovers`; after a success. Side by side.

    What is not ours any more, since somebody made it anew, stays.

    Returns:
        What was deleted.

    Raises:
        ProviderError: Something could not be deleted; all else is.
    """
    deleted: list[Ref] = []
    failed: list[ProviderError] = []

    async def delete(ref: Ref) -> None:
        try:
            live = await api.find(ref)
            if (
                live is not None
                and is_applied_by_us(live)
                and await api.delete(ref, uid=live["metadata"]["uid"])
            ):
                deleted.append(ref)
        except (ConflictError, ConfigurationError):
            return  # made anew in this moment; or its kind is gone, and it with it
        except ProviderError as error:
            failed.append(error)

    await side_by_side(partial(delete, ref) for ref in await find_leftovers(api, plan, kept, dropped))
    if failed:
        raise failed[0]
    return tuple(sorted(deleted))


def _is_by_content(ref: Ref, plan: Plan) -> bool:
    if ref.kind not in ("ConfigMap", "Secret"):
        return False
    rest = ref.name.removeprefix(plan.workload.name)
    return rest != ref.name and _BY_CONTENT.fullmatch(rest) is not None
