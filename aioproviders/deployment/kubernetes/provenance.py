"""Whether what a workload runs is what was deployed, or what others have made of it since."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aioproviders.deployment.kubernetes.objects import (
    HANDOVER,
    MANAGER,
    RELEASE,
    VERSION,
    Object,
    annotations_of,
)
from aioproviders.deployment.kubernetes.workloads import Revision, is_of

__all__ = ["Origin", "changed_by_others", "essence", "origins_of", "tag_of", "version_noted"]

_RESTARTED = "kubectl.kubernetes.io/restartedAt"
"""What ``kubectl rollout restart`` notes in the template: other pods, but of the same release."""
_LONG_AGO = datetime.fromtimestamp(0, UTC)
_MOST_FIELDS = 3


class Origin(NamedTuple):
    """Where a revision's template comes from.

    Attributes:
        notes: The annotations that tell of its release.
        own: Whether it is that release's own; or else somebody else has changed it since.
    """

    notes: Mapping[str, str]
    own: bool

    def version(self, images: Sequence[str]) -> str | None:
        """Return the version, as far as it is known."""
        version = version_noted(self.notes, images)
        return version if self.own else f"{version} (changed)"


def origins_of(workload: Object, revisions: Iterable[Revision]) -> dict[str, Origin]:
    """Return the origin of each revision of `workload`, by the revision's name."""
    revisions = list(revisions)
    first: dict[str, Revision] = {}
    for revision in sorted(revisions, key=lambda item: (_known(item.created_at), item.first_number)):
        first.setdefault(revision.annotations.get(RELEASE, ""), revision)
    origins = {}
    for revision in revisions:
        notes: Mapping[str, str] = revision.annotations
        own = True
        if revision.current and is_of(workload, revision):
            own = not _made_by_others(workload, revision)
            # A ControllerRevision has the notes of the first release with its template; but after an undo by
            # kubectl the workload still has those of the release that was undone.
            now = annotations_of(workload)
            noted = first.get(now.get(RELEASE, ""))
            if workload["kind"] == "Deployment" or noted is None or noted is revision:
                notes = now
        # What others change of a release has its notes, but is not it.
        original = first.get(notes.get(RELEASE, ""), revision)
        own &= original is revision or essence(original.template) == essence(revision.template)
        own |= RELEASE not in notes
        origins[revision.name] = Origin(notes, own)
    return origins


def version_noted(notes: Mapping[str, str], images: Sequence[str]) -> str | None:
    """Return the version that is noted, or else the tag of the first image."""
    return notes.get(VERSION) or (tag_of(images[0]) if images else None)


def tag_of(image: str) -> str | None:
    """Return an image's tag."""
    _, colon, tag = image.partition("@")[0].rpartition("/")[2].rpartition(":")
    return tag if colon else None


def changed_by_others(workload: Object) -> str:
    """Return what others have changed of the pods' template since we applied it; empty: nothing.

    Source: Kubernetes documentation, "Server-Side Apply", "Field management".
    """
    told = []
    for change in _changes(workload):
        fields = change.fields
        more = f" and {len(fields) - _MOST_FIELDS} more" if len(fields) > _MOST_FIELDS else ""
        told.append(f"{', '.join(fields[:_MOST_FIELDS])}{more} by {change.manager}")
    return "; ".join(told)


def _made_by_others(workload: Object, revision: Revision) -> bool:
    """Whether a revision came about by somebody else's change, and is no release that they brought back."""
    made = revision.created_at
    return made is not None and any(change.later and made >= change.at for change in _changes(workload))


class _Change(NamedTuple):
    """What one manager has changed of the pods' template, when, and whether surely after us."""

    manager: str
    fields: list[str]
    at: datetime
    later: bool


def _changes(workload: Object) -> Iterator[_Change]:
    entries = workload["metadata"].get("managedFields") or []
    applied = [_when(entry) for entry in entries if _is_ours(entry) and entry.get("operation") == "Apply"]
    for entry in entries if applied else ():
        at = _when(entry)
        if _is_ours(entry) or entry.get("subresource") or at < max(applied):
            continue
        template = ((entry.get("fieldsV1") or {}).get("f:spec") or {}).get("f:template") or {}
        paths = _leaves(template, "spec.template")
        fields = [path for path in paths if not path.endswith(f".{_RESTARTED}")]
        if fields:
            # Times are in whole seconds.
            yield _Change(str(entry.get("manager")), fields, at, at > max(applied))


def _leaves(fields: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield the paths of what has nothing below it but itself, written as in the server's conflicts."""
    for key, below in fields.items():
        kind, _, name = key.partition(":")
        if kind == "f":
            here = f"{path}.{name}"
        elif kind == "k":
            keys = (f"{part}={json.dumps(value)}" for part, value in json.loads(name).items())
            here = f"{path}[{','.join(keys)}]"
        elif kind == "v":
            here = f"{path}[={name}]"
        else:
            continue  # ".", the thing itself
        if below and set(below) != {"."}:
            yield from _leaves(below, here)
        else:
            yield here


def _is_ours(entry: Mapping[str, Any]) -> bool:
    return entry.get("manager") in (MANAGER, HANDOVER)


def _when(entry: Mapping[str, Any]) -> datetime:
    told = entry.get("time")
    return datetime.fromisoformat(told) if told else _LONG_AGO


def _known(moment: datetime | None) -> datetime:
    return moment or datetime.max.replace(tzinfo=UTC)


def essence(template: Mapping[str, Any]) -> Object:
    """Return a pods' template without what only makes the pods anew."""
    metadata = dict(template.get("metadata") or {})
    annotations = metadata.pop("annotations", None) or {}
    notes = {key: value for key, value in annotations.items() if key != _RESTARTED}
    return {**template, "metadata": {**metadata, **({"annotations": notes} if notes else {})}}
