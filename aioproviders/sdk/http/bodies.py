"""Bodies on their way: the request's to aiohttp's writer, the response's from aiohttp's reader to httpx."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import cast

import aiohttp
import aiohttp.abc
import anyio
import httpx

from aioproviders.sdk.http.connector import Slots
from aioproviders.sdk.http.wire import Reply
from aioproviders.sdk.http.wire_errors import maybe_sent

_WRITE_SIZE = 65_536  # bytes handed to the socket under one write timeout


def piece_of(coding: str) -> int:
    """Return how many bytes of a compressed body to decode at once where a limit is set.

    A bomb can exceed the limit by this times what the coding makes of it: 1,032 for deflate, some 4
    million for brotli.
    """
    return 256 if coding in {"gzip", "deflate"} else 16


class ResponseTooLarge(httpx.RequestError):
    """The response is larger than ``max_response_bytes``; its connection is closed, the rest was not read.

    It is no `httpx.TransportError`: the next attempt would bring the same response.

    Args:
        message: What was too large.
        limit: The limit in bytes, also an attribute.
        request: The request that brought the response.
    """

    def __init__(self, message: str, *, limit: int = 0, request: httpx.Request | None = None) -> None:
        super().__init__(message, request=request)
        self.limit = limit


class RequestBody(aiohttp.payload.Payload):
    """A request body that is written in pieces, each under the write timeout.

    Args:
        stream: What httpx wants sent.
        timeout: Seconds that a piece of 64 KiB may take to leave; None means for ever.

    Attributes:
        error: What went wrong: the error of the user's own iterator or an httpx one; None while all is well.
    """

    def __init__(self, stream: httpx.AsyncByteStream, timeout: float | None) -> None:
        super().__init__(stream, content_type="application/octet-stream")
        self.error: Exception | None = None
        self._timeout = timeout

    def failure(self, request: httpx.Request) -> Exception:
        """The error as the caller should see it."""
        assert self.error is not None  # noqa: S101 -- for the type checker: asked only where there is one
        if isinstance(self.error, httpx.RequestError):
            self.error.request = request
        return self.error

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002 -- aiohttp's names
        """Not possible for a body that can be read only once."""
        raise TypeError("the body of a request is sent, not decoded")

    async def write(self, writer: aiohttp.abc.AbstractStreamWriter) -> None:
        """Write the whole body."""
        await self.write_with_length(writer, None)

    async def write_with_length(
        self, writer: aiohttp.abc.AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Write the whole body, of ``content_length`` bytes where that is given (RFC 9112, 6.2)."""
        written = 0
        try:
            chunks = aiter(self._value)
            async with closing(chunks):
                async for chunk in chunks:
                    written += len(chunk)
                    if content_length is not None and written > content_length:
                        raise httpx.LocalProtocolError("the request body is longer than its Content-Length")
                    view = memoryview(chunk)
                    for start in range(0, len(view), _WRITE_SIZE):
                        await self._write(writer, view[start : start + _WRITE_SIZE])
            if content_length is not None and written < content_length:
                raise httpx.LocalProtocolError("the request body is shorter than its Content-Length")
        except Exception as exc:
            self.error = exc
            raise

    async def _write(self, writer: aiohttp.abc.AbstractStreamWriter, piece: memoryview) -> None:
        try:
            with anyio.fail_after(self._timeout):
                await writer.write(piece)
                await writer.drain()
        except TimeoutError as exc:
            raise httpx.WriteTimeout("sending the request body took too long") from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise httpx.WriteError("the connection was lost while the body was sent") from exc


class ResponseBody(httpx.AsyncByteStream):
    """A response's body as it comes from the wire.

    Whichever happens first gives its slot back, once: it is read to its end (the connection is kept), it is
    closed (the connection is closed), an error or a cancellation.

    Args:
        response: The response, its headers read.
        request: The request that it answers.
        slots: Where its slot came from.
        live: The responses that hold a slot; this one is put there and taken off.
        limit: The most bytes to read; None means no limit.
        coding: The content coding, "" for none.
    """

    def __init__(  # noqa: PLR0913, PLR0917 -- made in one place, from what is at hand there
        self,
        response: Reply | aiohttp.ClientResponse,
        request: httpx.Request,
        slots: Slots,
        live: set[Reply | aiohttp.ClientResponse],
        limit: int | None,
        coding: str,
    ) -> None:
        self.coding = coding
        self._response = response
        self._request = request
        self._slots = slots
        self._live = live
        self._limit = limit
        self._open = not response.content.is_eof()
        if self._open:
            live.add(response)
        else:
            slots.release()  # all of it is in memory and the connection already free

    async def read(self) -> bytes:
        """Read all of it.

        Raises:
            ResponseTooLarge: It exceeds the limit.
            httpx.TransportError: The connection failed, the server fell silent or what it sent is not HTTP.
        """
        content = self._response.content
        if not self._open:  # all of it has come, and the slot is free
            data = content.read_nowait()
            if self._limit is not None and len(data) > self._limit:
                raise too_large(self._limit, self._request)
            return data
        if self._limit is not None:
            return b"".join([chunk async for chunk in self])
        data = await self._received(content.read())
        self._finish()
        return data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield what has come, piece by piece; raises the same as `read`."""
        piece = None if self._limit is None or not self.coding else piece_of(self.coding)
        total = 0
        while chunk := await self._received(self._response.content.readany()):
            total += len(chunk)
            if self._limit is not None and total > self._limit:
                self.abort()
                raise too_large(self._limit, self._request)
            if piece is None:
                yield chunk
            else:
                for start in range(0, len(chunk), piece):
                    yield chunk[start : start + piece]
        self._finish()

    async def aclose(self) -> None:
        """Close the connection unless the body was read to its end."""
        self.abort()

    def abort(self) -> None:
        """Close the connection unless the body was read to its end, without waiting for anything."""
        if self._open:
            self._response.close()
            self._finish()

    def __del__(self) -> None:
        # Forgotten without being closed: the slot must not be lost with it.
        self.abort()

    async def _received(self, reading: Awaitable[bytes]) -> bytes:
        """Read; whatever goes wrong closes the connection and gives the slot back."""
        try:
            return await reading
        except Exception as exc:  # noqa: BLE001 -- translated
            self.abort()
            error, cause = maybe_sent(exc, self._request)
        except BaseException:
            self.abort()
            raise
        raise error from cause

    def _finish(self) -> None:
        if self._open:
            self._open = False
            self._live.discard(self._response)
            self._slots.release()


def has_content(method: str, status: int) -> bool:
    """Whether a response has content: if not, its Content-Length is that of another (RFC 9110, 8.6)."""
    return method != "HEAD" and status not in {204, 304}


def too_large(limit: int, request: httpx.Request) -> ResponseTooLarge:
    """The error for a response over the limit in bytes."""
    return ResponseTooLarge(f"the response has more than {limit} bytes", limit=limit, request=request)


def closing(iterator: AsyncIterator[bytes]) -> AbstractAsyncContextManager[object]:
    """Close a generator in any case, a cancellation included; other iterators need no closing."""
    if hasattr(iterator, "aclose"):
        return aclosing(cast("AsyncGenerator[bytes, None]", iterator))
    return nullcontext()
