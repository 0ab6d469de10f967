"""What surrounds an operation: order, retries, their classification, deadlines, nesting, cancellation."""

import asyncio
import subprocess
import sys
import time

import anyio
import pytest
import tenacity
from core_doubles import Scripted, config, failing, forever
from hypothesis import given
from hypothesis import strategies as st

from aioproviders import (
    BaseProvider,
    CircuitOpenError,
    ConfigurationError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    RequestError,
    SDKProvider,
    SDKResponse,
    current_call,
    operation,
)
from aioproviders.limits import CircuitBreaker, RateLimiter
from aioproviders.resilience import Limits, Policy, _Backoff, translate


async def failure(awaitable):
    with pytest.raises(ProviderError) as caught:
        await awaitable
    return caught.value


# The order of things.


async def test_order(monkeypatch):
    """The layers are entered in the documented order, the deadline's clock running all the while."""
    seen = []

    class Rate(RateLimiter):
        def try_acquire(self):
            seen.append("rate")
            return True

    provider = Scripted(lambda: seen.append("body"), rate=Rate(1), max_concurrency=1, circuit_breaker={})
    slots, breaker = provider.slots, provider.breaker
    take, enter, fail_after = slots.acquire_nowait, breaker.enter, anyio.fail_after
    await provider.initialize()
    monkeypatch.setattr(type(slots), "acquire_nowait", lambda self: (seen.append("slot"), take()))
    monkeypatch.setattr(breaker, "enter", lambda: (seen.append("breaker"), enter())[1])
    monkeypatch.setattr(anyio, "fail_after", lambda *a, **k: (seen.append("timeout"), fail_after(*a, **k))[1])
    await provider.read()
    assert seen == ["slot", "breaker", "rate", "timeout", "body"]


async def test_a_retry_keeps_its_slot_and_passes_breaker_and_rate_again():
    """A retried call takes one slot, and each attempt a token and a place in the breaker."""
    taken = []

    class Rate(RateLimiter):
        def try_acquire(self):
            taken.append(provider.slots.value)
            return True

    provider = Scripted(
        ConnectionError("a"), ConnectionError("b"), rate=Rate(1), max_concurrency=1, circuit_breaker={}
    )
    entered = []
    enter = provider.breaker.enter
    provider.breaker.enter = lambda: (entered.append(1), enter())[1]
    assert await provider.read() == "done"
    assert taken == [0, 0, 0]
    assert len(entered) == 3
    assert provider.slots.value == 1


async def test_first_attempt_runs_without_tenacity(monkeypatch):
    """Tenacity is built only after a first failure that may be retried."""
    built = []
    real = tenacity.AsyncRetrying
    monkeypatch.setattr(tenacity, "AsyncRetrying", lambda **k: (built.append(1), real(**k))[1])
    await Scripted().read()
    await failure(Scripted(ValueError("no")).read())
    assert not built
    await Scripted(ConnectionError("x")).read()
    assert built == [1]


async def test_concurrent_callers_do_not_share_retry_state():
    """Each of many concurrent callers gets its own count of attempts."""
    provider = Scripted(retry_budget=None)
    provider.script = failing(lambda: ConnectionError("down"))
    errors = []

    async def one():
        errors.append(await failure(provider.read()))

    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(one)
    assert [error.attempts for error in errors] == [3] * 20
    assert provider.attempts == 60


# What is retried.

NOT_SENT = [ConnectionError, ConnectionRefusedError]
SENT = [ConnectionResetError, ConnectionAbortedError, BrokenPipeError, TimeoutError, asyncio.TimeoutError]
NEVER = [
    ValueError,
    TypeError,
    KeyError,
    OSError,
    RuntimeError,
    PermissionError,
    FileNotFoundError,
    NotImplementedError,
]


@pytest.mark.parametrize("kind", NOT_SENT)
@pytest.mark.parametrize("method", ["read", "write"])
async def test_not_sent_is_retried_for_any_operation(kind, method):
    """What was surely not sent is repeated, be it a write."""
    provider = Scripted(kind("x"), kind("x"))
    assert await getattr(provider, method)() == "done"
    assert provider.attempts == 3


