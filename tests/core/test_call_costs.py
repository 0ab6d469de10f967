"""What a call that works does not do: counted, since times tell nothing on a busy machine."""

import sys
from pathlib import Path

import anyio
import pytest
import tenacity
from anyio._backends._asyncio import AsyncIOBackend
from core_doubles import Scripted

import aioproviders
from aioproviders import calls, configure_logging
from aioproviders.limits import RateLimiter

PACKAGE = str(Path(aioproviders.__file__).parent)
EVERYTHING = {"deadline_ms": 60_000, "max_concurrency": 10, "circuit_breaker": {}}


@pytest.fixture
async def everything():
    """A provider with all limits on, that has been used before."""
    provider = Scripted(rate=RateLimiter(1e9, 1e9), **EVERYTHING)
    await provider.read()
    yield provider
    await provider.cleanup()


async def frames(run):
    """Return the names of the package's own functions that `run` goes through; resumed ones again."""
    seen = []

    def note(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            seen.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        await run()
    finally:
        sys.setprofile(None)
    return seen


async def test_an_attempt_is_one_cancel_scope(everything, counted):
    """One cancel scope is entered for each attempt, and it is the timeout's."""
    scopes = counted(AsyncIOBackend, "create_cancel_scope")
    fail_afters = counted(anyio, "fail_after")
    await everything.read()
    assert (len(scopes), len(fail_afters)) == (1, 1)
    everything.script = [ConnectionError("x"), "done"]
    await everything.read()
    assert len(scopes) == len(fail_afters) == 3


async def test_tenacity_comes_in_after_a_failure(everything, counted):
    """A first attempt that works makes no retry object; one that fails makes one."""
    made = counted(tenacity, "AsyncRetrying")
    await everything.read()
    assert not made
    everything.script = [ConnectionError("x"), "done"]
    await everything.read()
    assert len(made) == 1


async def test_ids_are_made_for_those_who_ask(everything, counted):
    """Neither a call's id nor a trace id is made up where nothing carries one."""
    made = counted(calls, "_random_id")
    await everything.read()
    assert not made


async def test_an_event_below_the_level_is_not_put_together(everything, counted):
    """An event that is filtered out is neither redacted nor rendered; one that isn't is, once."""
    configure_logging("json", "info")
    redacted = counted(everything.logger._redactor, "value")
    await everything.read()
    assert not redacted
    configure_logging("json", "debug")
    await everything.read()
    assert len(redacted) == 1


async def test_limits_that_are_off_are_not_there():
    """A provider with everything off has no object of any limit, and asks none."""
    async with Scripted(retry_budget=None) as provider:
        limits = provider._policies["read"].limits
        assert (limits.slots, limits.budget, limits.breaker, limits.rate) == (None, None, None, None)
        await provider.read()
        seen = await frames(provider.read)
    assert not {"try_acquire", "earn", "wait_for_slot"} & set(seen)
    assert len(seen) <= 13, seen


async def test_a_call_goes_through_few_functions(everything):
    """With everything on, a call that works enters no more than twenty functions of the package."""
    seen = await frames(everything.read)
    assert len(seen) <= 20, seen
