"""Whatever is under way, at whichever point it is cancelled: nothing is left behind."""

import contextlib

import anyio
import pytest
from core_doubles import Scripted
from stepping import cancel_at_each_step, settle

from aioproviders import HealthStatus, ProviderState, RequestError
from aioproviders.limits import CircuitState, RateLimiter

pytestmark = pytest.mark.parametrize("native", [True, False])

OUTAGE = {"minimum_calls": 1, "open_ms": 1}


async def nothing_left(provider):
    """Assert that no call holds anything, and that the provider still works."""
    assert provider._lifecycle.in_flight == 0
    assert provider._lifecycle._start_scope is None
    limits = provider._policies["read"].limits
    if limits.slots is not None:
        assert limits.slots.value == provider.config.max_concurrency
        assert limits.slots.statistics().tasks_waiting == 0
    if limits.rate is not None:
        assert limits.rate._waiting == 0
        assert limits.rate._turn.statistics().owner is None
    if limits.breaker is not None:
        assert not limits.breaker._probing
    provider.script = ["fine"]
    with anyio.fail_after(2):
        assert await provider.read() == "fine"


async def pause():
    await anyio.lowlevel.checkpoint()
    await anyio.lowlevel.checkpoint()
    return "done"


async def test_a_plain_call(native):
    """A call with every limit on gives all of it back."""
    provider = Scripted(max_concurrency=1, circuit_breaker=OUTAGE, rate=RateLimiter(1e6), deadline_ms=9000)
    await provider.initialize()

    def make():
        provider.script = [pause]
        return provider.read()

    assert await cancel_at_each_step(make, lambda _: nothing_left(provider), native=native) >= 2


async def test_a_retried_call(native):
    """A call that fails twice and waits in between can be cancelled anywhere."""
    provider = Scripted(max_concurrency=1, rate=RateLimiter(1e6), retry_budget=None)
    await provider.initialize()

    async def fail():
        await pause()
        raise ConnectionError("down")

    def make():
        provider.script = [fail, fail, pause]
        return provider.read()

    assert await cancel_at_each_step(make, lambda _: nothing_left(provider), native=native) >= 6


async def test_a_probe(native):
    """A cancelled probe leaves the breaker free for the next."""
    provider = Scripted(circuit_breaker=OUTAGE)
    await provider.initialize()

    async def make():
        provider.script = [RequestError("down", status_code=500)]
        with contextlib.suppress(RequestError):
            await provider.read()
        assert provider.breaker.state is CircuitState.OPEN
        provider.breaker._open_until = 0
        provider.script = [pause]
        await provider.read()

    async def check(_):
        await nothing_left(provider)
        assert provider.breaker.state is CircuitState.CLOSED

    assert await cancel_at_each_step(make, check, native=native) >= 2


async def test_waiting_for_a_slot(native):
    """A waiter that is cancelled, just as it gets its slot too, leaves the slot to the next."""
    provider = Scripted(max_concurrency=1)
    await provider.initialize()

    async def make():
        gone = anyio.Event()

        async def hold():
            provider.script = [pause, "mine"]
            await provider.read()
            gone.set()

        async with anyio.create_task_group() as group:
            group.start_soon(hold)
            await anyio.lowlevel.checkpoint()
            await provider.read()
            await gone.wait()

    assert await cancel_at_each_step(make, lambda _: nothing_left(provider), native=native) >= 3


async def test_waiting_for_a_token(native):
    """A waiter for a token that is cancelled takes none and blocks nobody."""
    provider = Scripted(rate=RateLimiter(500, 1))
    await provider.initialize()

    async def make():
        provider.script = [pause, pause, pause]
        async with anyio.create_task_group() as group:
            group.start_soon(provider.read)
            group.start_soon(provider.read)
            await provider.read()

    assert await cancel_at_each_step(make, lambda _: nothing_left(provider), native=native) >= 3


class Opening(Scripted):
    """Counts what it opens and gives back."""

    def __init__(self, *script, **fields):
        super().__init__(*script, **fields)
        self.open = 0

    async def initialize(self):
        self.open += 1
        await pause()

    async def cleanup(self):
        await pause()
        self.open = 0


