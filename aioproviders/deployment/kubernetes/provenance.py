"""Whether what a workload runs is what was deployed, or what others have made of it since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aioproviders.deployment.kubernetes.objects import (
    RELEASE,
    TEMPLATE,
    VERSION,
    Object,
    annotations_of,
    hash_of,
)
from aioproviders.deployment.kubernetes.ownership import RESTARTED, changes_of
from aioproviders.deployment.kubernetes.workloads import Revision, is_of

__all__ = [
    "Origin",
    "essence",
    "is_as_noted",
    "noted_as",
    "origins_of",
    "tag_of",
    "template_hash",
    "version_noted",
]


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
        noted_so = is_as_noted(notes, revision.template)
        if workload["kind"] == "Deployment" and noted_so is not None:
            own = noted_so
        else:
            original = first.get(notes.get(RELEASE, ""), revision)
            own &= original is revision or essence(original.template) == essence(revision.template)
        own |= RELEASE not in notes
        origins[revision.name] = Origin(notes, own)
    return origins


def template_hash(template: Mapping[str, Any]) -> str:
    """Return what `TEMPLATE` notes of a pods' template; what only makes the pods anew is no part of it."""
    return hash_of(essence(template))


def is_as_noted(notes: Mapping[str, str], template: Mapping[str, Any]) -> bool | None:
    """Whether a pods' template is what is noted of it; None where nothing is."""
    noted = notes.get(TEMPLATE)
    return None if noted is None else noted == template_hash(template)


def noted_as(workload: Object, template: str | None) -> Object:
    """Return the workload with the hash of its pods' template noted, where it is known."""
    if template is None:
        return workload
    metadata = workload["metadata"]
    notes = {**annotations_of(workload), TEMPLATE: template}
    return {**workload, "metadata": {**metadata, "annotations": notes}}


def version_noted(notes: Mapping[str, str], images: Sequence[str]) -> str | None:
    """Return the version that is noted, or else the tag of the first image."""
    return notes.get(VERSION) or (tag_of(images[0]) if images else None)


def tag_of(image: str) -> str | None:
    """Return an image's tag."""
    _, colon, tag = image.partition("@")[0].rpartition("/")[2].rpartition(":")
    return tag if colon else None


def _made_by_others(workload: Object, revision: Revision) -> bool:
    """Whether a revision came about by somebody else's change, and is no release that they brought back."""
    made = revision.created_at
    return made is not None and any(change.later and made >= change.at for change in changes_of(workload))


def _known(moment: datetime | None) -> datetime:
    return moment or datetime.max.replace(tzinfo=UTC)


def essence(template: Mapping[str, Any]) -> Object:
    """Return a pods' template without what only makes the pods anew."""
    metadata = dict(template.get("metadata") or {})
    annotations = metadata.pop("annotations", None) or {}
    notes = {key: value for key, value in annotations.items() if key != RESTARTED}
    return {**template, "metadata": {**metadata, **({"annotations": notes} if notes else {})}}