@pytest.mark.parametrize("kind", SENT)
async def test_maybe_sent_is_retried_where_that_does_no_harm(kind):
    """What may have been acted upon is repeated for an idempotent operation, not for another."""
    provider = Scripted(kind("x"))
    assert await provider.read() == "done"
    provider = Scripted(kind("x"))
    error = await failure(provider.write())
    assert (provider.attempts, error.reason, error.retryable, error.sent) == (1, "non_retryable", True, True)


@pytest.mark.parametrize("kind", SENT)
async def test_an_idempotency_key_makes_a_write_repeatable(kind):
    """An operation that took a key during its first attempt is repeated, with that key."""
    keys = []

    def keyed():
        keys.append(current_call().ensure_idempotency_key())
        if len(keys) < 3:
            raise kind("x")
        return "done"

    provider = Scripted(keyed, keyed, keyed)
    assert await provider.write() == "done"
    assert len(keys) == 3
    assert len(set(keys)) == 1


@pytest.mark.parametrize("kind", NEVER)
async def test_other_errors_are_never_retried(kind):
    """A foreign error that is not one of connections or time is not repeated."""
    provider = Scripted(kind("x"))
    error = await failure(provider.read())
    assert (provider.attempts, error.reason, error.retryable) == (1, "non_retryable", False)
    assert isinstance(error.__cause__, kind)


@pytest.mark.parametrize("retryable", [True, False])
async def test_our_errors_say_themselves(retryable):
    """An error of ours is repeated where its `retryable` says so."""
    provider = Scripted(RequestError("x", retryable=retryable, status_code=503))
    if retryable:
        assert await provider.read() == "done"
    else:
        assert (await failure(provider.read())).reason == "non_retryable"


async def test_programming_errors_are_translated_with_their_cause():
    """What the body raises comes out as one of ours, chained to the original."""
    error = await failure(Scripted(KeyError("k")).read())
    assert type(error) is ProviderError
    assert error.message == "KeyError: 'k'"
    assert (error.provider, error.operation) == ("it", "read")


def test_an_error_that_cannot_print_itself_is_translated():
    """A broken ``__str__`` costs the text, not the translation."""

    class BrokenError(Exception):
        def __str__(self):
            raise RuntimeError("broken")

    assert translate(BrokenError()).message == "BrokenError: <BrokenError that can't be printed>"


# Why it ends.


async def test_reason_attempts():
    """Without any attempt left the last error comes out, with the count and the reason."""
    provider = Scripted(ConnectionError("1"), ConnectionError("2"), ConnectionError("3"))
    error = await failure(provider.read())
    assert (error.reason, error.attempts, error.message) == ("attempts", 3, "ConnectionError: 3")
    assert error.elapsed > 0


async def test_reason_attempts_of_one():
    """With a single attempt a retryable failure ends for want of attempts."""
    error = await failure(Scripted(ConnectionError("1"), retry_attempts=1).read())
    assert (error.reason, error.attempts) == ("attempts", 1)


async def test_reason_budget():
    """With the budget empty the original failure comes out at once."""
    provider = Scripted(retry_budget={"floor": 2, "ratio": 0})
    provider.script = failing(lambda: ConnectionError("down"))
    assert (await failure(provider.read())).reason == "attempts"
    error = await failure(provider.read())
    assert (error.reason, error.attempts, error.message) == ("budget", 1, "ConnectionError: down")


async def test_reason_circuit():
    """With the breaker open nothing is tried, and the error says for how long."""
    provider = Scripted(
        RequestError("x", status_code=500), circuit_breaker={"minimum_calls": 1, "open_ms": 60_000}
    )
    await failure(provider.read())
    error = await failure(provider.read())
    assert isinstance(error, CircuitOpenError)
    assert (error.reason, error.attempts, provider.attempts) == ("circuit", 0, 1)
    assert 59 < error.retry_after <= 60


async def test_a_breaker_that_opens_between_attempts_ends_the_call():
    """A retry meets the open breaker: its error comes out, with the last failure as the cause."""
    provider = Scripted(circuit_breaker={"minimum_calls": 2, "failure_ratio": 1.0})
    provider.script = failing(lambda: ConnectionResetError("down"))
    error = await failure(provider.read())
    assert (type(error), error.reason, error.attempts) == (CircuitOpenError, "circuit", 2)
    assert isinstance(error.__cause__, ProviderUnavailableError)
    # An earlier attempt may have been acted upon, whatever the last one met.
    assert error.sent


