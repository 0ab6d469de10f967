"""Rate limiter, retry budget and circuit breaker, on a clock that the tests drive."""

import anyio
import pytest
from core_doubles import Clock
from hypothesis import given, settings
from hypothesis import strategies as st
from stepping import settle

from aioproviders.config import CircuitBreakerConfig, RetryBudgetConfig
from aioproviders.errors import CircuitOpenError, RateLimitedError
from aioproviders.limits import CircuitBreaker, CircuitState, RateLimiter, RetryBudget

# Rate limiter.


def limiter(rate, burst=None):
    clock = Clock()
    return RateLimiter(rate, burst, clock=clock, sleep=clock.sleep), clock


@settings(max_examples=60)
@given(
    rate=st.integers(1, 40),
    burst=st.one_of(st.none(), st.integers(1, 20)),
    gaps=st.lists(st.one_of(st.just(0.0), st.floats(0, 0.2), st.floats(0.2, 4)), min_size=1, max_size=120),
    slow=st.sets(st.integers(0, 119), max_size=3),
)
def test_no_second_has_more_than_rate_and_burst(rate, burst, gaps, slow):
    """In whatever pattern requests come, no window of one second lets more through than rate + burst."""
    taken = []

    async def run():
        limit, clock = limiter(rate, burst)
        for number, gap in enumerate(gaps):
            clock.now += gap
            if number in slow:
                limit.slow_down()
            await limit.acquire()
            taken.append(clock.now)
        return limit.burst

    allowed = rate + anyio.run(run)
    first = 0
    for last, now in enumerate(taken):
        while taken[first] <= now - 1:
            first += 1
        assert last - first + 1 <= allowed + 1e-6


async def test_the_rate_is_reached():
    """A steady stream of requests gets all of the rate, not less."""
    limit, clock = limiter(50, 5)
    for _ in range(505):
        await limit.acquire()
    assert clock.now - 1000 == pytest.approx(10, abs=0.05)


async def test_the_burst_is_a_tenth_by_default_and_at_least_one():
    """Without a burst of its own the bucket holds a tenth of the rate."""
    assert limiter(100)[0].burst == 10
    assert limiter(3)[0].burst == 1


async def test_first_come_first_served():
    """Waiters get their tokens in the order in which they came, and nobody overtakes them."""
    order = []
    limit = RateLimiter(200, 1)
    await limit.acquire()

    async def take(number):
        await limit.acquire()
        order.append(number)

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(take, number)
            await anyio.lowlevel.checkpoint()
        assert not limit.try_acquire()
    assert order == list(range(8))


async def test_nobody_overtakes_a_waiter():
    """A token that has come belongs to who waits for it, even before he wakes up."""
    clock, wake = Clock(), anyio.Event()
    limit = RateLimiter(10, 1, clock=clock, sleep=lambda _: wake.wait())
    await limit.acquire()
    async with anyio.create_task_group() as group:
        group.start_soon(limit.acquire)
        await settle()
        clock.now += 0.1
        assert not limit.try_acquire()
        wake.set()
    clock.now += 0.1
    assert limit.try_acquire()


@pytest.mark.parametrize("cancelled", [{0}, {1}, {0, 1, 2}, {3}, {0, 2, 4}])
async def test_cancelled_waiters_lose_nothing(cancelled):
    """Those who are cancelled while they wait take no token and delay nobody."""
    released, got = anyio.Event(), []
    clock = Clock()

    async def sleep(seconds):
        await released.wait()
        clock.now += seconds

    limit = RateLimiter(10, 1, clock=clock, sleep=sleep)
    await limit.acquire()
    scopes = [anyio.CancelScope() for _ in range(6)]

    async def take(number):
        with scopes[number]:
            await limit.acquire()
            got.append(number)

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(take, number)
            await anyio.lowlevel.checkpoint()
        for number in cancelled:
            scopes[number].cancel()
        await anyio.wait_all_tasks_blocked()
        released.set()
    expected = [number for number in range(6) if number not in cancelled]
    assert got == expected
    assert clock.now - 1000 == pytest.approx(len(expected) / 10)
    assert limit._waiting == 0


async def test_a_wait_beyond_the_time_left_is_refused_at_once():
    """A caller whose turn would come too late is told how long it would take."""
    limit, clock = limiter(2, 1)
    await limit.acquire()
    with pytest.raises(RateLimitedError) as caught:
        await limit.acquire(0.4)
    assert caught.value.retry_after == pytest.approx(0.5)
    assert (caught.value.sent, caught.value.reason) == (False, "deadline")
    assert clock.slept == []


