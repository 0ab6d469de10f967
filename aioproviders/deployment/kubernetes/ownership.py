"""Whose the fields of a workload are, as the server keeps books of it in ``metadata.managedFields``.

Source: Kubernetes documentation, "Server-Side Apply", "Field management".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aioproviders.deployment.kubernetes.objects import HANDOVER, MANAGER, Object

__all__ = [
    "RESTARTED",
    "ForeignChange",
    "changed_by_others",
    "changes_of",
    "fields_of_others",
    "piece_of",
    "scaled_by_others",
    "told",
]

RESTARTED = "kubectl.kubernetes.io/restartedAt"
"""What ``kubectl rollout restart`` notes in the template: other pods, but of the same release."""
_TEMPLATE = "spec.template"
_AUTOSCALER = "kube-controller-manager"
_LONG_AGO = datetime.fromtimestamp(0, UTC)
_MOST_FIELDS = 3

Fields = Mapping[str, Any]
"""A part of ``fieldsV1``."""


class ForeignChange(NamedTuple):
    """What one manager has changed of the pods' template, when, and whether surely after us."""

    manager: str
    fields: list[str]
    at: datetime
    later: bool


def changes_of(workload: Object) -> Iterator[ForeignChange]:
    """Yield what others have changed of the pods' template since we applied it."""
    entries = _entries(workload)
    applied = [_when(entry) for entry in entries if _is_ours(entry) and entry.get("operation") == "Apply"]
    for entry in entries if applied else ():
        at = _when(entry)
        if _is_ours(entry) or entry.get("subresource") or at < max(applied):
            continue
        fields = [path for path in _leaves(_template(entry), _TEMPLATE) if not _is_restart(path)]
        if fields:
            # Times are in whole seconds.
            yield ForeignChange(str(entry.get("manager")), fields, at, at > max(applied))


def changed_by_others(workload: Object) -> str:
    """Return what others have changed of the pods' template since we applied it; empty: nothing."""
    return told((change.manager, path) for change in changes_of(workload) for path in change.fields)


def fields_of_others(workload: Object) -> list[tuple[str, Fields]]:
    """Return the fields of the pods' template that others hold, by manager; none where we hold them all."""
    entries = [entry for entry in _entries(workload) if not entry.get("subresource")]
    ours = {path for entry in entries if _is_ours(entry) for path in _leaves(_template(entry), _TEMPLATE)}
    found = []
    for entry in entries:
        fields = _template(entry)
        theirs = (path for path in _leaves(fields, _TEMPLATE) if not _is_restart(path))
        if not _is_ours(entry) and not ours.issuperset(theirs):
            found.append((str(entry.get("manager")), fields))
    return found


def scaled_by_others(workload: Object) -> str:
    """Return who has set the number of replicas that we had applied; empty: nobody, or an autoscaler."""
    if not any(_is_ours(entry) for entry in _entries(workload)):
        return ""
    holders = [
        entry
        for entry in _entries(workload)
        if "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    ]
    if any(_is_ours(entry) or entry.get("manager") == _AUTOSCALER for entry in holders):
        return ""
    return ", ".join(sorted({str(entry.get("manager")) for entry in holders}))


def told(found: Iterable[tuple[str, str]]) -> str:
    """Return managers and paths for a message, the first few paths of each manager."""
    by_manager: dict[str, list[str]] = {}
    for manager, path in found:
        by_manager.setdefault(manager, []).append(path)
    parts = []
    for manager, paths in by_manager.items():
        more = f" and {len(paths) - _MOST_FIELDS} more" if len(paths) > _MOST_FIELDS else ""
        parts.append(f"{', '.join(paths[:_MOST_FIELDS])}{more} by {manager}")
    return "; ".join(parts)


def piece_of(key: str) -> str | None:
    """Return what a key of ``fieldsV1`` adds to a path, as in the server's conflicts; None: nothing."""
    kind, _, name = key.partition(":")
    if kind == "f":
        return f".{name}"
    if kind == "k":
        return f"[{','.join(f'{part}={json.dumps(value)}' for part, value in json.loads(name).items())}]"
    return f"[={name}]" if kind == "v" else None


def _entries(workload: Object) -> list[Mapping[str, Any]]:
    return workload["metadata"].get("managedFields") or []


def _template(entry: Mapping[str, Any]) -> Fields:
    return ((entry.get("fieldsV1") or {}).get("f:spec") or {}).get("f:template") or {}


def _leaves(fields: Fields, path: str) -> Iterator[str]:
    """Yield the paths of what has nothing below it but itself."""
    for key, below in fields.items():
        piece = piece_of(key)
        if piece is None:
            continue
        if below and set(below) != {"."}:
            yield from _leaves(below, path + piece)
        else:
            yield path + piece


def _is_restart(path: str) -> bool:
    return path.endswith(f".{RESTARTED}")


def _is_ours(entry: Mapping[str, Any]) -> bool:
    return entry.get("manager") in (MANAGER, HANDOVER)


def _when(entry: Mapping[str, Any]) -> datetime:
    told = entry.get("time")
    return datetime.fromisoformat(told) if told else _LONG_AGO
