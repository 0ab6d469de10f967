"""How long a sweep takes: of few and of many, of checks that wait and of checks that don't."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

from aioproviders import BaseProvider, ProviderConfig, ProviderRegistry
from benchmarks.peers.pings import one_by_one, pings
from benchmarks.results import Table
from benchmarks.rounds import seconds_per_run
from benchmarks.subjects import Plain, Resting

BASE = "bare asyncio.gather"
OURS = "aioproviders' sweep"

Run = Callable[[], Awaitable[object]]


def run(*, quick: bool) -> Iterator[Table]:
    """Measure; yields a table for each size, those of growth, of short checks and of longer ones."""
    yield from asyncio.run(_few(quick=quick))
    yield from asyncio.run(_many(quick=quick))
    yield asyncio.run(_instant(2000 if quick else 10_000, quick=quick))
    yield asyncio.run(_longer(20 if quick else 100, quick=quick))


def registry_of(providers: Sequence[BaseProvider]) -> ProviderRegistry:
    """Return a registry of `providers`."""
    registry = ProviderRegistry()
    for provider in providers:
        registry.register(provider.name, provider)
    return registry


def resting(count: int, seconds: float, name: str = "p") -> list[Resting]:
    """Make providers whose checks take `seconds`, their names beginning with `name`."""
    return [Resting(ProviderConfig(name=f"{name}{number}", version="1"), seconds) for number in range(count)]


def bare(provider: BaseProvider) -> Run:
    """Return the provider's check as it was written, without the framework around it."""
    check: Run = type(provider).health_check.__wrapped__.__get__(provider)  # type: ignore[attr-defined]  # set by functools.wraps
    return check


def gathering(checks: Sequence[Run]) -> Run:
    """Return what gathers `checks`."""

    async def gather() -> None:
        await asyncio.gather(*(check() for check in checks))

    return gather


async def _few(*, quick: bool) -> list[Table]:
    """Measure sizes at which a sequential peer comes to an end, too."""
    contenders: dict[tuple[int, str], Run] = {}
    sizes = [100] if quick else [100, 1000]
    for size in sizes:
        contenders |= _contenders(size)
        contenders[size, "svcs' pings, one by one"] = pings([bare(each) for each in resting(size, 0.001)])
    taken = await seconds_per_run(contenders, repeat=1, rounds=2 if quick else 5)
    return [
        _table(size, taken, "svcs asks one after the other: its time is that of all checks.")
        for size in sizes
    ]


async def _many(*, quick: bool) -> list[Table]:
    """Measure large sizes in the same rounds, so that they can be compared with one another, too."""
    sizes = [1000, 10_000] if quick else [1000, 10_000, 100_000]
    contenders: dict[tuple[int, str], Run] = {}
    for size in sizes:
        contenders |= _contenders(size)
    taken = await seconds_per_run(contenders, repeat=1, rounds=2 if quick else 3)
    # Where few were measured by themselves, that is the better figure.
    tables = [_table(size, taken) for size in (sizes if quick else sizes[1:])]
    for contender in (OURS, BASE):
        growth = {f"{size:,} checks": [s / size * 1e6 for s in taken[size, contender]] for size in sizes}
        tables.append(
            Table(
                f"{contender}: time per check as it grows",
                "µs per check",
                growth,
                base=f"{sizes[0]:,} checks",
            )
        )
    return tables


def _contenders(size: int) -> dict[tuple[int, str], Run]:
    providers = resting(size, 0.001)
    return {
        (size, BASE): gathering([bare(provider) for provider in providers]),
        # Not entered: what starting and closing take is none of a sweep's.
        (size, OURS): registry_of(providers).sweep,
    }


def _table(size: int, taken: Mapping[tuple[int, str], Sequence[float]], note: str = "") -> Table:
    return Table(
        f"A sweep of {size:,} checks of 1 ms",
        "ms",
        {name: [s * 1e3 for s in values] for (at, name), values in taken.items() if at == size},
        base=BASE,
        note=note,
    )


async def _instant(count: int, *, quick: bool) -> Table:
    providers = [Plain(ProviderConfig(name=f"p{number}", version="1")) for number in range(count)]
    checks: list[Run] = [provider.health_check for provider in providers]
    one = "health_check() one by one"
    contenders: dict[str, Run] = {
        BASE: gathering([bare(provider) for provider in providers]),
        one: lambda: one_by_one(checks),
        "asyncio.gather of health_check()": gathering(checks),
        OURS: registry_of(providers).sweep,
    }
    taken = await seconds_per_run(contenders, repeat=1, rounds=2 if quick else 9)
    return Table(
        f"A sweep of {count:,} checks that take no time",
        "µs per check",
        {name: [seconds / count * 1e6 for seconds in values] for name, values in taken.items()},
        base=one,
        note="health_check() is the provider's: with timeout, retries, rate limit and a report of its own.",
    )


async def _longer(count: int, *, quick: bool) -> Table:
    providers = resting(count, 0.01)
    checks = [bare(provider) for provider in providers]
    sequential: list[Run] = [provider.health_check for provider in providers]
    async with registry_of(providers) as registry:
        contenders: dict[str, Run] = {
            BASE: gathering(checks),
            OURS: registry.sweep,
            "health_check() one by one": lambda: one_by_one(sequential),
            "svcs' pings, one by one": pings(checks),
        }
        taken = await seconds_per_run(contenders, repeat=1, rounds=2 if quick else 3)
    return Table(
        f"A sweep of {count:,} checks of 10 ms",
        "ms",
        {name: [seconds * 1e3 for seconds in values] for name, values in taken.items()},
        base=BASE,
    )
