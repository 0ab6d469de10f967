"""What the tests of the HTTP provider share."""

import asyncio
import re

import pytest

from aioproviders.sdk.http import HTTPSDKConfig, HTTPSDKProvider


@pytest.fixture
async def make_http(fault_server):
    """Makes started HTTP providers of the fault server, quick to give up, and closes them."""
    providers = []

    async def make(client=None, **settings):
        config = HTTPSDKConfig(
            **{
                "name": "api",
                "version": "1",
                "api_endpoint": fault_server.url,
                "backoff_initial_ms": 1,
                "backoff_max_ms": 1,
                "rate_limit": None,
                **settings,
            }
        )
        provider = HTTPSDKProvider(config, client=client)
        providers.append(provider)
        await provider.initialize()
        return provider

    yield make
    for provider in providers:
        await provider.cleanup()


class AnsweringServer:
    """A real server on a free port that answers each request with the next of some answers."""

    def __init__(self, answers):
        self.answers = answers
        self.seen = []
        self.url = ""

    async def serve(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            body = await reader.readexactly(int(length[1])) if length else b""
            self.seen.append((head + body).decode("latin-1"))
            writer.write(self.answers[min(len(self.seen), len(self.answers)) - 1])
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture
async def answer_with():
    """Starts servers that answer with given bytes, or with ``(status, headers, body)``."""
    servers = []

    async def start(*answers):
        server = AnsweringServer([a if isinstance(a, bytes) else _answer(*a) for a in answers])
        running = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        servers.append(running)
        server.url = f"http://127.0.0.1:{running.sockets[0].getsockname()[1]}"
        return server

    yield start
    for running in servers:
        running.close()
        await running.wait_closed()


def _answer(status, headers, body=b""):
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in headers.items())]
    lines += [f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
