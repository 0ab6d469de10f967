"""The call under way and its trace."""

import subprocess
import sys
import time
import uuid

import anyio
import anyio.lowlevel
import pytest
from core_doubles import Scripted
from opentelemetry.sdk.trace import TracerProvider

from aioproviders import Call, current_call, trace_context
from aioproviders.calls import current_trace_id, outside_calls

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
ZEROS = "0" * 32


def call(**fields):
    return Call(object(), "it", "read", **fields)


def is_id(text):
    return len(text) == 32 and int(text, 16) > 0


def test_a_call_has_an_id_of_its_own():
    """Each call's id is random, stays, and is never zero."""
    first, second = call(), call()
    assert is_id(first.id)
    assert first.id == first.id != second.id
    assert repr(first) == "<Call it.read attempt 0>"


def test_random_ids_are_never_zero(monkeypatch):
    """Even the least of random numbers gives an id that is not zero, which would mean none."""
    monkeypatch.setattr("random.getrandbits", lambda _: 0)
    assert is_id(call().id)
    assert is_id(current_trace_id())


def test_an_idempotency_key_is_made_once():
    """The key is a UUID, the same whenever it is asked for."""
    one = call()
    assert one.idempotency_key is None
    key = one.ensure_idempotency_key()
    assert uuid.UUID(key)
    assert one.ensure_idempotency_key() == one.idempotency_key == key


def test_a_call_is_current_within():
    """As a context manager it is the current call inside, nested ones likewise, and none after."""
    assert current_call() is None
    with call() as outer:
        with call() as inner:
            assert current_call() is inner
            assert inner.parent is outer
        assert current_call() is outer
        with outside_calls():
            assert current_call() is None
    assert current_call() is None


def test_is_within():
    """A call knows the owners and operations of the calls around it."""
    mine, other = object(), object()
    with Call(mine, "a", "read"), Call(other, "b", "write"):
        inner = Call(other, "b", "x")
        assert inner.is_within(mine)
        assert inner.is_within(mine, "read")
        assert not inner.is_within(mine, "write")
        assert not inner.is_within(object())


async def test_time_left():
    """The nearest of the own deadline and one further out counts; without any it is infinite."""
    assert call().time_left() == float("inf")
    assert 4.9 < call(deadline=5).time_left() <= 5
    with anyio.fail_after(2):  # noqa: ASYNC100 - only its deadline matters
        assert 1.9 < call(deadline=5).time_left() <= 2
        assert 0.9 < call(deadline=1).time_left() <= 1


async def test_a_cancelled_scope_is_no_deadline():
    """In a scope that is cancelled the own deadline alone counts: cancellation speaks for itself."""
    with anyio.CancelScope() as scope:  # noqa: ASYNC100 - only its state matters
        scope.cancel()
        assert call().time_left() == float("inf")
        assert 0 < call(deadline=1).time_left() <= 1


def test_elapsed():
    """A call knows for how long it has been under way."""
    one = call()
    one.started = time.monotonic() - 2
    assert 2 <= one.elapsed < 3


# Traces.


def test_a_new_trace():
    """Without any trace around, each call begins one, the same for calls within it."""
    with call() as outer:
        assert is_id(outer.trace_id)
        assert call().trace_id == outer.trace_id == current_trace_id()
    assert call().trace_id != outer.trace_id
    assert is_id(current_trace_id())


def test_an_incoming_trace():
    """A traceparent's trace holds for everything inside, and not after."""
    with trace_context(PARENT) as trace_id:
        assert trace_id == current_trace_id() == call().trace_id == TRACE
    assert current_trace_id() != TRACE


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        f"00-{ZEROS}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"00-{TRACE[:-1]}-00f067aa0ba902b7-01",
        f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
        f"00-{TRACE}-00f067aa0ba902b7-01-more",
        f"00-{TRACE}-00f067aa0ba902b7",
        f"00-{TRACE}-00f067aa0ba902b7-01\r\nX: y",
    ],
)
def test_an_invalid_traceparent_gives_a_new_trace(header):
    """What W3C Trace Context does not allow is ignored, zeros above all."""
    with trace_context(header) as trace_id:
        assert is_id(trace_id)
        assert trace_id != TRACE
        assert current_trace_id() == trace_id


@pytest.mark.parametrize("header", [f" {PARENT} ", f"cc-{TRACE}-00f067aa0ba902b7-01-what-comes-later"])
def test_a_valid_traceparent(header):
    """Space around it and later versions are read."""
    with trace_context(header) as trace_id:
        assert trace_id == TRACE


def test_the_active_span_goes_first():
    """OpenTelemetry's span decides, before an incoming header and a new trace."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with trace_context(PARENT), tracer.start_as_current_span("span") as span:
        expected = f"{span.get_span_context().trace_id:032x}"
        assert current_trace_id() == call().trace_id == expected
        with trace_context() as trace_id:
            assert trace_id == expected


def test_without_a_span_opentelemetry_says_nothing():
    """An imported OpenTelemetry without an active span gives no zeros."""
    assert "opentelemetry.trace" in sys.modules
    assert is_id(current_trace_id())


def test_opentelemetry_is_not_imported():
    """The core does without OpenTelemetry where the application has none."""
    code = (
        "import sys, aioproviders.calls as c; assert len(c.current_trace_id()) == 32;"
        "assert 'opentelemetry' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


async def test_threads_keep_the_context():
    """In a worker thread the call and its trace are those of the operation that started it."""

    async def in_thread():
        return await anyio.to_thread.run_sync(lambda: (current_call(), current_trace_id()))

    provider = Scripted(in_thread)
    with trace_context(PARENT):
        seen, trace_id = await provider.read()
    assert (seen.operation, trace_id) == ("read", TRACE)


async def test_concurrent_calls_do_not_see_each_other():
    """Each task has its own current call."""
    provider = Scripted()
    seen = []

    async def one(number):
        with trace_context(f"00-{number + 1:032x}-00f067aa0ba902b7-01"):
            provider.script = [own] * 10
            seen.append((number, await provider.read()))

    async def own():
        await anyio.lowlevel.checkpoint()
        return int(current_trace_id(), 16) - 1

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(one, number)
    assert all(number == found for number, found in seen)
    assert len(seen) == 10


def test_traceparent_of_a_request():
    """A request made in a call carries the call's trace and the active span, or a new parent id."""
    call = Call(object(), "p", "o")
    version, trace_id, parent, flags = call.traceparent().split("-")
    assert (version, trace_id, flags) == ("00", call.trace_id, "01")
    assert len(parent) == 16
    assert int(parent, 16)
