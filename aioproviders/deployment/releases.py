"""Finding a release in a history by what a caller of `rollback` says."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from aioproviders.deployment.models import Release
from aioproviders.errors import ConfigurationError, NotFoundError

__all__ = ["PREVIOUS", "find_release"]

PREVIOUS = "previous"
_REVISION = re.compile(r"revision:(\d{1,18})")


def find_release(history: Sequence[Release], wanted: str) -> Release:
    """Find the release to go back to.

    Args:
        history: The deployment's releases, in any order.
        wanted: A version, the latest release of which is meant; "previous", the last one before the
            current that was healthy; or "revision:7".

    Raises:
        ConfigurationError: `wanted` is empty, or no text, or no number stands after "revision:".
        NotFoundError: There is no such release; says which there are.
    """
    if not isinstance(wanted, str):
        raise ConfigurationError(f"the version to roll back to should be a string, not {wanted!r}")
    newest_first = sorted(history, key=lambda release: release.revision, reverse=True)
    if wanted == PREVIOUS:
        return _previous(newest_first)
    if not wanted.strip():
        raise ConfigurationError("the version to roll back to is empty: name one, or say 'previous'")
    # A version may well be called "revision:7"; then it is found as one.
    for release in newest_first:
        if release.version == wanted:
            return release
    if wanted.startswith("revision:"):
        match = _REVISION.fullmatch(wanted)
        if match is None:
            raise ConfigurationError(f"{wanted!r}: should be 'revision:' and a number")
        for release in newest_first:
            if release.revision == int(match[1]):
                return release
        known = ", ".join(str(release.revision) for release in newest_first) or "none"
        raise NotFoundError(f"there is no revision {match[1]}; there are: {known}")
    versions = list(dict.fromkeys(release.version for release in newest_first))
    near = difflib.get_close_matches(wanted, versions)
    known = ", ".join(versions) or "none"
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {known}"
    raise NotFoundError(f"no release has the version {wanted!r}; {hint}")


def _previous(newest_first: Sequence[Release]) -> Release:
    current = next((release for release in newest_first if release.current), None)
    older = [release for release in newest_first if current is None or release.revision < current.revision]
    for release in older:
        if release.healthy:
            return release
    known = ", ".join(f"{release.version} (revision:{release.revision})" for release in older)
    hint = f"; there are: {known}" if known else ""
    raise NotFoundError(f"there is no earlier release that was healthy{hint}")
