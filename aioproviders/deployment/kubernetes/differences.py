"""What a deploy would change: the server's own dry run, compared with what is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.apply import look, try_object
from aioproviders.deployment.kubernetes.kept import kept_of_others
from aioproviders.deployment.kubernetes.objects import RELEASE, TEMPLATE, Object, Ref
from aioproviders.deployment.kubernetes.plan import Plan
from aioproviders.deployment.models import Change
from aioproviders.redaction import MASK

__all__ = ["diff_plan", "differences"]

_BOOKKEEPING = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
_NOTES = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",  # the controller's, who may just be about to write it
    RELEASE,
    TEMPLATE,
)
_SECRET_PARTS = ("data", "stringData")
_MISSING: Any = object()


async def diff_plan(
    api: Api, plan: Plan, *, force: bool = False, leftovers: Iterable[Ref] = ()
) -> tuple[Change, ...]:
    """Tell what `apply_plan` would change; nothing is.

    Args:
        api: The API server.
        plan: The plan.
        force: As for `apply_plan`.
        leftovers: What would be deleted thereafter, see `prune`.

    Raises:
        FieldConflictError: Fields belong to other managers.
        ConfigurationError: The server does not take an object.
    """
    leftovers = tuple(leftovers)
    seen = await look(api, plan, leftovers)
    changes: list[Change] = []
    for obj in plan.objects:
        ref = Ref.of(obj)
        then = await try_object(api, plan, obj, seen, force=force)
        live = seen.before if ref == plan.workload or then is None else await api.find(ref)
        if then is None or live is None:
            changes.append(Change(action="added", object=str(ref), after=_masked(_shown(then or obj))))
        else:
            changes += differences(str(ref), _shown(live), _shown(then), secret=ref.kind == "Secret")
        if ref == plan.workload:
            changes += [
                Change(action="kept", object=str(ref), path=path, after=f"set by {manager}")
                for manager, path in await kept_of_others(api, obj, then)
            ]
    changes += [Change(action="removed", object=str(ref)) for ref in leftovers]
    return tuple(changes)


def differences(name: str, before: Object, after: Object, *, secret: bool = False) -> Iterator[Change]:
    """Yield what differs between two states of an object.

    Args:
        name: ``Deployment/web``.
        before: What is.
        after: What would be.
        secret: Whether it is a Secret; its values are masked.
    """
    for path, old, new in _compare(before, after, ()):
        hide = secret and bool(path) and path[0] in _SECRET_PARTS
        yield Change(
            action="added" if old is _MISSING else "removed" if new is _MISSING else "changed",
            object=name,
            path=_printed(path),
            before=None if old is _MISSING else MASK if hide else old,
            after=None if new is _MISSING else MASK if hide else new,
        )


def _compare(
    old: Any, new: Any, path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], Any, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _compare(old.get(key, _MISSING), new.get(key, _MISSING), (*path, key))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            one = old[index] if index < len(old) else _MISSING
            other = new[index] if index < len(new) else _MISSING
            yield from _compare(one, other, (*path, index))
    elif old != new:
        yield path, old, new


def _printed(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _shown(obj: Object) -> Object:
    """Return the object without what the server keeps books of."""
    metadata = {key: value for key, value in obj["metadata"].items() if key not in _BOOKKEEPING}
    notes = {
        key: value for key, value in (metadata.pop("annotations", None) or {}).items() if key not in _NOTES
    }
    if notes:
        metadata["annotations"] = notes
    shown = {key: value for key, value in obj.items() if key != "status"}
    return {**shown, "metadata": metadata}


def _masked(obj: Object) -> Object:
    """Return the object with the values masked if it is a Secret."""
    if obj["kind"] != "Secret":
        return obj
    return obj | {part: dict.fromkeys(obj[part], MASK) for part in _SECRET_PARTS if obj.get(part)}
