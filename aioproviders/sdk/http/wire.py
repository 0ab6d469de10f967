"""One request over one connection of the pool, on aiohttp's protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import aiohttp
import multidict
import yarl

__all__ = ["BareRequest", "exchange"]

_NEVER = float("inf")


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


async def exchange(  # noqa: PLR0913, PLR0917 - what a request is made of
    session: aiohttp.ClientSession,
    connector: aiohttp.BaseConnector,
    method: str,
    url: yarl.URL,
    headers: list[tuple[str, str]],
    data: bytes | None,
    timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own
) -> aiohttp.ClientResponse:
    """Send a request whose body is at hand, to no proxy, and return its response when the headers have come.

    It does what `aiohttp.ClientSession.request` does at heart, without what is around it and unwanted here:
    redirects, cookies, authentication, proxies, traces, middlewares, second tries. They are half of its time.

    Raises:
        Exception: aiohttp's; the connection is closed.
    """
    request = BareRequest(
        method, url, headers=headers, data=data, loop=asyncio.get_running_loop(), session=session
    )
    connection = await connector.connect(request, traces=[], timeout=timeout)
    try:
        protocol: Any = connection.protocol
        protocol.set_response_params(
            skip_payload=method == "HEAD",
            read_until_eof=True,
            auto_decompress=False,
            read_timeout=timeout.sock_read,
            timeout_ceil_threshold=_NEVER,
        )
        response = await request.send(connection)
        try:
            return await response.start(connection)
        except BaseException:
            response.close()
            raise
    except BaseException:
        connection.close()
        raise