async def test_500_calls_to_a_dead_backend_make_few_retries():
    """Retries add at most the floor and one for five calls."""
    provider = Scripted(retry_budget={"floor": 10, "ratio": 0.2, "window_ms": 10_000_000})
    provider.script = failing(lambda: ConnectionError("down"))
    for _ in range(500):
        await failure(provider.read())
    assert 500 + 100 <= provider.attempts <= 500 + 10 + 100


async def test_non_retryable_failures_cost_no_budget():
    """Only a retry takes from the budget."""
    provider = Scripted(retry_budget={"floor": 1, "ratio": 0}, retry_attempts=2)
    for _ in range(5):
        provider.script = [ValueError("x")]
        await failure(provider.read())
    provider.script = [ConnectionError("x")]
    assert await provider.read() == "done"


# Retry-After.


async def test_retry_after_is_never_shortened():
    """The wait before a retry is at least what the other side asks for."""
    provider = Scripted(RateLimitedError("slow", retry_after=0.08), backoff_max_ms=1)
    started = time.monotonic()
    assert await provider.read() == "done"
    assert time.monotonic() - started >= 0.08


async def test_retry_after_beyond_the_cap_fails_now():
    """A longer wait than the cap is not begun."""
    provider = Scripted(RateLimitedError("slow", retry_after=31))
    error = await failure(provider.read())
    assert (error.reason, error.retry_after, provider.attempts) == ("non_retryable", 31, 1)


async def test_retry_after_at_the_cap_is_waited_for():
    """The cap itself is still allowed."""
    provider = Scripted(RateLimitedError("slow", retry_after=0.02), retry_after_max_ms=20)
    assert await provider.read() == "done"


@pytest.mark.parametrize("ambient", [True, False])
async def test_retry_after_beyond_the_time_left_fails_at_once(ambient):
    """A wait that would outlast the deadline, own or further out, ends the call with the cause."""
    provider = Scripted(
        RateLimitedError("slow", retry_after=20), **({} if ambient else {"deadline_ms": 8000})
    )
    started = time.monotonic()
    with anyio.fail_after(8 if ambient else None):
        error = await failure(provider.read())
    assert time.monotonic() - started < 1
    assert isinstance(error, ProviderTimeoutError)
    assert error.reason == "deadline"
    assert type(error.__cause__) is RateLimitedError
    assert error.__cause__.message == "slow"


@given(
    initial=st.integers(1, 10_000),
    most=st.integers(1, 100_000),
    attempt=st.integers(1, 80),
    retry_after=st.one_of(st.none(), st.floats(0, 1000)),
)
def test_backoff_stays_within_its_bounds(initial, most, attempt, retry_after):
    """A wait is between Retry-After (or 0) and the doubled, capped backoff."""
    wait = _Backoff(
        Policy(
            timeout=1,
            attempts=99,
            deadline=None,
            backoff_initial=initial / 1000,
            backoff_max=most / 1000,
            retry_after_max=0,
            limits=Limits(),
        )
    )
    state = tenacity.RetryCallState(None, None, (), {})
    state.attempt_number = attempt
    outcome = tenacity.Future(attempt)
    outcome.set_exception(ProviderError("x", retry_after=retry_after))
    state.outcome = outcome
    lower = retry_after or 0.0
    assert lower <= wait(state) <= max(lower, min(most, initial * 2 ** (attempt - 1)) / 1000)


# Timeouts and deadlines.


async def test_an_attempt_has_its_timeout():
    """A hanging attempt ends after timeout_ms, as a retryable timeout with no foreign cause."""
    provider = Scripted(forever, timeout_ms=20, retry_attempts=1)
    error = await failure(provider.read())
    assert isinstance(error, ProviderTimeoutError)
    assert isinstance(error, TimeoutError)
    assert (error.message, error.retryable, error.sent) == ("not done within 20 ms", True, True)


async def test_a_timeout_of_the_framework_is_retried():
    """Each attempt has the whole timeout anew."""
    provider = Scripted(forever, forever, timeout_ms=20)
    assert await provider.read() == "done"


async def test_a_timeout_raised_by_the_body_is_told_apart():
    """A TimeoutError of the user's own code keeps its words and is the cause."""
    provider = Scripted(TimeoutError("mine"), retry_attempts=1)
    error = await failure(provider.read())
    assert error.message == "TimeoutError: mine"
    assert str(error.__cause__) == "mine"


