"""A backend that is dead, and callers who go on calling: what reaches it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from functools import partial

import anyio

from aioproviders.sdk import SDKResponse
from benchmarks.backends import Backend, refused_port, serving
from benchmarks.logging_setup import logging_at_info
from benchmarks.peers.clients import Counter, Request, httpx_alone, openais, ours, staminas_httpx
from benchmarks.results import Table

CALLERS = 20
PAUSE = 0.1
LONGEST = 20.0
BASE = "httpx, no retries"
GUARDED = "aioproviders, budget and breaker"
SINGLE = "a single caller"

Client = Callable[[str, Counter], AbstractAsyncContextManager[Request]]


@dataclass
class Taken:
    """What one client did to one backend.

    Attributes:
        callers: How many call side by side.
        guarded: Whether it has a breaker.
        calls: How many were begun.
        requests: How many of its requests reached the backend or, where none could, were attempted.
        seconds: For how long.
        calls_before: How many calls were begun before the first was refused by an open breaker.
        requests_before: Likewise.
    """

    callers: int
    guarded: bool
    calls: int = 0
    requests: int = 0
    seconds: float = 0.0
    calls_before: int | None = None
    requests_before: int | None = None

    def is_enough(self) -> bool:
        """Whether the breaker has opened, and every caller may have called since."""
        return self.calls_before is not None and self.calls >= self.calls_before + self.callers

    def while_closed(self) -> float:
        """Return the requests per call before the breaker opened; of all, where it didn't."""
        if self.calls_before is None or self.requests_before is None:
            return self.requests / self.calls
        return self.requests_before / self.calls_before

    def after(self) -> float:
        """Return the requests per call after it opened."""
        if self.calls_before is None or self.requests_before is None:
            raise RuntimeError("the breaker did not open")
        return (self.requests - self.requests_before) / (self.calls - self.calls_before)


def run(*, quick: bool) -> Iterator[Table]:
    """Measure; yields the tables of a server that answers 503, and of a port that refuses."""
    clients: dict[str, Client] = {
        BASE: httpx_alone,
        "stamina with httpx": staminas_httpx,
        "openai's client": openais,
        "aioproviders, neither": partial(ours, retry_budget=None),
        "aioproviders, budget alone": ours,
        GUARDED: partial(ours, circuit_breaker={}),
        SINGLE: partial(ours, circuit_breaker={}),
    }
    window, rounds = (1.0, 2) if quick else (12.0, 2)
    taken: dict[tuple[str, str], list[Taken]] = {}
    for _ in range(rounds):
        for key, value in asyncio.run(_round(clients, window)).items():
            taken.setdefault(key, []).append(value)
    what = f"{CALLERS} callers, a call every {PAUSE * 1000:g} ms each, for {window:g} s"
    counted = {
        "503": "A backend that answers 503: requests that reached it",
        "refused": "A backend that refuses connections: attempts",
    }
    for kind, title in counted.items():
        of_kind = {name: rows for (name, at), rows in taken.items() if at == kind}
        compared = {name: rows for name, rows in of_kind.items() if name != SINGLE}
        yield Table(
            f"{title}, per call",
            "per call",
            {name: [row.requests / row.calls for row in rows] for name, rows in compared.items()},
            note=f"{what}. stamina tries ten times, and goes on doing so after the end.",
        )
        yield Table(
            f"{title}, per second",
            "per second",
            {name: [row.requests / row.seconds for row in rows] for name, rows in compared.items()},
            base=BASE,
        )
        yield Table(
            f"{title}, with budget and breaker",
            "per call",
            {
                "aioproviders, while the breaker is closed": [row.while_closed() for row in of_kind[GUARDED]],
                "aioproviders, after it opened": [row.after() for row in of_kind[GUARDED]],
                "aioproviders, while it is closed, a single caller": [
                    row.while_closed() for row in of_kind[SINGLE]
                ],
            },
            note=f"{what}. A single caller has used up the retries that are free, and opened it, "
            "after ten requests, by default.",
        )


async def _round(clients: dict[str, Client], window: float) -> dict[tuple[str, str], Taken]:
    """Let all clients call side by side, each its own backend: most of the time they wait."""
    found: dict[tuple[str, str], Taken] = {}
    async with AsyncExitStack() as stack:
        stack.enter_context(logging_at_info())
        loads = []
        for name, client in clients.items():
            for kind in ("503", "refused"):
                listens = kind == "503"
                made = serving(Backend("503 Service Unavailable")) if listens else refused_port()
                backend, counter = await stack.enter_async_context(made), Counter()
                request = await stack.enter_async_context(client(backend.url, counter))
                requests = partial(getattr, *((backend, "requests") if listens else (counter, "attempts")))
                found[name, kind] = taken = Taken(
                    1 if name == SINGLE else CALLERS, guarded=name in {GUARDED, SINGLE}
                )
                loads.append((request, requests, window, taken))
        async with anyio.create_task_group() as task_group:
            for load in loads:
                task_group.start_soon(_call, *load)
    return found


async def _call(request: Request, requests: Callable[[], int], window: float, taken: Taken) -> None:
    async def caller() -> None:
        while True:
            taken.calls += 1
            try:
                answer = await request()
            except Exception:  # noqa: BLE001 - each client has errors of its own, and none is the point
                answer = None
            if taken.calls_before is None and isinstance(answer, SDKResponse) and _is_refused(answer):
                # This call is the first that found it open, unless that was its retry.
                taken.calls_before = taken.calls - (answer.attempts == 0)
                taken.requests_before = requests()
            await asyncio.sleep(PAUSE)

    begun = time.perf_counter()
    async with anyio.create_task_group() as task_group:
        for _ in range(taken.callers):
            task_group.start_soon(caller)
        await asyncio.sleep(window)
        with anyio.move_on_after(LONGEST):
            # A machine that is busy has its breaker open late.
            while taken.guarded and not taken.is_enough():  # noqa: ASYNC110 - counts tell of nothing
                await asyncio.sleep(PAUSE)
        task_group.cancel_scope.cancel()
    taken.seconds = time.perf_counter() - begun
    taken.requests = requests()


def _is_refused(answer: SDKResponse) -> bool:
    """Whether an open breaker is the reason of a failure."""
    return answer.error_detail is not None and answer.error_detail.code == "circuit_open"
