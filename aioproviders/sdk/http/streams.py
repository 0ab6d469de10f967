"""Taking a response apart while it comes: pieces of bytes, lines, or server-sent events."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from aioproviders.errors import RequestError

__all__ = ["DECODERS", "Decoder", "ServerSentEvent", "StreamKind"]

StreamKind = Literal["bytes", "lines", "events"]

_LINE_END = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event (WHATWG HTML, 9.2).

    Attributes:
        event: Its type.
        data: Its data; lines joined with line feeds.
        id: The last id that the stream gave, "" before the first; for ``Last-Event-ID``.
        retry: Milliseconds that the stream last asked to wait before connecting again, if it did.
    """

    event: str = "message"
    data: str = ""
    id: str = ""
    retry: int | None = None


class Decoder(Protocol):
    """Makes items of the bytes of a stream; `limit` is the size of the largest, in bytes."""

    def feed(self, chunk: bytes) -> Iterable[Any]:
        """Return the items that `chunk` completes."""

    def end(self) -> Iterable[Any]:
        """Return what the end of the stream completes."""


class _Bytes:
    def __init__(self, limit: int) -> None:
        """Pieces are as large as they come."""

    def feed(self, chunk: bytes) -> Iterable[bytes]:
        return (chunk,) if chunk else ()

    def end(self) -> Iterable[bytes]:
        return ()


class _Lines:
    """Lines end with LF, CRLF or CR; the last one may do without."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._after_cr = False

    def feed(self, chunk: bytes) -> Iterable[str]:
        return [line.decode("utf-8", "replace") for line in self.split(chunk)]

    def end(self) -> Iterable[str]:
        rest = b"".join(self._parts)
        return (rest.decode("utf-8", "replace"),) if rest else ()

    def split(self, chunk: bytes) -> list[bytes]:
        """Return the lines that `chunk` completes.

        Raises:
            RequestError: A line is longer than the limit.
        """
        if not chunk:
            return []
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]  # of a CRLF that came in two pieces
        self._after_cr = chunk.endswith(b"\r")
        *lines, rest = _LINE_END.split(chunk)
        if lines:
            # Kept in parts until it is whole: joining at each piece would take quadratic time.
            lines[0] = b"".join([*self._parts, lines[0]])
            self._parts, self._size = [], 0
        self._parts.append(rest)
        self._size += len(rest)
        if self._size > self._limit or any(len(line) > self._limit for line in lines):
            raise RequestError(f"a line of the stream has more than {self._limit} bytes")
        return lines


class _Events:
    """The parser of WHATWG HTML, 9.2.6. An event that the end cuts off is dropped, as it says there."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lines = _Lines(limit)
        self._begun = False
        self._event = ""
        self._data: list[str] = []
        self._size = 0
        self._id = ""
        self._retry: int | None = None

    def feed(self, chunk: bytes) -> Iterable[ServerSentEvent]:
        events = []
        for line in self._lines.split(chunk):
            if not self._begun:
                self._begun = True
                line = line.removeprefix(b"\xef\xbb\xbf")  # noqa: PLW2901 - a byte order mark, once
            if line:
                self._field(line.decode("utf-8", "replace"))
            else:
                if self._data:
                    data = "\n".join(self._data)
                    events.append(ServerSentEvent(self._event or "message", data, self._id, self._retry))
                self._event, self._data, self._size = "", [], 0
        return events

    def end(self) -> Iterable[ServerSentEvent]:
        return ()

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._size += len(line)
                if self._size > self._limit:
                    raise RequestError(f"an event of the stream has more than {self._limit} bytes")
                self._data.append(value)
            case "event":
                self._event = value
            case "id":
                if "\0" not in value:
                    self._id = value
            case "retry":
                if value.isascii() and value.isdigit():
                    self._retry = int(value[:18])


DECODERS: Final[Mapping[str, Callable[[int], Decoder]]] = {
    "bytes": _Bytes,
    "lines": _Lines,
    "events": _Events,
}
