"""One request over one connection of the pool, on aiohttp's connection and parser.

`send` does for a request whose body is at hand what `aiohttp.ClientSession.request` does for any: it leaves
out cookies, redirects, proxies, traces, middlewares and second tries, none of which are wanted here and which
are three quarters of the time. What else there is to send, goes through a session, with `BareRequest`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import aiohttp
import httpx
import multidict
from aiohttp.connector import Connection

__all__ = ["BareRequest", "Reply", "head_of", "send"]

_NEVER = float("inf")
_OK = 200
_SWITCHING_PROTOCOLS = 101


class _AllMethods(frozenset[str]):
    """A set that every method is in."""

    def __contains__(self, method: object) -> bool:
        return True


class BareRequest(aiohttp.ClientRequest):
    """A request with the headers that it is given: httpx has put in what it wants sent."""

    # aiohttp adds no Content-Length of its own to these.
    GET_METHODS = _AllMethods()  # type: ignore[assignment] # a set is declared, membership is all that is asked
    _skip_auto_headers = multidict.CIMultiDict({"Content-Type": None})

    def update_auto_headers(self, skip_auto_headers: Iterable[str] | None) -> None:
        """Add no Accept, Accept-Encoding and User-Agent."""


class Reply:
    """A response whose headers have come, with what is asked of an `aiohttp.ClientResponse`.

    At the end of its body the connection goes back to the pool.

    Args:
        message: aiohttp's, parsed.
        content: The body.
        connection: What it comes from.
    """

    __slots__ = ("_connection", "content", "headers", "raw_headers", "reason", "status", "version")

    def __init__(self, message: Any, content: aiohttp.StreamReader, connection: Connection) -> None:
        self.status: int = message.code
        self.reason: str | None = message.reason
        self.version: aiohttp.HttpVersion | None = message.version
        self.headers: multidict.CIMultiDictProxy[str] = message.headers
        self.raw_headers: tuple[tuple[bytes, bytes], ...] = message.raw_headers
        self.content = content
        self._connection = connection
        content.on_eof(connection.release)

    def close(self) -> None:
        """Close the connection, unless the body was read to its end; who waits for more gets an error."""
        if self.content.exception() is None and not self.content.is_eof():
            self.content.set_exception(aiohttp.ClientConnectionError("Connection closed"))
        self._connection.close()


def head_of(method: str, target: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return the head of a request (RFC 9112, 3 and 5).

    Raises:
        ValueError: Something in it would end its line.
    """
    lines = [f"{method} {target} HTTP/1.1\r\n", *[f"{name}: {value}\r\n" for name, value in headers], "\r\n"]
    head = "".join(lines)
    if not head.count("\r") == head.count("\n") == len(lines) or "\0" in head:
        raise ValueError("a line break or a null byte in the head of a request")
    return head.encode()


async def send(connection: Connection, method: str, sent: bytes, read_timeout: float | None) -> Reply:
    """Send a request, and return its response when the headers have come.

    Args:
        connection: One that nobody else uses.
        method: The request's.
        sent: Head and body.
        read_timeout: Seconds that the server may be silent for; None means for ever.

    Raises:
        httpx.ConnectError: It was closed meanwhile; nothing was sent.
        Exception: aiohttp's; the connection is closed.
    """
    # ResponseHandler, whose methods aiohttp's own session calls in this order.
    protocol: Any = connection.protocol
    try:
        protocol.set_response_params(
            skip_payload=method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=read_timeout,
            timeout_ceil_threshold=_NEVER,
        )
        transport = protocol.transport
        if transport is None or transport.is_closing():
            raise httpx.ConnectError("the connection was closed before the request was sent")
        transport.write(sent)
        protocol.start_timeout()
        while True:
            message, content = await protocol.read()
            if message.code >= _OK or message.code == _SWITCHING_PROTOCOLS:
                return Reply(message, content, connection)
            # Interim responses (RFC 9110, 15.2) are passed over; aiohttp stops its timer after each.
            protocol.start_timeout()
    except BaseException:
        connection.close()
        raise
