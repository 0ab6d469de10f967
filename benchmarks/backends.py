"""Servers on this machine that behave badly on purpose, and count what reaches them."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["Backend", "refused_port", "serving"]

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_END = b"\r\n\r\n"


class Backend:
    """A server's answer, and its counts.

    Args:
        status: What it answers.
        delay: Seconds until it does.

    Attributes:
        url: Where it listens.
        requests: How many have reached it.
        in_flight: How many have no answer yet, and whose connection is open.
        peak: The most there were in flight.
        connections: How many are open.
    """

    def __init__(self, status: str = "200 OK", delay: float = 0.0) -> None:
        self.answer = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}".encode()
        )
        self.delay = delay
        self.url = ""
        self.requests = 0
        self.in_flight = 0
        self.peak = 0
        self.connections = 0


class _Connection(asyncio.Protocol):
    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._received = b""
        self._timers: set[asyncio.TimerHandle] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._backend.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the protocol's signature
        self._backend.connections -= 1
        self._backend.in_flight -= len(self._timers)
        for timer in self._timers:
            timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while _END in self._received:
            head, _, rest = self._received.partition(_END)
            length = _LENGTH.search(head)
            size = int(length[1]) if length else 0
            if len(rest) < size:
                return
            self._received = rest[size:]
            self._take()

    def _take(self) -> None:
        backend = self._backend
        backend.requests += 1
        backend.in_flight += 1
        backend.peak = max(backend.peak, backend.in_flight)

        def answer() -> None:
            self._timers.discard(timer)
            backend.in_flight -= 1
            self._transport.write(backend.answer)  # type: ignore[attr-defined]  # a transport of TCP

        timer = asyncio.get_running_loop().call_later(backend.delay, answer)
        self._timers.add(timer)


@asynccontextmanager
async def serving(backend: Backend) -> AsyncIterator[Backend]:
    """Listen on a free port of the loopback interface."""
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(backend), "127.0.0.1", 0)
    backend.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield backend
    finally:
        server.close()


@asynccontextmanager
async def refused_port() -> AsyncIterator[Backend]:
    """Give an address where connections are refused: bound, so that nobody takes it, but not listened at."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        backend = Backend()
        backend.url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        yield backend