async def test_the_deadline_shortens_the_attempt():
    """An attempt has the shorter of its timeout and the time left, and then the deadline is the reason."""
    provider = Scripted(forever, deadline_ms=30)
    started = time.monotonic()
    error = await failure(provider.read())
    assert time.monotonic() - started < 1
    assert (type(error), error.reason, error.attempts) == (ProviderTimeoutError, "deadline", 1)


async def test_a_deadline_in_a_later_attempt_has_the_last_failure_as_cause():
    """The total deadline is an error of its own, explained by the failure before it."""
    provider = Scripted(ConnectionError("first"), forever, deadline_ms=60)
    error = await failure(provider.read())
    assert (type(error), error.reason, error.attempts) == (ProviderTimeoutError, "deadline", 2)
    assert isinstance(error.__cause__, ProviderUnavailableError)
    assert error.__cause__.message == "ConnectionError: first"


async def test_a_wait_longer_than_the_time_left_is_not_begun(monkeypatch):
    """The backoff never sleeps past the deadline: the call fails at once."""
    monkeypatch.setattr(_Backoff, "__call__", lambda self, state: 5.0)
    provider = Scripted(ConnectionError("first"), deadline_ms=2000)
    started = time.monotonic()
    error = await failure(provider.read())
    assert time.monotonic() - started < 1
    assert error.reason == "deadline"
    assert error.__cause__.message == "ConnectionError: first"
    assert provider.attempts == 1


async def test_waiting_for_a_slot_counts_against_the_deadline():
    """A call that gets no slot in time fails with the deadline, unsent."""
    provider = Scripted(forever, max_concurrency=1, operations={"write": {"deadline_ms": 30}})
    async with anyio.create_task_group() as group:
        group.start_soon(provider.read)
        await anyio.wait_all_tasks_blocked()
        error = await failure(provider.write())
        group.cancel_scope.cancel()
    assert (type(error), error.reason, error.sent, error.attempts) == (
        ProviderTimeoutError,
        "deadline",
        False,
        0,
    )


@pytest.mark.parametrize("ambient", [True, False])
async def test_a_token_that_comes_too_late_is_not_waited_for(ambient):
    """With the next token after the deadline, own or further out, the call fails at once, unsent."""
    provider = Scripted(rate=RateLimiter(0.01, 1), **({} if ambient else {"deadline_ms": 8000}))
    await provider.read()
    started = time.monotonic()
    with anyio.fail_after(8 if ambient else None):
        error = await failure(provider.read())
    assert time.monotonic() - started < 1
    assert (type(error), error.reason, error.sent) == (RateLimitedError, "deadline", False)


async def test_a_deadline_further_out_holds():
    """An enclosing anyio.fail_after ends the call with its own TimeoutError, untouched."""
    provider = Scripted(forever)
    with pytest.raises(TimeoutError) as caught:
        with anyio.fail_after(0.03):
            await provider.read()
    assert not isinstance(caught.value, ProviderError)
    assert provider._lifecycle.in_flight == 0


async def test_a_provider_called_in_anothers_operation_keeps_to_its_time():
    """The inner call knows the outer attempt's time and fails at once when its wait would outlast it."""
    inner = Scripted(RateLimitedError("slow", retry_after=5), name="inner")
    outer = Scripted(inner.read, name="outer", timeout_ms=1000, retry_attempts=1)
    started = time.monotonic()
    error = await failure(outer.read())
    assert time.monotonic() - started < 0.9
    assert (error.provider, error.reason) == ("inner", "deadline")


async def test_a_deadline_that_passed_while_waiting_for_a_token():
    """When the token comes with the deadline gone, the body is not begun."""

    class Late(RateLimiter):
        def try_acquire(self):
            current_call().deadline = 0
            return True

    provider = Scripted(rate=Late(1), deadline_ms=9000)
    error = await failure(provider.read())
    assert (error.reason, error.sent, error.attempts, provider.attempts) == ("deadline", False, 0, 0)


# Nesting.


async def test_nested_providers_do_not_multiply_attempts():
    """Of three providers around each other the innermost retries, three attempts in all."""
    inner = Scripted(name="inner")
    inner.script = failing(lambda: ConnectionError("down"))
    middle = Scripted(*[inner.read] * 9, name="middle")
    outer = Scripted(*[middle.read] * 9, name="outer")
    error = await failure(outer.read())
    assert (inner.attempts, middle.attempts, outer.attempts) == (3, 1, 1)
    assert (error.provider, error.reason, error.attempts) == ("inner", "attempts", 3)


