"""What a supervisor has done, written down as it goes: releases, what became of them, processes.

One JSON object a line, synced to the disk before the work goes on, so that the supervisor that comes after
a crash knows all of it. Values of secret variables are left out; that they were there is told.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread
from pydantic import BaseModel, ValidationError

from aioproviders.deployment.models import DeploymentStatus, Release
from aioproviders.deployment.process.templates import Template

__all__ = ["Journal", "Past", "ReleaseRecord"]

_FILE = "journal.jsonl"
_LONG = 500
"""Lines after which it is written anew, with the fewest that tell the same."""


class ReleaseRecord(BaseModel):
    """One release.

    Attributes:
        revision: Its number.
        version: Its version.
        template: What its processes are started with, secret values left out.
        created_at: When it was made.
        change_cause: Why it was made.
        status: What became of it.
        healthy: Whether all its instances were available once.
    """

    revision: int
    version: str
    template: Template
    created_at: datetime
    change_cause: str | None = None
    status: DeploymentStatus = DeploymentStatus.PENDING
    healthy: bool = False


class Past(BaseModel):
    """What the journal tells.

    Attributes:
        releases: By revision.
        current: The revision that is meant to run.
        replicas: How many instances of it.
        groups: Process groups that were started and not seen to end: leader's pid -> its start time.
    """

    releases: dict[int, ReleaseRecord] = {}
    current: int | None = None
    replicas: int = 0
    groups: dict[int, int] = {}

    @property
    def current_release(self) -> ReleaseRecord | None:
        """The release that is meant to run."""
        return None if self.current is None else self.releases.get(self.current)

    @property
    def next_revision(self) -> int:
        """The number of the release that is made next."""
        return max(self.releases, default=0) + 1

    def is_pending(self, revision: int) -> bool:
        """Whether it is not known yet what becomes of a release."""
        release = self.releases.get(revision)
        return release is not None and release.status is DeploymentStatus.PENDING

    def history(self, limit: int) -> list[Release]:
        """Return the last `limit` releases, newest first; the current one is always among them."""
        revisions = sorted(self.releases, reverse=True)
        kept = revisions[:limit]
        if self.current in self.releases and self.current not in kept:
            kept[-1:] = [self.current]
        return [
            Release(
                revision=revision,
                version=record.version,
                status=record.status,
                healthy=record.healthy,
                current=revision == self.current,
                created_at=record.created_at,
                change_cause=record.change_cause,
            )
            for revision in kept
            for record in [self.releases[revision]]
        ]

    def apply(self, record: Mapping[str, Any]) -> None:
        """Take one line of the journal in.

        Raises:
            KeyError: A field is missing.
            ValueError: A field is not what it should be.
        """
        kind = record["kind"]
        if kind == "release":
            release = ReleaseRecord.model_validate(record["release"])
            self.releases[release.revision] = release
        elif kind == "current":
            revision = record["revision"]
            self.current = None if revision is None else int(revision)
            self.replicas = int(record["replicas"])
        elif kind == "outcome":
            release = self.releases[int(record["revision"])]
            release.status = DeploymentStatus(record["status"])
            release.healthy |= bool(record["healthy"])
        elif kind == "started":
            self.groups[int(record["pid"])] = int(record["since"])
        elif kind == "ended":
            self.groups.pop(int(record["pid"]), None)
        # What a later version of ours may write is passed over.

    def records(self) -> list[dict[str, Any]]:
        """Return the fewest lines that tell the same."""
        lines: list[dict[str, Any]] = [
            {"kind": "release", "release": release.model_dump(mode="json")}
            for release in self.releases.values()
        ]
        if self.releases:
            lines.append({"kind": "current", "revision": self.current, "replicas": self.replicas})
        lines += [{"kind": "started", "pid": pid, "since": since} for pid, since in self.groups.items()]
        return lines


class Journal:
    """The journal of one deployment; only the holder of the supervisor's lock writes it.

    Args:
        directory: The deployment's folder.

    Attributes:
        past: What it tells so far.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / _FILE
        self._lines, self._longest = 0, _LONG
        self._turn = anyio.Lock()
        self.past = Past()

    async def load(self) -> Past:
        """Read it from the disk; a journal that is not there is an empty one.

        Raises:
            OSError: It can't be read.
        """
        self.past, self._lines = await to_thread.run_sync(self._read)
        return self.past

    def _read(self) -> tuple[Past, int]:
        past, lines = Past(), 0
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return past, lines
        for line in content.split(b"\n"):
            lines += 1
            # A crash, or a full disk, may have torn a line; what the others say holds.
            with suppress(ValueError, KeyError, TypeError, ValidationError):
                past.apply(json.loads(line))
        return past, lines

    async def release(self, release: ReleaseRecord, *, replicas: int) -> None:
        """Note a new release, which is the current one from now on."""
        await self._append(
            {"kind": "release", "release": release.model_dump(mode="json")},
            {"kind": "current", "revision": release.revision, "replicas": replicas},
        )

    async def current(self, revision: int | None, *, replicas: int) -> None:
        """Note which release is meant to run, None for nothing, and how many instances of it."""
        await self._append({"kind": "current", "revision": revision, "replicas": replicas})

    async def outcome(self, revision: int, status: DeploymentStatus, *, healthy: bool = False) -> None:
        """Note what became of a release."""
        if revision in self.past.releases:
            await self._append(
                {"kind": "outcome", "revision": revision, "status": status.value, "healthy": healthy}
            )

    async def started(self, pid: int, since: int) -> None:
        """Note a process group: its leader, and when that was started (proc(5), ``starttime``)."""
        await self._append({"kind": "started", "pid": pid, "since": since})

    async def ended(self, pid: int) -> None:
        """Note that a process group is gone."""
        await self._append({"kind": "ended", "pid": pid})

    async def forget(self, limit: int, *, running: int | None = None) -> None:
        """Drop all releases but the last `limit`; from the disk when that is written anew.

        The one that is `running` and the last that was healthy are kept in any case: to be gone back to.
        """
        async with self._turn:
            healthy = [revision for revision, release in self.past.releases.items() if release.healthy]
            kept = {running, max(healthy, default=None)}
            kept |= {release.revision for release in self.past.history(limit)}
            for revision in self.past.releases.keys() - kept:
                del self.past.releases[revision]

    async def _append(self, *records: Mapping[str, Any]) -> None:
        async with self._turn:
            await to_thread.run_sync(self._write, _encoded(records))
            self._lines += len(records)
            for record in records:
                self.past.apply(record)
            if self._lines > self._longest:
                fewest = self.past.records()
                # The records are on the disk; that it is longer than it need be fails nothing.
                with suppress(OSError):
                    await to_thread.run_sync(self._rewrite, _encoded(fewest))
                    self._lines, self._longest = len(fewest), max(_LONG, 2 * len(fewest))

    def _write(self, content: bytes) -> None:
        with open(self._path, "a+b", opener=_private) as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    content = b"\n" + content  # the last line was torn; this one shall not be part of it
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def _rewrite(self, content: bytes) -> None:
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        with open(fresh, "xb", opener=_private) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def new_release(revision: int, version: str, template: Template, change_cause: str | None) -> ReleaseRecord:
    """Make the record of a release that is made now."""
    return ReleaseRecord(
        revision=revision,
        version=version,
        template=template,
        created_at=datetime.now(UTC),
        change_cause=change_cause,
    )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _encoded(records: Any) -> bytes:
    return b"".join(json.dumps(record, separators=(",", ":")).encode() + b"\n" for record in records)
