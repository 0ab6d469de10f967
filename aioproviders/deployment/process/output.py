"""What a replica writes: kept in a file that is rotated, the last lines at hand, each one told of."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from aioproviders.deployment.models import LogLine

__all__ = ["ReplicaOutput", "log_path", "read_tail"]

_LONGEST_LINE = 64 * 1024
_KEPT_LINES = 1000


def log_path(directory: Path, instance: str) -> Path:
    """Return where the output of an instance is kept."""
    return directory / f"{instance}.log"


class ReplicaOutput:
    """The output of one replica, over all its starts.

    Each line of the file is a time (ISO 8601), the stream's name and the text.

    Args:
        directory: The folder of the file; made where it is missing, for this user alone.
        instance: The replica's name.
        max_bytes: The file is rotated before it gets longer.
        backups: How many rotated files to keep: ``….log.1`` is the latest.
        on_line: Told of each line.
    """

    def __init__(
        self,
        directory: Path,
        instance: str,
        max_bytes: int,
        backups: int,
        on_line: Callable[[LogLine], None] = lambda _: None,
    ) -> None:
        self.instance = instance
        self._path = log_path(directory, instance)
        self._max_bytes = max_bytes
        self._backups = backups
        self._file: BinaryIO | None = None
        self._size = 0
        self._partial = {"stdout": b"", "stderr": b""}
        self._last: deque[LogLine] = deque(maxlen=_KEPT_LINES)
        self._on_line = on_line

    def write(self, stream: str, content: bytes) -> None:
        """Take what the replica has written to "stdout" or "stderr"; unfinished lines wait for their end."""
        *lines, rest = (self._partial[stream] + content).split(b"\n")
        while len(rest) > _LONGEST_LINE:
            lines.append(rest[:_LONGEST_LINE])
            rest = rest[_LONGEST_LINE:]
        self._partial[stream] = rest
        for line in lines:
            for begin in range(0, max(len(line), 1), _LONGEST_LINE):
                self._keep(stream, line[begin : begin + _LONGEST_LINE])
        self._sync()

    def flush(self) -> None:
        """Take unfinished lines as they are: the process has ended."""
        for stream, rest in self._partial.items():
            if rest:
                self._keep(stream, rest)
                self._partial[stream] = b""
        self._sync()

    def tail(self, lines: int) -> list[LogLine]:
        """Return the last lines, at most a thousand."""
        return list(self._last)[-lines:] if lines > 0 else []

    def close(self) -> None:
        """Close the file."""
        self.flush()
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None

    def _keep(self, stream: str, text: bytes) -> None:
        line = LogLine(
            instance=self.instance,
            text=text.rstrip(b"\r").decode(errors="replace"),
            at=datetime.now(UTC),
            stream=stream,
        )
        self._last.append(line)
        # A full disk must not end the replica; its last lines are at hand all the same.
        with suppress(OSError):
            self._append(line)
        self._on_line(line)

    def _sync(self) -> None:
        """Hand all lines of one piece to the system at once."""
        if self._file is not None:
            with suppress(OSError):
                self._file.flush()

    def _append(self, line: LogLine) -> None:
        assert line.at is not None  # noqa: S101 - `_keep` sets it
        record = f"{line.at.isoformat()} {line.stream} {line.text}\n".encode()
        if self._file is None:
            self._open()
        if self._size and self._size + len(record) > self._max_bytes:
            self._rotate()
        assert self._file is not None  # noqa: S101 - it was opened
        self._file.write(record)
        self._size += len(record)

    def _open(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(descriptor, "ab")
        self._size = os.fstat(descriptor).st_size

    def _rotate(self) -> None:
        assert self._file is not None  # noqa: S101 - it is open
        self._file.close()
        self._file = None
        paths = [self._path, *(_rotated(self._path, number) for number in range(1, self._backups + 1))]
        paths[-1].unlink(missing_ok=True)
        for newer, older in reversed(list(itertools.pairwise(paths))):
            if newer.exists():
                newer.rename(older)
        self._open()


def _rotated(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def read_tail(directory: Path, instance: str, lines: int) -> list[LogLine]:
    """Return the last lines of an instance from its files, also of one that has ended; it blocks."""
    path = log_path(directory, instance)
    found: list[LogLine] = []
    number = 0
    while len(found) < lines:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            # There is none, or it is just being rotated.
            if path.with_name(f"{path.name}.1").exists() and not number:
                content = b""
            else:
                break
        # Not `splitlines`, and not as text: both take "\r", and more, for the end of a line.
        records = content.decode(errors="replace").removesuffix("\n").split("\n")
        records = records if records != [""] else []
        missing = lines - len(found)
        found = [_parsed(instance, record) for record in records[-missing:]] + found
        number += 1
        path = _rotated(log_path(directory, instance), number)
    return found


def _parsed(instance: str, record: str) -> LogLine:
    time, _, rest = record.partition(" ")
    stream, _, text = rest.partition(" ")
    try:
        return LogLine(instance=instance, text=text, at=datetime.fromisoformat(time), stream=stream)
    except ValueError:
        return LogLine(instance=instance, text=record)
