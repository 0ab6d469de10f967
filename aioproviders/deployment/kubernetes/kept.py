"""What others have set of a workload's pods and no release of ours names: applying leaves it as it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import anyio

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.objects import Object
from aioproviders.deployment.kubernetes.ownership import fields_of_others, piece_of, told
from aioproviders.errors import ProviderError

__all__ = ["Kept", "kept_of_others", "told_of"]

_MISSING: Any = object()
_LONGEST = 5.0
"""Seconds to wait for what is only told."""


class Kept(NamedTuple):
    """A field of the pods' template: whose it is, and its path, written as in the server's conflicts."""

    manager: str
    path: str


async def kept_of_others(api: Api, applied: Object, then: Object | None) -> tuple[Kept, ...]:
    """Return what others have set and applying leaves as it is; a request only where they have set anything.

    What a field of theirs says may be the server's default just as well, as after ``kubectl rollout undo``:
    the server is asked what it would make of the workload alone.

    Args:
        api: The API server.
        applied: The workload as it is applied.
        then: What the server makes of it; None where that is not known.
    """
    others = fields_of_others(then) if then is not None else []
    if then is None or not others:
        return ()
    metadata = {**applied["metadata"], "generateName": "alone-"}
    del metadata["name"]
    alone: Object | None = None
    # It is but a hint: asked once, not as often as an undoing asks for what it needs.
    with anyio.move_on_after(_LONGEST), suppress(ProviderError):
        alone = await api.bare().create({**applied, "metadata": metadata}, dry_run=True)
    if alone is None:
        return ()
    pure, live = alone["spec"]["template"], then["spec"]["template"]
    return tuple(
        Kept(manager, path)
        for manager, fields in others
        for path in _beyond(fields, "spec.template", pure, live)
    )


def told_of(kept: tuple[Kept, ...]) -> str:
    """Return what to add to a message; empty where nothing is kept."""
    return f"; what others have set stays: {told(kept)}" if kept else ""


def _beyond(fields: Mapping[str, Any], path: str, pure: Any, live: Any) -> Iterator[str]:
    """Yield the paths of those `fields` whose value in `live` is not that in `pure`."""
    for key, below in fields.items():
        piece = piece_of(key)
        if piece is None:
            continue
        ours, value = _at(key, pure), _at(key, live)
        if value is _MISSING:
            continue
        is_item = not key.startswith("f:")
        if below and set(below) != {"."} and not (is_item and ours is _MISSING):
            yield from _beyond(below, path + piece, ours, value)
        elif ours is _MISSING or ours != value:
            yield path + piece


def _at(key: str, value: Any) -> Any:
    """Return what a key of ``fieldsV1`` names within `value`."""
    kind, _, name = key.partition(":")
    if kind == "f":
        return value.get(name, _MISSING) if isinstance(value, Mapping) else _MISSING
    if not isinstance(value, list):
        return _MISSING
    wanted = json.loads(name)
    if kind == "v":
        return wanted if wanted in value else _MISSING
    return next((item for item in value if wanted.items() <= item.items()), _MISSING)
