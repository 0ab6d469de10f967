"""Calls of which one in ten fails once, and works when it is repeated."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import stamina
import structlog

from aioproviders import ProviderConfig
from benchmarks.logging_setup import logging_at_info
from benchmarks.peers.retrying import staminas, tenacitys
from benchmarks.results import Table
from benchmarks.rounds import seconds_per_run
from benchmarks.subjects import Limited, Plain, everything_on

BASE = "tenacity's decorator"
BACKOFF = 0.001
CALLS = 100


class Flaky:
    """Ten calls of which the last has to be made twice, over and over."""

    def __init__(self) -> None:
        self._attempts = 0

    async def work(self) -> int:
        """Return at once, but for each eleventh time, when the connection breaks."""
        self._attempts += 1
        if self._attempts % 11 == 10:  # noqa: PLR2004 - as the class says
            raise ConnectionError("the other side has gone")
        return 1


class FlakyPlain(Plain):
    """A provider whose operation is flaky."""

    def __init__(self, config: ProviderConfig) -> None:
        super().__init__(config)
        self._flaky = Flaky()

    async def work(self, rest: float | None = None) -> int:  # noqa: ARG002 - the operation's signature
        """Do flaky work."""
        return await self._flaky.work()


class FlakyLimited(FlakyPlain, Limited):
    """The same with a rate limit, too."""


def run(*, quick: bool) -> Iterator[Table]:
    """Measure; yields a table."""
    yield asyncio.run(_occasional(quick=quick))


async def _occasional(*, quick: bool) -> Table:
    short = {"backoff_initial_ms": 1, "backoff_max_ms": 1}
    with logging_at_info():
        async with (
            FlakyPlain(ProviderConfig(name="plain", version="1", **short)) as plain,
            FlakyLimited(everything_on("limited").model_copy(update=short)) as limited,
        ):
            contenders = {
                "the coroutine itself, none failing": _calls(partial(Plain.work.__wrapped__, plain)),
                BASE: _calls(tenacitys(Flaky().work, BACKOFF)),
                "stamina's decorator, quiet": _calls(staminas(Flaky().work, BACKOFF), quiet=True),
                "stamina's decorator": _calls(staminas(Flaky().work, BACKOFF)),
                "aioproviders, quiet": _calls(plain.work, quiet=True),
                "aioproviders, defaults": _calls(plain.work),
                "aioproviders, everything on": _calls(limited.work),
            }
            taken = await seconds_per_run(
                contenders,
                repeat=2 if quick else 8,
                rounds=3 if quick else 11,
                clock=time.process_time,
            )
    return Table(
        "One call in ten fails once, and is repeated",
        "µs of CPU per call",
        {name: [seconds / CALLS * 1e6 for seconds in values] for name, values in taken.items()},
        base=BASE,
        note="Of the backoff, a millisecond at most, only its work is counted. aioproviders and stamina log "
        "each retry as JSON, and stamina counts it for Prometheus; not those that are quiet, nor tenacity.",
    )


def _calls(call: Callable[[], Awaitable[object]], *, quiet: bool = False) -> Callable[[], Awaitable[None]]:
    """Return what makes `CALLS` calls, of which nobody is told of retries if it is `quiet`."""

    async def calls() -> None:
        if not quiet:
            for _ in range(CALLS):
                await call()
            return
        hooks, config = stamina.instrumentation.get_on_retry_hooks(), structlog.get_config()
        stamina.instrumentation.set_on_retry_hooks([])
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
        try:
            for _ in range(CALLS):
                await call()
        finally:
            stamina.instrumentation.set_on_retry_hooks(hooks)
            structlog.configure(**config)

    return calls