async def test_an_outer_provider_retries_for_an_inner_of_one_attempt():
    """Where the inner makes a single attempt, the one around it retries."""
    inner = Scripted(name="inner", retry_attempts=1)
    inner.script = failing(lambda: ConnectionError("down"))
    outer = Scripted(*[inner.read] * 9, name="outer")
    error = await failure(outer.read())
    assert (inner.attempts, outer.attempts, error.reason) == (3, 3, "attempts")


async def test_a_nested_call_takes_no_second_slot():
    """A call inside another of the same provider does not wait for its own slot, in tasks of it neither."""

    async def nested():
        async with anyio.create_task_group() as group:
            group.start_soon(provider.read)
            group.start_soon(provider.read)
        return await provider.read()

    provider = Scripted(nested, max_concurrency=1, timeout_ms=500, retry_attempts=1)
    assert await provider.read() == "done"
    assert provider.slots.value == 1


# Returned failures.


class Requests(SDKProvider):
    def __init__(self, *answers, **fields):
        super().__init__(
            self.config_class(name="it", version="1", api_endpoint="x", rate_limit=None, **fields)
        )
        self.answers = list(answers)
        self.attempts = 0

    async def initialize(self): ...
    async def health_check(self):
        return {"status": "healthy"}

    async def cleanup(self): ...
    async def authenticate(self, credentials):
        return True

    async def get_capabilities(self):
        return {}

    async def make_request(self, endpoint, data=None):
        self.attempts += 1
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def refused(**detail):
    return SDKResponse(success=False, latency_ms=0, request_id="1", **detail)


class VendorError(ValueError):
    """A vendor's own, whatever it derives from."""


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (KeyError("b"), "closed"),
        (TypeError("x"), "closed"),
        (AttributeError("x"), "closed"),
        (NameError("x"), "closed"),
        (AssertionError("x"), "closed"),
        (NotImplementedError("x"), "closed"),
        (ExceptionGroup("", [ValueError("x")]), "closed"),
        (VendorError("x"), "open"),
        (RuntimeError("x"), "open"),
        (OSError("x"), "open"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), "open"),
    ],
)
async def test_mistakes_in_the_code_open_no_breaker(error, state):
    """Python's own errors for mistakes are no outage; foreign exceptions and unreadable text are."""
    provider = Scripted(error, circuit_breaker={"minimum_calls": 1})
    await failure(provider.read())
    assert provider.breaker.state == state


async def test_a_returned_mistake_of_an_inner_provider_opens_no_breaker():
    """Where a mistake comes as data, in an inner provider's result, it still is no outage."""
    inner = Requests(KeyError("b"))
    outer = Requests(await inner.make_request("/"), circuit_breaker={"minimum_calls": 1})
    result = await outer.make_request("/")
    assert (result.success, result.error_detail.message) == (False, "KeyError: 'b'")
    assert outer._policies["make_request"].limits.breaker.state == "closed"


async def test_a_returned_failure_is_not_retried_but_counts_for_the_breaker():
    """What the method returned as a failure comes back as it is, and opens the breaker in the end."""
    provider = Requests(refused(), refused(), circuit_breaker={"minimum_calls": 2})
    assert not (await provider.make_request("/")).success
    assert provider.attempts == 1
    await provider.make_request("/")
    assert (await provider.make_request("/")).error_detail.code == "circuit_open"
    assert provider.attempts == 2


async def test_a_returned_failure_of_the_callers_own_does_not_count():
    """A returned 404 says that the other side is up."""
    answers = [refused(error_detail={"code": "not_found", "message": "x", "status_code": 404})] * 3
    provider = Requests(*answers, circuit_breaker={"minimum_calls": 1})
    for _ in answers:
        assert (await provider.make_request("/")).error_detail.code == "not_found"


async def test_a_raised_failure_becomes_the_result():
    """What was raised is returned with success=False, and raise_for_error raises that very error."""
    provider = Requests(ConfigurationError("bad"))
    answer = await provider.make_request("/")
    assert (answer.success, answer.error, answer.error_detail.code) == (False, "bad", "configuration")
    with pytest.raises(ConfigurationError, match="bad"):
        answer.raise_for_error()


