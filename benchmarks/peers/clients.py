"""Clients of an HTTP API, each with its own idea of retries; all count the attempts they make."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import stamina

from aioproviders.sdk import SDKResponse
from aioproviders.sdk.http import HTTPSDKConfig, HTTPSDKProvider

__all__ = ["Counter", "Request", "httpx_alone", "openais", "ours", "staminas_httpx"]

Request = Callable[[], Awaitable[Any]]


class Counter:
    """Counts attempts.

    Attributes:
        attempts: How many were begun.
    """

    def __init__(self) -> None:
        self.attempts = 0

    async def count(self, _: object = None) -> None:
        """Count one; a hook of httpx."""
        self.attempts += 1


class _CountingProvider(HTTPSDKProvider):
    counter: Counter

    async def make_request(self, endpoint: str, data: Any = None, **options: Any) -> SDKResponse:
        await self.counter.count()
        return await super().make_request(endpoint, data, **options)


@asynccontextmanager
async def httpx_alone(url: str, counter: Counter) -> AsyncIterator[Request]:
    """One attempt by httpx."""
    async with httpx.AsyncClient(base_url=url, event_hooks={"request": [counter.count]}) as client:

        async def request() -> None:
            (await client.get("/")).raise_for_status()

        yield request


@asynccontextmanager
async def staminas_httpx(url: str, counter: Counter) -> AsyncIterator[Request]:
    """As stamina's documentation shows it, with its defaults."""
    async with httpx_alone(url, counter) as request:
        yield stamina.retry(on=httpx.HTTPError)(request)


@asynccontextmanager
async def openais(url: str, counter: Counter) -> AsyncIterator[Request]:
    """Openai's client, with its defaults."""
    http = openai.DefaultAsyncHttpxClient(event_hooks={"request": [counter.count]})
    async with openai.AsyncOpenAI(api_key="none", base_url=url, http_client=http) as client:
        yield client.models.list


@asynccontextmanager
async def ours(url: str, counter: Counter, **settings: Any) -> AsyncIterator[Request]:
    """Ours; `settings` go into its config."""
    config = HTTPSDKConfig(name="api", version="1", api_endpoint=url, rate_limit=None, **settings)
    async with _CountingProvider(config) as provider:
        provider.counter = counter

        async def request() -> SDKResponse:
            return await provider.make_request("/", method="GET")

        yield request
