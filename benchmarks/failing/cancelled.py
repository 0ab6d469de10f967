"""Storms of cancellation: calls that are cancelled at random moments, and what they leave behind."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial

import anyio
import httpx

from aioproviders import ProviderConfig
from aioproviders.limits import RateLimiter
from aioproviders.sdk.http import HTTPSDKConfig, HTTPSDKProvider
from benchmarks.backends import Backend, serving
from benchmarks.logging_setup import logging_at_info
from benchmarks.peers.retrying import Stack
from benchmarks.results import Table
from benchmarks.rounds import rounds_of
from benchmarks.subjects import Plain, everything_on, work

BASE = "anyio.fail_after"
SLOTS = 50
BURST = 10
WITHIN = 0.05
FOREVER = 60.0
PATIENCE = 3.0
CONNECTIONS = 20

Call = Callable[[], Awaitable[object]]
Storm = Callable[[Call, int, random.Random], Awaitable[None]]


class Crowded(Plain):
    """A provider whose limits are reached; it counts the calls within.

    Args:
        config: The config.
    """

    def __init__(self, config: ProviderConfig) -> None:
        self.limiter = RateLimiter(2000, BURST)
        super().__init__(config)
        self.within = 0
        self.peak = 0

    def _make_rate_limiter(self) -> RateLimiter:
        return self.limiter

    async def work(self, rest: float | None = None) -> int:
        """Count, and do the work."""
        self.within += 1
        self.peak = max(self.peak, self.within)
        try:
            return await work(rest)
        finally:
            self.within -= 1


def run(*, quick: bool) -> Iterator[Table]:
    """Measure; yields the cost by each way to cancel, and what is left."""
    count, rounds = (300, 2) if quick else (2000, 5)
    left: dict[str, list[float]] = {}
    for how, storm in {"Task.cancel()": _by_task, "anyio's scopes": _by_scope}.items():
        yield asyncio.run(_cost(how, storm, count, rounds, left))
    asyncio.run(_connections(100 if quick else 300, 1 if quick else 5, left))
    yield Table(
        "What cancelled calls leave behind",
        "left",
        left,
        note="Sockets are counted after closing; connections are lost where a pool can't have them any more.",
    )


async def _by_task(call: Call, count: int, chance: random.Random) -> None:
    """Cancel each call's task at a random moment."""

    async def one() -> None:
        await call()

    loop = asyncio.get_running_loop()
    tasks = [asyncio.create_task(one()) for _ in range(count)]
    for task in tasks:
        loop.call_later(chance.uniform(0, WITHIN), task.cancel)
    await asyncio.gather(*tasks, return_exceptions=True)


async def _by_scope(call: Call, count: int, chance: random.Random) -> None:
    """Cancel a scope around each call at a random moment."""
    loop = asyncio.get_running_loop()

    async def one(after: float) -> None:
        with anyio.CancelScope() as scope:
            loop.call_later(after, scope.cancel)
            await call()

    async with anyio.create_task_group() as task_group:
        for _ in range(count):
            task_group.start_soon(one, chance.uniform(0, WITHIN))


async def _cost(how: str, storm: Storm, count: int, rounds: int, left: dict[str, list[float]]) -> Table:
    async def timed() -> None:
        with anyio.fail_after(FOREVER):
            await work(FOREVER)

    def storming(call: Call) -> Callable[[], Awaitable[float]]:
        chance = random.Random(1)  # the same moments for all

        async def measure() -> float:
            begun = time.process_time()
            await storm(call, count, chance)
            return (time.process_time() - begun) / count * 1e6

        return measure

    async def crowded_storm() -> float:
        value = await measure_crowded()
        for name, number in (await _leftovers(crowded)).items():
            left.setdefault(f"aioproviders: {name}, {how}", []).append(number)
        return value

    with logging_at_info():
        async with (
            Plain(ProviderConfig(name="plain", version="1", timeout_ms=60_000)) as plain,
            Crowded(everything_on("crowded", SLOTS)) as crowded,
        ):
            measure_crowded = storming(partial(crowded.work, FOREVER))
            taken = await rounds_of(
                {
                    BASE: storming(timed),
                    "the same parts by hand": storming(partial(Stack(SLOTS).call, partial(work, FOREVER))),
                    "aioproviders, defaults": storming(partial(plain.work, FOREVER)),
                    "aioproviders, everything on": crowded_storm,
                },
                rounds,
            )
    return Table(
        f"{count:,} calls at once, cancelled within {WITHIN * 1000:g} ms by {how}",
        "µs of CPU per call",
        taken,
        base=BASE,
        note=f"By hand and with everything on, most wait for one of {SLOTS} slots, or for the rate limit.",
    )