# Cancellation and groups.


async def test_outer_cancellation_passes_untouched_and_is_not_retried():
    """Cancelling the task ends the call with CancelledError after one attempt."""
    provider = Scripted(forever, circuit_breaker={"minimum_calls": 1}, max_concurrency=1)
    task = asyncio.create_task(provider.read())
    await anyio.wait_all_tasks_blocked()
    task.cancel("mine")
    with pytest.raises(asyncio.CancelledError, match="mine"):
        await task
    assert provider.attempts == 1
    assert provider.breaker.state == "closed"
    assert (provider.slots.value, provider._lifecycle.in_flight) == (1, 0)


async def test_cancellation_during_backoff_passes():
    """A call that waits before its retry can be cancelled there."""
    provider = Scripted(RateLimitedError("x", retry_after=20), max_concurrency=1)
    task = asyncio.create_task(provider.read())
    await anyio.wait_all_tasks_blocked()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (provider.attempts, provider.slots.value) == (1, 1)


async def test_a_group_of_one_is_taken_for_its_member():
    """A task group's single error decides, and keeps the cause it came with."""
    root = OSError("root")

    async def grouped():
        async with anyio.create_task_group():
            raise RateLimitedError("busy", retry_after=0.001) from root

    provider = Scripted(grouped, retry_attempts=1)
    error = await failure(provider.read())
    assert type(error) is RateLimitedError
    assert error.__cause__ is root
    assert await Scripted(grouped).read() == "done"


async def test_a_foreign_group_of_one_is_classified():
    """A refused connection inside of nested groups is retried."""
    group = ExceptionGroup("a", [ExceptionGroup("b", [ConnectionRefusedError("x")])])
    assert await Scripted(group).write() == "done"


async def test_a_group_of_several_is_not_retried():
    """Several failures at once can't be classified, and come out as the cause."""
    provider = Scripted(ExceptionGroup("both", [ConnectionError("a"), ValueError("b")]))
    error = await failure(provider.read())
    assert (type(error), provider.attempts) == (ProviderError, 1)
    assert len(error.__cause__.exceptions) == 2


async def test_wrong_arguments_are_the_callers_mistake():
    """Wrong arguments raise TypeError, count for nothing and are not retried; a TypeError inside is ours."""

    class Strict(Scripted):
        @operation
        async def put(self, key):
            return len(key)

    provider = Strict(circuit_breaker={"minimum_calls": 1}, max_concurrency=1)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'key'"):
        await provider.put()
    with pytest.raises(TypeError, match="unexpected keyword argument 'kee'"):
        await provider.put(kee=1)
    assert (provider.breaker.state, provider.slots.value, provider._lifecycle.in_flight) == ("closed", 1, 0)
    assert isinstance((await failure(provider.put(1))).__cause__, TypeError)


async def test_too_many_requests_slow_the_rate_down():
    """A 429 of the other side halves the rate; a refusal of our own limiter does not."""
    rate = RateLimiter(1000)
    provider = Scripted(RateLimitedError("x"), rate=rate)
    await provider.read()
    assert 499 < rate.rate < 700


async def test_overrides_per_operation_hold():
    """`operations` changes one method's policy and leaves the rest."""
    provider = Scripted(operations={"read": {"retry_attempts": 1}}, retry_attempts=2)
    provider.script = failing(lambda: ConnectionError("x"))
    assert (await failure(provider.read())).attempts == 1
    assert (await failure(provider.write())).attempts == 2


def test_base_provider_needs_no_event_loop_to_be_made():
    """A provider with all limits can be made before any event loop runs, and then works."""
    provider = Scripted(max_concurrency=1, circuit_breaker={}, rate=RateLimiter(5))
    assert anyio.run(provider.read) == "done"
    assert isinstance(provider, BaseProvider)
    assert isinstance(provider.breaker, CircuitBreaker)
    assert provider.config == config(max_concurrency=1, circuit_breaker={})


def test_tenacity_is_imported_by_resilience_alone():
    """No other module of the core asks for tenacity."""
    code = "import sys; sys.modules['tenacity'] = None\nimport aioproviders.limits, aioproviders.logs"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport aioproviders.resilience"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert "import of tenacity halted" in done.stderr
    assert "resilience.py" in done.stderr
