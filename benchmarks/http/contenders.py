"""Who makes requests: each a client that is opened, used for one measurement and closed.

All have at most 100 connections and 30 seconds for a request, and parse the JSON of the answer.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import anyio
import anyio.to_thread
import httpx
import httpx2
import httpx_aiohttp
import openai
import stamina
import structlog
from azure.core import AsyncPipelineClient
from azure.core.configuration import Configuration
from azure.core.pipeline import policies
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import HttpRequest

from aioproviders import configure_logging
from aioproviders.sdk import SDKResponse
from aioproviders.sdk.http import HTTPSDKConfig, HTTPSDKProvider

__all__ = ["CONTENDERS", "RAW_AIOHTTP", "RAW_HTTPX", "Client", "Opened", "logging_at_info"]

CONNECTIONS = 100
SECONDS = 30
BODY = {"name": "a small body", "count": 3}
RAW_AIOHTTP = "aiohttp"
RAW_HTTPX = "httpx"
_LIMITS = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)


@dataclass(frozen=True, slots=True)
class Client:
    """An open client: each call makes one request and returns the parsed answer."""

    get: Callable[[], Awaitable[Any]]
    post: Callable[[], Awaitable[Any]]


Opened = Callable[[str], AbstractAsyncContextManager[Client]]
"""Opens a client for the URL that it is given."""


@asynccontextmanager
async def logging_at_info() -> AsyncIterator[None]:
    """Log as an application does in production: what is less than info is filtered out."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: ASYNC230, PTH123 -- it never blocks
        configure_logging("json", "info", stream=nowhere)
        try:
            yield
        finally:
            structlog.reset_defaults()


@asynccontextmanager
async def with_aioproviders(url: str) -> AsyncIterator[Client]:
    """Use our provider with everything on that can be: no limit is ever reached."""
    base, _, path = url.rpartition("/")
    config = HTTPSDKConfig(
        name="benchmark",
        version="1",
        api_endpoint=base,
        timeout_ms=SECONDS * 1000,
        deadline_ms=4 * SECONDS * 1000,
        retry_attempts=3,
        max_concurrency=10_000,
        circuit_breaker={},
        rate_limit=1_000_000,
        max_connections=CONNECTIONS,
        propagate_trace=True,
    )
    async with HTTPSDKProvider(config) as provider:

        async def get() -> Any:
            response = await provider.make_request(path, method="GET")
            response.raise_for_error()
            return response.data

        async def post() -> Any:
            response = await provider.make_request(path, BODY)
            response.raise_for_error()
            return response.data

        yield Client(get, post)


@asynccontextmanager
async def with_aiohttp(url: str) -> AsyncIterator[Client]:
    """Use aiohttp as it is."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS), timeout=aiohttp.ClientTimeout(SECONDS)
    ) as session:

        async def get() -> Any:
            async with session.get(url) as response:
                return await response.json()

        async def post() -> Any:
            async with session.post(url, json=BODY) as response:
                return await response.json()

        yield Client(get, post)


def _plain(client: httpx.AsyncClient, url: str) -> Client:
    async def get() -> Any:
        return (await client.get(url)).raise_for_status().json()

    async def post() -> Any:
        return (await client.post(url, json=BODY)).raise_for_status().json()

    return Client(get, post)


@asynccontextmanager
async def with_httpx(url: str) -> AsyncIterator[Client]:
    """Use httpx as it is."""
    async with httpx.AsyncClient(limits=_LIMITS, timeout=SECONDS) as client:
        yield _plain(client, url)


@asynccontextmanager
async def with_httpx_over_aiohttp(url: str) -> AsyncIterator[Client]:
    """Use httpx with aiohttp's connections."""
    async with httpx_aiohttp.HttpxAiohttpClient(limits=_LIMITS, timeout=SECONDS) as client:
        yield _plain(client, url)


@asynccontextmanager
async def with_stamina(url: str) -> AsyncIterator[Client]:
    """Use httpx with a decorator that retries."""
    async with httpx.AsyncClient(limits=_LIMITS, timeout=SECONDS) as client:
        plain = _plain(client, url)
        retry = stamina.retry(on=httpx.HTTPError, attempts=3)
        yield Client(retry(plain.get), retry(plain.post))


@asynccontextmanager
async def with_azure_core(url: str) -> AsyncIterator[Client]:
    """Use the policies that Azure's generated clients come with."""
    config: Configuration[Any, Any] = Configuration()
    config.headers_policy = policies.HeadersPolicy()
    config.user_agent_policy = policies.UserAgentPolicy()
    config.proxy_policy = policies.ProxyPolicy()
    config.redirect_policy = policies.AsyncRedirectPolicy()
    config.retry_policy = policies.AsyncRetryPolicy()
    config.custom_hook_policy = policies.CustomHookPolicy()
    config.logging_policy = policies.NetworkTraceLoggingPolicy()
    config.http_logging_policy = policies.HttpLoggingPolicy()
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=CONNECTIONS),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    transport = AioHttpTransport(session=session, connection_timeout=SECONDS, read_timeout=SECONDS)
    async with AsyncPipelineClient(url, config=config, transport=transport) as client:

        async def send(request: HttpRequest) -> Any:
            response = await client.send_request(request)
            response.raise_for_status()
            return response.json()

        yield Client(lambda: send(HttpRequest("GET", url)), lambda: send(HttpRequest("POST", url, json=BODY)))


@asynccontextmanager
async def with_openai(url: str) -> AsyncIterator[Client]:
    """Use the client that openai's package makes its requests with."""
    base, _, path = url.rpartition("/")
    limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    async with openai.AsyncOpenAI(
        api_key="none",
        base_url=base,
        timeout=SECONDS,
        http_client=openai.DefaultAsyncHttpxClient(limits=limits, timeout=SECONDS),
    ) as client:
        yield Client(
            lambda: client.get(f"/{path}", cast_to=object),
            lambda: client.post(f"/{path}", cast_to=object, body=BODY),
        )


class SyncProvider:
    """A provider of the sync kind: a request blocks its thread, and a result model is returned.

    Args:
        url: What to request.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.client = httpx.Client(limits=_LIMITS, timeout=SECONDS)

    def make_request(self, method: str, data: dict[str, Any] | None = None) -> SDKResponse:
        """Make one request, and wait for its answer."""
        begun = time.time()
        response = self.client.request(method, self._url, json=data)
        return SDKResponse(
            success=True,
            data=response.raise_for_status().json(),
            latency_ms=int((time.time() - begun) * 1000),
            request_id=str(uuid.uuid4()),
        )


@asynccontextmanager
async def with_threads(url: str) -> AsyncIterator[Client]:
    """Use a sync provider in worker threads, one for each connection."""
    provider = SyncProvider(url)
    threads = anyio.CapacityLimiter(CONNECTIONS)

    async def get() -> Any:
        return (await anyio.to_thread.run_sync(provider.make_request, "GET", limiter=threads)).data

    async def post() -> Any:
        return (await anyio.to_thread.run_sync(provider.make_request, "POST", BODY, limiter=threads)).data

    with provider.client:
        yield Client(get, post)


CONTENDERS: dict[str, Opened] = {
    "aioproviders, everything on": with_aioproviders,
    RAW_AIOHTTP: with_aiohttp,
    RAW_HTTPX: with_httpx,
    "httpx over aiohttp": with_httpx_over_aiohttp,
    "httpx and stamina": with_stamina,
    "azure-core": with_azure_core,
    "openai's client": with_openai,
    "sync httpx in threads": with_threads,
}
