"""Closed and open loops on a simulated clock: what is due, what is late, and whose latency shows it."""

import asyncio
import heapq
from itertools import count

import anyio
import pytest

from aioproviders.cli.bench.load import Load, WallClock, measure
from aioproviders.cli.bench.measurement import Measurement
from aioproviders.sdk import SDKResponse

OK = SDKResponse(success=True, latency_ms=1, request_id="1")


class Simulation:
    """A clock that jumps to the next sleeper's time whenever all tasks wait."""

    def __init__(self):
        self.time = 0.0
        self._sleepers = []
        self._numbers = count()

    def now(self):
        return self.time

    async def sleep_until(self, when):
        woken = anyio.Event()
        heapq.heappush(self._sleepers, (when, next(self._numbers), woken))
        await woken.wait()

    async def sleep(self, seconds):
        await self.sleep_until(self.time + seconds)

    async def run(self, function, *arguments):
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(function, *arguments)
            await self._settle()
            while self._sleepers:
                self.time, _, woken = heapq.heappop(self._sleepers)
                woken.set()
                await self._settle()

    async def _settle(self):
        await asyncio.sleep(0)
        while asyncio.get_running_loop()._ready:  # noqa: ASYNC110 - until nothing goes on any more
            await asyncio.sleep(0)


class Server:
    """Takes a millisecond a request, on any number of connections; from `stall` on it stands still once."""

    def __init__(self, clock, *, stall=(0.0, 0.0), takes=0.001):
        self.clock, self.takes = clock, takes
        self.stalls_at, self.stalls_until = stall
        self.begun = []

    async def request(self):
        self.begun.append(self.clock.now())
        await self.clock.sleep(self.takes)
        if self.stalls_at <= self.clock.now() < self.stalls_until:
            await self.clock.sleep_until(self.stalls_until)
        return OK


async def made(load, **options):
    """Put `load` on a server; returns the measurement and the server."""
    clock = Simulation()
    server = Server(clock, **options)
    found = Measurement()

    async def run():
        await measure(server.request, found, load, clock=clock)

    await clock.run(run)
    return found, server


def slow(histogram, than=0.1):
    """Return how many latencies are above so many seconds."""
    return sum(times for value, times in histogram.counts() if value > than * 1e6)


async def test_a_closed_loop_keeps_its_concurrency():
    """As many requests as asked for run at a time, the next as soon as one has ended."""
    found, server = await made(Load(concurrency=4, requests=20))

    assert found.requests == found.started == 20
    assert found.most_in_flight == 4
    assert server.begun == [pytest.approx(0.001 * (number // 4)) for number in range(20)]


async def test_a_closed_loop_hides_a_stall():
    """While a request meets a stall no other is made: one latency shows it (coordinated omission)."""
    found, _ = await made(Load(concurrency=1, requests=200), stall=(0.05, 1.05))

    assert slow(found.response) == slow(found.service) == 1


async def test_an_open_loop_shows_a_stall_in_all_requests_it_held_up():
    """On one connection a stall is one service time, and in the response time of all that were due in it."""
    found, _ = await made(Load(concurrency=1, requests=400, rate=100), stall=(0.5, 1.5))

    assert slow(found.service) == 1
    # 100 were due in that second; those of its last tenth, and of the catching up, were late by less.
    assert 85 <= slow(found.response) <= 105
    assert found.held_back >= 100
    assert found.unstarted == 0
    assert found.requests == 400


async def test_an_open_loop_starts_what_is_due_while_others_wait():
    """With connections enough a stall starts no request late: service and response times agree."""
    found, server = await made(Load(concurrency=1000, requests=400, rate=100), stall=(0.5, 1.5))

    assert found.held_back == 0
    assert found.response.counts() == found.service.counts()
    assert found.most_in_flight == pytest.approx(100, abs=2)
    assert server.begun == [pytest.approx(number / 100) for number in range(400)]


async def test_nothing_due_is_dropped_silently():
    """What is due and finds no free place till the end of the run is counted."""
    found, _ = await made(Load(concurrency=2, seconds=10, rate=10), takes=1.0)

    assert found.requests == found.started
    assert found.started + found.unstarted == 100
    assert 75 <= found.unstarted <= 85


async def test_a_duration_that_fits_its_schedule_leaves_nothing_over():
    """The last request due before the end is made, the first one at the end is not."""
    found, _ = await made(Load(concurrency=5, seconds=10, rate=1.1))

    assert (found.requests, found.unstarted) == (11, 0)


@pytest.mark.parametrize("load", [Load(2, requests=5, seconds=10), Load(2, requests=99, seconds=0.0025)])
async def test_requests_and_duration_end_a_run_at_whichever_comes_first(load):
    """With both, the first that is reached ends the run; what is under way then is waited for."""
    found, _ = await made(load)

    assert found.requests == min(load.requests, 6)
    assert found.unanswered == 0


async def test_a_cancelled_open_loop_counts_what_was_due_by_then():
    """Of an interrupted run's schedule only what was due by then counts as not started."""
    clock = Simulation()
    server = Server(clock, takes=3.0)
    found = Measurement()

    async def run():
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(cancel, task_group.cancel_scope)
            await measure(server.request, found, Load(1, requests=1000, rate=10), clock=clock)

    async def cancel(scope):
        await clock.sleep_until(5.05)
        scope.cancel()

    await clock.run(run)

    assert (found.started, found.requests) == (2, 1)
    assert found.unstarted == 51 - 2
    assert found.seconds == pytest.approx(5.05)
    # The second was due after 0.1 s and started after 3 s.
    assert found.unanswered == 1
    assert found.oldest_unanswered == pytest.approx(4.95)


async def test_the_wall_clock_never_wakes_early():
    """A request is not started before it is due, however short the wait."""
    clock = WallClock()

    for wait in (-1, 0, 0.0002, 0.005):
        due = clock.now() + wait
        await clock.sleep_until(due)

        assert clock.now() >= due
