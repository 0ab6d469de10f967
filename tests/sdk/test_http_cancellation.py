"""Cancelling a request at each point where it waits: nothing is left behind."""

import asyncio
import types

import anyio
import pytest

from aioproviders.sdk.http import HTTPSDKConfig, HTTPSDKProvider


@types.coroutine
def cancelled_at(number, coroutine, suspensions):
    """Run `coroutine`, and cancel the task when it waits for the `number`-th time."""
    send, value = coroutine.send, None
    while True:
        try:
            waiting_for = send(value)
        except StopIteration as stop:
            return stop.value
        suspensions.append(waiting_for)
        if len(suspensions) == number:
            asyncio.current_task().cancel()
        try:
            send, value = coroutine.send, (yield waiting_for)
        except BaseException as error:
            send, value = coroutine.throw, error


async def run_to_the_end(start, check):
    """Cancel what `start` returns at its first wait, its second, and so on, until it ends first."""
    for number in range(1, 200):
        suspensions = []

        async def body(coroutine, number=number, suspensions=suspensions):
            return await cancelled_at(number, coroutine, suspensions)

        task = asyncio.ensure_future(body(start()))
        await asyncio.wait([task], timeout=10)
        assert task.done(), f"cancelled at wait {number}, it hangs"
        await check()
        if len(suspensions) < number:
            assert task.result() is True
            return number
        assert task.cancelled(), f"the cancellation at wait {number} was swallowed"
    raise AssertionError("it never ended by itself")


def settings(server, **more):
    return HTTPSDKConfig(
        name="api",
        version="1",
        api_endpoint=server.url,
        rate_limit=None,
        max_connections=2,
        backoff_initial_ms=1,
        **more,
    )


async def only_this_task():
    """Wait until no other task runs; those of closing sockets end by themselves."""
    with anyio.fail_after(5):
        while len(asyncio.all_tasks()) > 1:  # noqa: ASYNC110 - tasks of others set no event
            await anyio.sleep(0.001)


@pytest.mark.parametrize(
    "path", ["/echo", "/delay?seconds=0.005", "/drip?bytes=3&interval=0.003", "/flaky", "/redirect", "/gzip"]
)
async def test_cancelled_request_leaves_nothing(fault_server, path):
    """Wherever a request is cancelled, its slot and connection are free and the provider works on."""
    provider = HTTPSDKProvider(settings(fault_server))
    method = "POST" if path == "/echo" else "GET"

    async def start():
        return (await provider.make_request(path, method=method)).success

    async def check():
        await only_this_task()
        assert (provider._client._plain.in_use, provider._client._plain.waiting) == (0, 0)
        await fault_server.reset()

    await provider.initialize()
    waits = await run_to_the_end(start, check)
    assert waits > 1
    assert (await provider.make_request("/echo")).success
    pool = provider._client._plain
    await provider.cleanup()
    assert pool.open_connections == 0


@pytest.mark.parametrize("transport", ["aiohttp", "httpx"])
async def test_cancelled_first_request_leaves_nothing(fault_server, transport):
    """The first request, which starts the provider, fetches a token and connects, likewise."""
    auth = {
        "type": "oauth2",
        "token_url": f"{fault_server.url}/token",
        "client_id": "client",
        "client_secret": "secret",
    }
    provider = None

    async def start():
        nonlocal provider
        provider = HTTPSDKProvider(settings(fault_server, auth=auth, transport=transport))
        return (await provider.make_request("/protected")).success

    async def check():
        await provider.cleanup()
        await only_this_task()

    assert await run_to_the_end(start, check) > 3


async def test_cancelled_stream_leaves_nothing(fault_server):
    """A stream that is cancelled while it opens or is read gives all back."""
    provider = HTTPSDKProvider(settings(fault_server))
    await provider.initialize()

    async def start():
        async for _ in provider.stream_request("/lines?count=3&interval=0.002", as_="lines"):
            pass
        return True

    async def check():
        await only_this_task()
        assert (provider._client._plain.in_use, provider._client._plain.waiting) == (0, 0)

    assert await run_to_the_end(start, check) > 3
    await provider.cleanup()


async def test_many_cancelled_at_once(fault_server):
    """Hundreds of requests given up at the same time, queued ones too, leave a pool that works."""
    provider = HTTPSDKProvider(settings(fault_server, timeout_ms=5000))
    await provider.initialize()
    with anyio.move_on_after(0.1):
        async with anyio.create_task_group() as group:
            for number in range(300):
                group.start_soon(provider.make_request, ("/hang", "/delay?seconds=0.01")[number % 2])
    assert (provider._client._plain.in_use, provider._client._plain.waiting) == (0, 0)
    assert (await provider.make_request("/echo")).success
    await provider.cleanup()


async def test_cleanup_waits_for_requests_in_flight(fault_server):
    """Closing lets a request end first; afterwards the provider refuses."""
    provider = HTTPSDKProvider(settings(fault_server))
    await provider.initialize()
    responses = []

    async def call():
        responses.append(await provider.make_request("/delay?seconds=0.1"))

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        await provider.cleanup()
    assert responses[0].success
    with pytest.raises(Exception, match="closed"):
        await provider.make_request("/echo")