async def test_a_call_that_initializes(native):
    """A start that is cancelled is undone, and the next call starts anew."""
    made = []

    def make():
        made.append(Opening(pause, max_concurrency=1))
        return made[-1].read()

    async def check(_):
        provider = made[-1]
        assert provider.open == (1 if provider.state is ProviderState.READY else 0)
        await nothing_left(provider)
        assert provider.open == 1
        await provider.cleanup()
        assert (provider.open, provider.state) == (0, ProviderState.CLOSED)

    assert await cancel_at_each_step(make, check, native=native) >= 4


async def test_waiting_for_another_ones_start(native):
    """A caller that waits for the start can leave without harm to it."""
    made = []

    async def make():
        provider = Opening(pause, pause)
        made.append(provider)
        async with anyio.create_task_group() as group:
            group.start_soon(provider.read)
            await anyio.lowlevel.checkpoint()
            await provider.read()

    assert await cancel_at_each_step(make, lambda _: nothing_left(made[-1]), native=native) >= 4


async def test_a_stream(native):
    """A stream gives its slot back and closes its source wherever it is cancelled."""
    closed = []

    class Streaming(Scripted):
        async def watch(self, *args):
            closed.append(False)
            try:
                for number in range(3):
                    await anyio.lowlevel.checkpoint()
                    yield number
            finally:
                closed[-1] = True
                await anyio.lowlevel.cancel_shielded_checkpoint()

    provider = Streaming(max_concurrency=1)
    await provider.initialize()

    async def make():
        async with contextlib.aclosing(provider.watch()) as stream:
            assert [item async for item in stream] == [0, 1, 2]

    async def check(_):
        assert all(closed)
        await nothing_left(provider)

    assert await cancel_at_each_step(make, check, native=native) >= 3


async def test_health_check(native):
    """A health check raises on cancellation alone, and leaves nothing."""

    class Slow(Scripted):
        async def health_check(self):
            await pause()
            return {"status": "healthy"}

    made = []

    async def make():
        made.append(Slow(max_concurrency=1))
        assert (await made[-1].health_check())["status"] is HealthStatus.HEALTHY

    assert await cancel_at_each_step(make, lambda _: nothing_left(made[-1]), native=native) >= 2


async def test_async_with(native):
    """Wherever it is cancelled, start, body or end, the provider ends closed with nothing open."""
    made, alive = [], []

    async def work():
        alive.append(1)
        try:
            await anyio.sleep_forever()
        finally:
            alive.pop()

    async def make():
        made.append(Opening(pause))
        async with made[-1] as provider:
            provider.spawn(work)
            await provider.read()

    async def check(_):
        provider = made[-1]
        assert provider.state is ProviderState.CLOSED
        assert provider.open == 0
        assert (provider._lifecycle.in_flight, alive, provider._lifecycle.task_group) == (0, [], None)

    assert await cancel_at_each_step(make, check, native=native) >= 6


async def test_cleanup(native):
    """Cleanup runs to its end wherever its caller is cancelled."""
    made = []

    async def make():
        provider = Opening()
        made.append(provider)
        await anyio.lowlevel.cancel_shielded_checkpoint()
        provider._lifecycle.state = ProviderState.READY
        provider._lifecycle.begun = True
        provider.open = 1
        await provider.cleanup()

    async def check(step):
        if step > 1:
            assert (made[-1].open, made[-1].state) == (0, ProviderState.CLOSED)

    assert await cancel_at_each_step(make, check, native=native) >= 2


async def test_leaving_a_stream_early(native):
    """Breaking out of a stream gives everything back at once when it is closed, else with its collection."""
    provider = Scripted([1, 2, 3], [1, 2, 3], max_concurrency=1)
    stream = provider.watch()
    assert await anext(stream) == 1
    assert provider.slots.value == 0
    await stream.aclose()
    await nothing_left(provider)
    provider.script = [[1, 2, 3]]
    async for _ in provider.watch():
        break
    await settle()
    await nothing_left(provider)
    assert native in (True, False)
