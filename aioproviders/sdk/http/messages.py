"""Requests and responses that are httpx's own, and parse of themselves only what somebody asks for.

httpx parses each header, twice over, in the making of a message: a quarter of what a small request costs.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Mapping
from functools import cached_property
from typing import Any

import aiohttp
import httpx

from aioproviders.sdk.http.bodies import ResponseBody, closing, too_large
from aioproviders.sdk.http.wire import Reply

__all__ = ["PlainRequest", "StreamedResponse", "Target", "fields_of"]


class Target(httpx.URL):
    """An absolute URL that keeps what requests of it have in common."""

    @cached_property
    def authority(self) -> str:
        """Host and port, as in a Host header."""
        return self.netloc.decode("ascii")

    @cached_property
    def origin(self) -> tuple[str, bytes]:
        """Scheme, and host and port as they stand there."""
        return self.scheme, self.netloc

    @cached_property
    def target(self) -> str:
        """Path and query, as in the first line of a request."""
        return self.raw_path.decode("ascii")


class PlainRequest(httpx.Request):
    """A request with all its headers and all its body at hand.

    Args:
        method: In capitals.
        url: Absolute.
        fields: All headers, the ones of the framing included.
        content: The body.
        extensions: As for `httpx.Request`.
    """

    # httpx's own __init__ is left out on purpose: it would parse the headers.
    def __init__(
        self,
        method: str,
        url: Target,
        fields: Mapping[str, str],
        content: bytes,
        extensions: dict[str, Any],
    ) -> None:
        self.method = method
        self.url: Target = url
        self.fields = fields
        self.extensions = extensions
        self._content = content

    @cached_property
    def stream(self) -> httpx.ByteStream:  # type: ignore[override]  # a plain attribute there
        """The body."""
        return httpx.ByteStream(self._content)

    @cached_property
    def headers(self) -> httpx.Headers:  # type: ignore[override]  # a plain attribute there
        """The headers."""
        return httpx.Headers(self.fields)

    @property
    def was_looked_into(self) -> bool:
        """Whether somebody asked for `headers`, and may have changed them: then these are what is sent."""
        return "headers" in self.__dict__


class StreamedResponse(httpx.Response):
    """An `httpx.Response` that reads its body over fewer layers and holds to a limit for the decoded body.

    Args:
        response: Its head.
        stream: Its body.
        request: What it answers.
        limit: The most bytes that the decoded body may have; None means no limit.

    Attributes:
        sets_cookies: Whether there is a Set-Cookie header.
        seconds: What `elapsed` is, as a number.
    """

    # httpx's own __init__ is left out on purpose: it would parse the headers.
    def __init__(
        self,
        response: Reply | aiohttp.ClientResponse,
        stream: ResponseBody,
        request: httpx.Request,
        limit: int | None,
    ) -> None:
        self.status_code = response.status
        self.stream = stream
        self.next_request = None
        self.history = []
        self.is_closed = False
        self.is_stream_consumed = False
        self.default_encoding = "utf-8"
        self.seconds: float | None = None
        self._request = request
        self._num_bytes_downloaded = 0
        self.sets_cookies = "Set-Cookie" in response.headers
        self._raw_headers = response.raw_headers
        self._version = response.version
        self._reason = response.reason
        self._limit = limit

    @cached_property
    def headers(self) -> httpx.Headers:  # type: ignore[override]  # a plain attribute there
        """The headers."""
        return httpx.Headers(self._raw_headers)

    @cached_property
    def extensions(self) -> dict[str, Any]:  # type: ignore[override]  # a plain attribute there
        """``http_version`` and ``reason_phrase``."""
        return {
            "http_version": b"HTTP/1.0" if self._version == aiohttp.HttpVersion10 else b"HTTP/1.1",
            "reason_phrase": (self._reason or "").encode("utf-8", "surrogateescape"),
        }

    @property
    def fields(self) -> dict[str, str]:
        """The headers, names in lower case, repeated ones joined with commas."""
        raw = self._raw_headers
        try:
            found = {name.decode("ascii").lower(): value.decode("ascii") for name, value in raw}
        except UnicodeDecodeError:
            found = {}
        # httpx knows what to do with names that come twice, and with other encodings.
        return found if len(found) == len(raw) else dict(self.headers.items())

    @property
    def elapsed(self) -> dt.timedelta:
        """From the call to the last byte."""
        return super().elapsed if self.seconds is None else dt.timedelta(seconds=self.seconds)

    @elapsed.setter
    def elapsed(self, elapsed: dt.timedelta) -> None:
        self._elapsed = elapsed

    async def aread(self) -> bytes:
        """Read and return the content, decoded."""
        stream = self.stream
        if not isinstance(stream, ResponseBody) or stream.coding or self.is_stream_consumed or self.is_closed:
            return await super().aread()
        self.is_stream_consumed = True
        self._content = await stream.read()
        self._num_bytes_downloaded = len(self._content)
        self.is_closed = True
        return self._content

    async def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
        """Yield the decoded content.

        Raises:
            ResponseTooLarge: It exceeds the limit.
        """
        total = 0
        chunks = super().aiter_bytes(chunk_size)
        async with closing(chunks):
            async for chunk in chunks:
                total += len(chunk)
                if self._limit is not None and total > self._limit:
                    await self.aclose()
                    raise too_large(self._limit, self.request)
                yield chunk


def fields_of(response: httpx.Response) -> Mapping[str, str]:
    """Return the headers of any response: names in lower case, repeated ones joined with commas."""
    return response.fields if isinstance(response, StreamedResponse) else dict(response.headers.items())