async def _leftovers(provider: Crowded) -> dict[str, float]:
    """Return what is not to be had any more of all limits, and what is still running."""
    tasks = len(asyncio.all_tasks()) - 1
    # As many tokens as may be saved up.
    await asyncio.sleep(2 * BURST / provider.limiter.full_rate)
    tokens = sum(provider.limiter.try_acquire() for _ in range(BURST))
    within, provider.peak = provider.within, 0
    async with anyio.create_task_group() as task_group:
        for _ in range(SLOTS):
            task_group.start_soon(provider.work, FOREVER)
        await _until(lambda: provider.peak >= SLOTS)
        task_group.cancel_scope.cancel()
    return {
        "slots": SLOTS - provider.peak,
        "rate limit's tokens": BURST - tokens,
        "calls": within,
        "tasks": tasks,
    }


async def _connections(count: int, rounds: int, left: dict[str, list[float]]) -> None:
    """Cancel requests of a slow server, and see what has become of the pool's connections."""
    for storm, how in ((_by_task, "Task.cancel()"), (_by_scope, "anyio's scopes")):
        chance = random.Random(2)
        for _ in range(rounds):
            async with AsyncExitStack() as stack:
                stack.enter_context(logging_at_info())
                backend = await stack.enter_async_context(serving(Backend(delay=WITHIN / 5)))
                other = await stack.enter_async_context(serving(Backend(delay=WITHIN / 5)))
                limits = httpx.Limits(max_connections=CONNECTIONS)
                config = HTTPSDKConfig(
                    name="api",
                    version="1",
                    api_endpoint=backend.url,
                    rate_limit=None,
                    max_connections=CONNECTIONS,
                )
                async with HTTPSDKProvider(config) as provider:
                    get = partial(provider.make_request, "/", method="GET")
                    await storm(get, count, chance)
                    left.setdefault(f"aioproviders: lost connections, {how}", []).append(
                        await _missing(backend, get)
                    )
                left.setdefault(f"aioproviders: open sockets, {how}", []).append(await _open(backend))
                async with httpx.AsyncClient(base_url=other.url, limits=limits) as client:
                    get = partial(client.get, "/")
                    await storm(get, count, chance)
                    left.setdefault(f"httpx: lost connections, {how}", []).append(await _missing(other, get))


async def _missing(backend: Backend, get: Call) -> float:
    """Return how many of the pool's connections can't be had for requests at the same time."""
    # The server has to see first that those of cancelled requests were closed.
    await _until(lambda: not backend.in_flight)
    backend.peak, backend.delay = backend.in_flight, FOREVER
    async with anyio.create_task_group() as task_group:
        for _ in range(CONNECTIONS):
            task_group.start_soon(get)
        await _until(lambda: backend.peak >= CONNECTIONS)
        task_group.cancel_scope.cancel()
    return CONNECTIONS - backend.peak


async def _open(backend: Backend) -> float:
    await _until(lambda: not backend.connections)
    return backend.connections


async def _until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, or it is clear that it won't."""
    with anyio.move_on_after(PATIENCE):
        while not holds():  # noqa: ASYNC110 - counts are all there is to look at
            await asyncio.sleep(0.001)
