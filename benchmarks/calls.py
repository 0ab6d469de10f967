"""One call that does not fail: the operation pipeline against its parts by themselves and put together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import anyio

from aioproviders import ProviderConfig
from benchmarks.logging_setup import logging_at_info
from benchmarks.peers.retrying import Stack, staminas, tenacitys
from benchmarks.results import Table
from benchmarks.rounds import seconds_per_run
from benchmarks.subjects import Limited, Plain, everything_on, work

BASE = "tenacity's decorator"
AT_ONCE = 100
EVERYTHING = (
    "Everything: deadline, max_concurrency, retries with a budget, breaker, rate limit, timeout, trace ID, "
    "a debug event that is filtered out. By hand, the same without budget and breaker."
)

Contenders = dict[str, Callable[[], Awaitable[object]]]


def run(*, quick: bool) -> Iterator[Table]:
    """Measure; yields a table for each event loop, then those of many calls at once."""
    loops = _loops()
    for name, loop in loops.items():
        with asyncio.Runner(loop_factory=loop) as runner:
            yield runner.run(_one_by_one(name, quick=quick))
    for name, loop in loops.items():
        with asyncio.Runner(loop_factory=loop) as runner:
            yield runner.run(_side_by_side(name, quick=quick))


def _loops() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    try:
        import uvloop  # noqa: PLC0415 - not to be had on Windows
    except ModuleNotFoundError:
        return loops
    return {**loops, "uvloop": uvloop.new_event_loop}


async def _one_by_one(loop: str, *, quick: bool) -> Table:
    with logging_at_info():
        async with (
            Plain(ProviderConfig(name="plain", version="1")) as plain,
            Limited(everything_on("limited")) as limited,
        ):
            taken = await seconds_per_run(
                _contenders(plain, limited, None), repeat=300 if quick else 2000, rounds=3 if quick else 9
            )
    return Table(
        f"One call that does not fail, {loop}",
        "µs per call",
        {name: [seconds * 1e6 for seconds in values] for name, values in taken.items()},
        base=BASE,
        note=EVERYTHING,
    )


async def _side_by_side(loop: str, *, quick: bool) -> Table:
    def crowd(call: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
        async def calls() -> None:
            async with anyio.create_task_group() as task_group:
                for _ in range(AT_ONCE):
                    task_group.start_soon(call)

        return calls

    with logging_at_info():
        async with (
            Plain(ProviderConfig(name="plain", version="1")) as plain,
            Limited(everything_on("limited", AT_ONCE)) as limited,
        ):
            contenders = {name: crowd(call) for name, call in _contenders(plain, limited, 0).items()}
            taken = await seconds_per_run(contenders, repeat=3 if quick else 20, rounds=3 if quick else 9)
    return Table(
        f"{AT_ONCE} calls at a time, {loop}",
        "µs per call",
        {name: [seconds / AT_ONCE * 1e6 for seconds in values] for name, values in taken.items()},
        base=BASE,
        note="Each call lets the others have a turn; its task and its turn are in the figures.",
    )


def _contenders(plain: Plain, limited: Limited, rest: float | None) -> Contenders:
    body = partial(work, rest)
    stack = Stack(AT_ONCE)

    async def timed() -> int:
        with anyio.fail_after(5):
            return await body()

    return {
        "the coroutine itself": body,
        "anyio.fail_after": timed,
        "stamina's decorator": partial(staminas(work), rest),
        BASE: partial(tenacitys(work), rest),
        "the same parts by hand": partial(stack.call, body),
        "aioproviders, defaults": partial(plain.work, rest),
        "aioproviders, everything on": partial(limited.work, rest),
    }