async def test_the_expected_wait_counts_those_who_wait():
    """Behind others the wait is as much longer."""
    limit = RateLimiter(1, 1)
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(limit.acquire)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(RateLimitedError) as caught:
            await limit.acquire(2)
        assert 3.5 < caught.value.retry_after < 4.1
        group.cancel_scope.cancel()


async def test_a_wait_that_became_too_long_ends_in_time():
    """When the rate is halved meanwhile, a caller still leaves when his time is up."""
    limit = RateLimiter(20, 1)
    await limit.acquire()
    caught, left = [], anyio.Event()

    async def take():
        with pytest.raises(RateLimitedError) as found:
            await limit.acquire(0.2)
        caught.append(found.value)
        left.set()

    async with anyio.create_task_group() as group:
        group.start_soon(limit.acquire)
        group.start_soon(take)
        await settle()
        limit._share = 1 / 32
        with anyio.fail_after(1):
            await left.wait()
    assert limit._waiting == 0
    assert caught[0].reason == "deadline"


async def test_slow_down_halves_once_per_burst_and_recovers():
    """Refusals that come together halve the rate once; it grows back by a tenth a second, to the full."""
    limit, clock = limiter(100)
    for _ in range(5):
        limit.slow_down()
    assert limit.rate == 50
    clock.now += 2
    limit.try_acquire()
    assert limit.rate == pytest.approx(70)
    limit.slow_down()
    assert limit.rate == pytest.approx(35)
    clock.now += 100
    limit.try_acquire()
    assert limit.rate == 100


async def test_slow_down_has_a_floor():
    """However often it is slowed down, some requests still go."""
    limit, clock = limiter(320)
    for _ in range(50):
        limit.slow_down()
        clock.now += 1
    assert limit.rate >= 10


# Retry budget.


def test_budget_gives_the_floor_and_a_fifth_of_the_calls():
    """Beyond the floor, five calls earn one retry."""
    budget = RetryBudget(RetryBudgetConfig(floor=10, ratio=0.2), 3, clock=lambda: 0.0)
    retries = 0
    for _ in range(500):
        budget.earn()
        while budget.spend():
            retries += 1
    assert 109 <= retries <= 110


def test_budget_cannot_be_saved_up():
    """Calls that needed no retry leave no more than the floor behind."""
    budget = RetryBudget(RetryBudgetConfig(floor=4, ratio=1), 3, clock=lambda: 0.0)
    for _ in range(100):
        budget.earn()
    assert [budget.spend() for _ in range(5)] == [True] * 4 + [False]


def test_the_floor_comes_back_within_the_window():
    """A provider that is seldom called can retry again after a while."""
    clock = Clock()
    budget = RetryBudget(RetryBudgetConfig(floor=4, ratio=0, window_ms=1000), 3, clock=clock)
    assert [budget.spend() for _ in range(5)][-1] is False
    clock.now += 0.5
    assert [budget.spend() for _ in range(3)] == [True, True, False]


def test_the_floor_covers_one_call():
    """A floor lower than one call's retries is raised to them."""
    budget = RetryBudget(RetryBudgetConfig(floor=0, ratio=0), 4, clock=lambda: 0.0)
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]


# Circuit breaker.


def breaker(**fields):
    clock, changes = Clock(), []
    fields = {"failure_ratio": 0.5, "minimum_calls": 4, "window_ms": 1000, "open_ms": 500, **fields}
    return (
        CircuitBreaker(CircuitBreakerConfig(**fields), on_change=changes.append, clock=clock),
        clock,
        changes,
    )


def run(circuit, *outcomes):
    for failed in outcomes:
        circuit.leave(circuit.enter(), failed=failed)


def opened(**fields):
    circuit, clock, changes = breaker(**fields)
    run(circuit, True, True, True, True)
    assert circuit.state is CircuitState.OPEN
    return circuit, clock, changes


def test_opens_at_the_ratio_of_enough_calls():
    """It opens when the share of failures is reached, and not before there are enough calls."""
    circuit, _, changes = breaker()
    run(circuit, True, True, False)
    assert circuit.state is CircuitState.CLOSED
    run(circuit, True)
    assert changes == [CircuitState.OPEN]


