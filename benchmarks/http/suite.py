"""The suite: every contender under every load, compared round by round."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import uvloop

from benchmarks.http.contenders import CONTENDERS, RAW_AIOHTTP, RAW_HTTPX, logging_at_info
from benchmarks.http.load import Load, Seen, put_under
from benchmarks.http.server import ANSWER, serving
from benchmarks.results import Table
from benchmarks.rounds import rounds_of

__all__ = ["run"]

FEW, MANY, TOO_MANY = 10, 100, 1000
GIVEN_UP = "given up"
_SCARCE = "through 100 connections"
_PATIENCE_WITH_MANY = 1.5
_PATIENCE = 10.0  # not with a thousand in flight, where the slowest would hold up the others

Rounds = dict[str, list[Seen]]
"""What was seen of each contender, round by round."""


def run(*, quick: bool) -> Iterator[Table]:
    """Measure; yields tables, the last of which compares the counts of requests."""
    requests: Counter[str] = Counter(dict.fromkeys([*CONTENDERS, GIVEN_UP], 0))
    with serving() as server:
        bench = _Bench(server.url, requests, rounds=3 if quick else 5, scale=0.08 if quick else 1)
        yield from _one_by_one(bench)
        yield from _few(bench)
        if quick:
            (many,) = bench.measure([bench.load(MANY)])
            yield from _many(many)
        else:
            many, too_many = bench.measure([bench.load(MANY), bench.load(TOO_MANY)])
            yield from _many(many)
            yield from _too_many(too_many, many)
            yield from _memory(bench)
            (posts,) = bench.measure([bench.load(MANY)], posts=True)
            yield from _figures(posts, "POST, 100 in flight")
            (uvloops,) = bench.measure([bench.load(MANY)], loop=uvloop.new_event_loop)
            yield from _figures(uvloops, "GET, 100 in flight, uvloop")
    counted = {"counted by the server": [float(server.counted or 0)]}
    yield Table(
        "Requests of this run", "requests", {name: [float(n)] for name, n in requests.items()} | counted
    )


class _Bench:
    """Where it is measured and for how long, and the count of all requests.

    Args:
        url: The server's.
        requests: Requests that were answered, by contender, and those given up.
        rounds: How many to keep.
        scale: Of the seconds that each measurement takes.
    """

    def __init__(self, url: str, requests: Counter[str], *, rounds: int, scale: float) -> None:
        self.url = url
        self.requests = requests
        self._rounds = rounds
        self._scale = scale

    def load(self, in_flight: int) -> Load:
        """Return a load of so many calls, of about half a second."""
        if in_flight <= MANY:
            return Load(in_flight, 0.15 * self._scale, 0.3 * self._scale, _PATIENCE)
        # Longer, so that each of them has its turn a few times.
        return Load(in_flight, 0.5 * self._scale, 1.5 * self._scale, _PATIENCE_WITH_MANY * self._scale)

    def measure(self, loads: Sequence[Load], *, posts: bool = False, loop: Any = None) -> list[Rounds]:
        """Put every contender under every load in each round; returns what was seen, by load."""
        with asyncio.Runner(loop_factory=loop) as runner:
            return runner.run(self._measure(loads, posts=posts))

    async def _measure(self, loads: Sequence[Load], *, posts: bool) -> list[Rounds]:
        measures = {
            (name, load): self._measuring(name, load, posts=posts) for name in CONTENDERS for load in loads
        }
        async with logging_at_info():
            taken = await rounds_of(measures, self._rounds)
        return [{name: taken[name, load] for name in CONTENDERS} for load in loads]

    def _measuring(self, name: str, load: Load, *, posts: bool) -> Callable[[], Awaitable[Seen]]:
        async def measure() -> Seen:
            # A fresh client each time: what one measurement broke must not spoil the next.
            async with CONTENDERS[name](self.url) as client:
                call = client.post if posts else client.get
                if await call() != json.loads(ANSWER):
                    raise RuntimeError(f"{name}: that is not what the server answered")
                seen = await put_under(load, call)
            self.requests[name] += seen.answered + 1
            self.requests[GIVEN_UP] += seen.given_up
            return seen

        return measure


def _each(rounds: Rounds, figure: Callable[[Seen], float]) -> dict[str, list[float]]:
    return {name: [figure(seen) for seen in of_name] for name, of_name in rounds.items()}


def _percentiles(rounds: Rounds, percent: int, *, per_second: float) -> dict[str, list[float]]:
    return _each(rounds, lambda seen: seen.percentile(percent) * per_second)


def _figures(rounds: Rounds, what: str, note: str = "") -> Iterator[Table]:
    """Yield throughput, median and 99th percentile of one load."""
    yield Table(
        f"Throughput: {what}",
        "requests/s",
        _each(rounds, lambda seen: seen.throughput),
        base=RAW_AIOHTTP,
        more_is_better=True,
        note=note,
    )
    for percent in (50, 99):
        yield Table(
            f"Latency, p{percent}: {what}",
            "ms",
            _percentiles(rounds, percent, per_second=1e3),
            base=RAW_AIOHTTP,
        )


def _one_by_one(bench: _Bench) -> Iterator[Table]:
    (rounds,) = bench.measure([bench.load(1)])
    median = _percentiles(rounds, 50, per_second=1e6)
    yield Table("Latency, p50: one by one", "µs", median, base=RAW_AIOHTTP)
    yield Table("Latency, p50: one by one, compared with httpx", "µs", median, base=RAW_HTTPX)
    yield Table(
        "Latency, p99: one by one",
        "µs",
        _percentiles(rounds, 99, per_second=1e6),
        base=RAW_AIOHTTP,
    )


def _few(bench: _Bench) -> Iterator[Table]:
    (rounds,) = bench.measure([bench.load(FEW)])
    yield from _figures(rounds, "GET, 10 in flight")


def _many(rounds: Rounds) -> Iterator[Table]:
    yield from _figures(rounds, "GET, 100 in flight")
    yield Table(
        "Throughput: GET, 100 in flight, compared with httpx",
        "requests/s",
        _each(rounds, lambda seen: seen.throughput),
        base=RAW_HTTPX,
        more_is_better=True,
    )
    yield _processor_time(rounds, "GET, 100 in flight")


def _processor_time(rounds: Rounds, what: str) -> Table:
    return Table(
        f"Processor time: {what}",
        "seconds per 1,000 calls",
        _each(rounds, lambda seen: seen.cpu_per_call * 1000),
        base=RAW_AIOHTTP,
        note="Of the client's process, harness included.",
    )


def _too_many(rounds: Rounds, many: Rounds) -> Iterator[Table]:
    what = f"GET, 1,000 in flight {_SCARCE}"
    yield Table(
        f"Throughput: {what}",
        "requests/s",
        _each(rounds, lambda seen: seen.throughput),
        base=RAW_AIOHTTP,
        more_is_better=True,
    )
    yield Table(f"Latency, p50: {what}", "ms", _percentiles(rounds, 50, per_second=1e3), base=RAW_AIOHTTP)
    yield _processor_time(rounds, what)
    yield Table(
        f"Throughput: 1,000 in flight {_SCARCE}, as a share of the client's own at 100",
        "of its own at 100",
        {
            name: [mine.throughput / before.throughput for mine, before in zip(seen, many[name], strict=True)]
            for name, seen in rounds.items()
        },
        more_is_better=True,
    )
    unanswered = {name: sum(seen.given_up for seen in of_name) for name, of_name in rounds.items()}
    fair = {name: of_name for name, of_name in rounds.items() if not unanswered[name]}
    starved = ", ".join(f"{name} ({count:,} calls)" for name, count in unanswered.items() if count)
    yield Table(
        f"Fairness: p99 at 1,000 in flight {_SCARCE}, as a multiple of a fair share",
        "of 1,000 / throughput",
        _each(fair, lambda seen: seen.percentile(99) * seen.throughput / TOO_MANY),
        note="What a call takes where each waits for its turn and no longer is 1."
        + (
            f" Left out, as calls were unanswered {_PATIENCE_WITH_MANY} s after the end: {starved}."
            if starved
            else ""
        ),
    )


def _memory(bench: _Bench) -> Iterator[Table]:
    peaks = {}
    for name in CONTENDERS:
        # In a process of its own: memory that one has taken is not given back before the next.
        done = subprocess.run(  # noqa: S603 -- our own module
            [sys.executable, "-m", "benchmarks.http.memory", bench.url, name],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
            start_new_session=True,  # Ctrl-C is for us, and ends it
        )
        found = json.loads(done.stdout)
        peaks[name] = found["peaks"]
        bench.requests[name] += found["answered"]
        bench.requests[GIVEN_UP] += found["given_up"]
    yield Table(
        f"Memory: growth from 100 to 1,000 in flight {_SCARCE}",
        "MiB",
        {name: [(high - low) / 2**20] for name, (low, high) in peaks.items()},
        note="Peak of what is resident, in a process for each.",
    )
    yield Table(
        f"Memory: at 1,000 in flight {_SCARCE}, as a multiple of that at 100",
        "of its own at 100",
        {name: [high / low] for name, (low, high) in peaks.items()},
        note="Peak of what is resident, in a process for each, the interpreter and all imports included.",
    )
