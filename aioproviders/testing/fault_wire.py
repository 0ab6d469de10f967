"""The wire of the fault server: requests are parsed by hand, so that answers can be wrong in any way.

One `Exchange` is one request and what is done to its connection; one `State` is what the server remembers.
HTTP/1.1 (RFC 9112), as far as tests need it.
"""

import asyncio
import http
import json
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

_LOGGED_BODY = 65_536  # bytes of a request's body that are kept


@dataclass
class SeenRequest:
    """A request as it was on the wire.

    Attributes:
        method: As sent.
        target: The request target as sent, not decoded.
        headers: Name and value pairs in their order, names in lower case.
        body: Its first 64 KiB, decoded as Latin-1 so that every byte is one character.
        connection: Number of the connection that it came on, from 1.
        complete: Whether the whole body arrived.
    """

    method: str
    target: str
    headers: list[tuple[str, str]]
    connection: int
    body: str = ""
    complete: bool = False

    def header(self, name: str) -> str | None:
        """The first header of that name, or None."""
        return next((value for key, value in self.headers if key == name.lower()), None)


@dataclass
class State:
    """What the server remembers until it is reset."""

    log: list[SeenRequest] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    tokens: dict[str, float] = field(default_factory=dict)  # with the time that each expires at
    connections: int = 0
    ended: asyncio.Event = field(default_factory=asyncio.Event)  # set at the next reset

    def requests(self, prefix: str) -> list[dict[str, Any]]:
        """The log as JSON, only of targets that begin with ``prefix``."""
        return [asdict(seen) for seen in self.log if seen.target.startswith(prefix)]

    def reset(self) -> None:
        """Forget everything but the number of connections, and end what stalls."""
        self.ended.set()
        self.ended = asyncio.Event()
        self.log.clear()
        self.counts.clear()
        self.tokens.clear()


class Exchange:
    """A request being answered.

    Args:
        request: Its line and headers.
        reader: Where the rest of the connection's bytes come from.
        writer: Where the answer goes.
        state: The server's memory.

    Attributes:
        path: The target's path without the query, not decoded.
        query: The last value of each query parameter.
        raw_body: The body, once it was read.
        keep: Whether the connection serves another request afterwards.
        doomed: Whether the next request on the connection finds it closed.
    """

    def __init__(
        self, request: SeenRequest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, state: State
    ) -> None:
        self.request = request
        self.reader = reader
        self.writer = writer
        self.state = state
        parts = urlsplit(request.target)
        self.path = parts.path
        self.query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.raw_body = b""
        self.keep = (request.header("connection") or "").lower() != "close"
        self.doomed = False

    def text(self, name: str, default: str = "") -> str:
        """A query parameter."""
        return self.query.get(name, default)

    def number(self, name: str, default: int) -> int:
        """A query parameter that is a whole number."""
        return int(self.query.get(name, default))

    def seconds(self, name: str, default: float) -> float:
        """A query parameter that is a time in seconds."""
        return float(self.query.get(name, default))

    def failures_left(self, default_times: int = 1) -> bool:
        """Whether this request is among the first ``times`` of its ``key``; both are query parameters."""
        key = f"{self.path}:{self.text('key')}"
        self.state.counts[key] += 1
        return self.state.counts[key] <= self.number("times", default_times)

    async def read_body(self) -> None:
        """Read the body, by Content-Length or in chunks."""
        request = self.request
        if (request.header("expect") or "").lower() == "100-continue":
            await self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if (request.header("transfer-encoding") or "").lower() == "chunked":
            while size := int(await self.reader.readline(), 16):
                self.raw_body += await self.reader.readexactly(size)
                await self.reader.readline()
            await self.reader.readline()
        elif length := int(request.header("content-length") or 0):
            self.raw_body = await self.reader.readexactly(length)
        request.body = self.raw_body[:_LOGGED_BODY].decode("latin-1")
        request.complete = True

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    def head(self, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> bytes:
        """A status line and headers."""
        phrase = http.HTTPStatus(status).phrase if status in set(http.HTTPStatus) else "Unknown"
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers), "", ""]
        return "\r\n".join(lines).encode("latin-1")

    async def reply(
        self,
        body: Any = b"",
        *,
        status: int = 200,
        headers: Iterable[tuple[str, str]] = (),
        content_type: str | None = None,
    ) -> None:
        """Answer properly; a body that is not bytes goes out as JSON."""
        kind = content_type or ("application/octet-stream" if isinstance(body, bytes) else "application/json")
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        all_headers = [("Content-Type", kind), ("Content-Length", str(len(data))), *headers]
        if status in {http.HTTPStatus.NO_CONTENT, http.HTTPStatus.NOT_MODIFIED}:
            all_headers, data = list(headers), b""
        await self.send(self.head(status, all_headers) + (b"" if self.request.method == "HEAD" else data))

    async def reply_chunks(self, chunks: AsyncIterator[bytes], *, content_type: str) -> None:
        """Answer in chunks; ``fail_after`` of them the connection fails as ``failure`` says."""
        await self.send(self.head(200, [("Content-Type", content_type), ("Transfer-Encoding", "chunked")]))
        fail_after = self.number("fail_after", -1)
        sent = 0
        async for chunk in chunks:
            if sent == fail_after:
                break
            await self.send(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            sent += 1
        if sent != fail_after:
            await self.send(b"0\r\n\r\n")
        elif self.text("failure", "close") == "reset":
            self.reset()
        else:
            self.keep = False

    def reset(self) -> None:
        """Close the connection with a TCP reset instead of an orderly end."""
        raw = self.writer.get_extra_info("socket")
        # An l_linger of 0 seconds makes close() send RST (socket(7)).
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()
        self.keep = False

    async def hang(self) -> None:
        """Do nothing more, until the client goes away."""
        while await self.reader.read(_LOGGED_BODY):
            pass
        self.keep = False


async def read_request(reader: asyncio.StreamReader, connection: int) -> SeenRequest | None:
    """Read a request line and its headers; None where the client is done."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    pairs = [line.partition(":") for line in lines]
    return SeenRequest(method, target, [(key.lower(), value.strip()) for key, _, value in pairs], connection)