def test_stays_closed_below_the_ratio():
    """Fewer failures than the ratio leave it closed."""
    circuit, _, _ = breaker()
    run(circuit, *[False, False, True] * 20)
    assert circuit.state is CircuitState.CLOSED


def test_old_calls_leave_the_window():
    """Failures older than the window count no longer, those within it do."""
    circuit, clock, _ = breaker()
    run(circuit, True, True, True)
    clock.now += 1.2
    run(circuit, True)
    assert circuit.state is CircuitState.CLOSED
    clock.now += 0.8
    run(circuit, True, True, True)
    assert circuit.state is CircuitState.OPEN


def test_what_says_nothing_counts_for_nothing():
    """A cancelled attempt is neither a success nor a failure."""
    circuit, _, _ = breaker(minimum_calls=1)
    run(circuit, None, None)
    assert circuit.state is CircuitState.CLOSED
    assert not circuit._buckets


def test_open_refuses_and_says_for_how_long():
    """While open, it lets nothing through and tells the time left."""
    circuit, clock, _ = opened()
    clock.now += 0.2
    with pytest.raises(CircuitOpenError, match="open") as caught:
        circuit.enter()
    assert caught.value.retry_after == pytest.approx(0.3)
    assert not caught.value.sent


def test_half_open_lets_one_probe_through():
    """After the open time a single probe goes, and the others wait for what it finds."""
    circuit, clock, changes = opened()
    clock.now += 0.5
    ticket = circuit.enter()
    with pytest.raises(CircuitOpenError, match="waits for its probe") as caught:
        circuit.enter()
    assert caught.value.retry_after is None
    circuit.leave(ticket, failed=False)
    assert changes == [CircuitState.OPEN, CircuitState.HALF_OPEN, CircuitState.CLOSED]


def test_a_failed_probe_opens_again():
    """A probe that fails starts the open time anew."""
    circuit, clock, _ = opened()
    clock.now += 0.5
    run(circuit, True)
    assert circuit.state is CircuitState.OPEN
    with pytest.raises(CircuitOpenError) as caught:
        circuit.enter()
    assert caught.value.retry_after == pytest.approx(0.5)


def test_a_cancelled_probe_frees_its_place():
    """The next one may probe when the probe said nothing."""
    circuit, clock, _ = opened()
    clock.now += 0.5
    run(circuit, None)
    assert circuit.state is CircuitState.HALF_OPEN
    run(circuit, False)
    assert circuit.state is CircuitState.CLOSED


@pytest.mark.parametrize("late", [True, False])
def test_late_results_are_ignored(late):
    """What began before it opened decides nothing: not while open, half open, nor closed again."""
    circuit, clock, _ = breaker(minimum_calls=1)
    tickets = [circuit.enter() for _ in range(4)]
    run(circuit, True)
    circuit.leave(tickets[0], failed=late)
    assert circuit.state is CircuitState.OPEN
    clock.now += 0.5
    probe = circuit.enter()
    circuit.leave(tickets[1], failed=late)
    assert circuit.state is CircuitState.HALF_OPEN
    with pytest.raises(CircuitOpenError):
        circuit.enter()
    circuit.leave(probe, failed=False)
    circuit.leave(tickets[2], failed=late)
    assert circuit.state is CircuitState.CLOSED
    assert not circuit._buckets


def test_a_new_life_starts_with_an_empty_window():
    """After closing, old failures are forgotten."""
    circuit, clock, _ = opened()
    clock.now += 0.5
    run(circuit, False, True, True, True)
    assert circuit.state is CircuitState.CLOSED


@settings(max_examples=60)
@given(events=st.lists(st.tuples(st.floats(0, 0.6), st.sampled_from([True, False, None])), max_size=60))
def test_closed_means_below_the_ratio(events):
    """As long as it is closed, the calls of the window are too few or fail less than the ratio."""
    circuit, clock, _ = breaker()
    seen = []
    for gap, failed in events:
        clock.now += gap
        run(circuit, failed)
        if failed is not None:
            seen.append((clock.now, failed))
        if circuit.state is CircuitState.OPEN:
            # Buckets are a tenth of the window wide, so what is that old may count or not.
            recent = [bad for at, bad in seen if at >= clock.now - 1.0001]
            assert len(recent) >= 4
            return
        recent = [bad for at, bad in seen if at > clock.now - 0.9]
        if failed and len(recent) == len(seen):
            assert len(recent) < 4 or sum(recent) < len(recent) * 0.5
