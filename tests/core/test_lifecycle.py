"""The life of a provider: start, use, drain, close, background tasks."""

import asyncio

import anyio
import pytest
from core_doubles import Scripted, config, forever

from aioproviders import (
    BaseProvider,
    HealthStatus,
    ProviderConfig,
    ProviderError,
    ProviderRegistry,
    ProviderState,
    ProviderStateError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    operation,
)


class Staged(Scripted):
    """Its initialize and cleanup wait for a sign."""

    def __init__(self, *script, **fields):
        super().__init__(*script, **fields)
        self.may_start, self.may_close = anyio.Event(), anyio.Event()
        self.may_close.set()
        self.starts = 0
        self.start_errors = []

    async def initialize(self):
        self.starts += 1
        await self.may_start.wait()
        if self.start_errors:
            raise self.start_errors.pop(0)
        self.initialized += 1

    async def cleanup(self):
        await self.may_close.wait()
        self.cleaned += 1


def is_idle(provider):
    lifecycle = provider._lifecycle
    return lifecycle.in_flight == 0 and not lifecycle._background and not lifecycle.draining


# Owners.


async def test_a_nested_async_with_is_refused_and_harms_nothing():
    """A provider in ``async with`` can't be entered again; the first goes on, background tasks too."""
    provider = Scripted()
    async with provider:
        provider.spawn(forever)
        with pytest.raises(ProviderStateError, match="the provider has an owner already"):
            await provider.__aenter__()
        assert await provider.read() == "done"
        assert len(provider._lifecycle._background) == 1
    assert (provider.state, provider.cleaned) == (ProviderState.CLOSED, 1)
    assert is_idle(provider)


async def test_two_tasks_cannot_share_a_provider_by_async_with():
    """The second is refused at once, also while the first is starting; the first is served to its end."""
    provider = Staged()
    served = []

    async def first():
        async with provider:
            served.append(await provider.read())

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ProviderStateError, match="owner"), anyio.fail_after(1):
            await provider.__aenter__()
        provider.may_start.set()
    assert (served, provider.starts, provider.cleaned) == (["done"], 1, 1)


async def test_a_registrys_provider_cannot_be_entered():
    """An ``async with`` on a provider of a running registry is refused, and the registry keeps it."""
    registry, provider = ProviderRegistry(), Scripted()
    registry.register("it", provider)
    async with registry:
        with pytest.raises(ProviderStateError, match="owner"):
            await provider.__aenter__()
        assert await provider.read() == "done"
        provider.spawn(forever)
    assert (provider.state, provider.cleaned) == (ProviderState.CLOSED, 1)


# Start.


async def test_states():
    """A provider goes from new over ready to closed."""
    provider = Staged()
    assert provider.state is ProviderState.NEW
    async with anyio.create_task_group() as group:
        group.start_soon(provider.initialize)
        await anyio.wait_all_tasks_blocked()
        assert provider.state is ProviderState.STARTING
        provider.may_start.set()
    assert provider.state is ProviderState.READY
    await provider.cleanup()
    assert provider.state is ProviderState.CLOSED
    assert repr(provider) == "<Staged 'it' closed>"


async def test_a_thousand_first_callers_initialize_once():
    """However many calls come first, initialize runs once and all of them succeed."""
    provider = Staged(*["x"] * 1000)
    results = []

    async def call():
        results.append(await provider.read())

    async with anyio.create_task_group() as group:
        for _ in range(1000):
            group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        provider.may_start.set()
    assert (provider.starts, len(results)) == (1, 1000)


async def test_explicit_initialize_is_idempotent():
    """Initializing again does nothing."""
    provider = Scripted()
    await provider.initialize()
    await provider.initialize()
    assert provider.initialized == 1


@pytest.mark.parametrize("native", [True, False])
async def test_when_the_first_caller_is_cancelled_the_next_takes_over(native):
    """The starting caller's cancellation cleans up, and another starts the provider, once."""
    provider = Staged()
    first = asyncio.create_task(provider.read())
    await anyio.wait_all_tasks_blocked()
    others = [asyncio.create_task(provider.read()) for _ in range(5)]
    await anyio.wait_all_tasks_blocked()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert provider.cleaned == 1
    provider.may_start.set()
    assert await asyncio.gather(*others) == ["done"] * 5
    assert (provider.starts, provider.initialized, provider.cleaned) == (2, 1, 1)


async def test_a_failed_start_is_shared_by_those_who_waited_and_tried_again_later():
    """All who waited get the failure, each an exception of his own; the next call tries anew."""
    provider = Staged(retry_attempts=1)
    provider.start_errors = [ValueError("no luck")]
    errors = []

    async def call():
        with pytest.raises(ProviderError, match="no luck") as caught:
            await provider.read()
        errors.append(caught.value)

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        provider.may_start.set()
    assert provider.starts == 1
    assert len({id(error) for error in errors}) == 10
    assert {error.operation for error in errors} == {"initialize"}
    assert all(isinstance(error.__cause__, ValueError) for error in errors)
    assert await provider.read() == "done"
    assert provider.starts == 2


async def test_initialize_is_retried_and_cleaned_up_after_each_failure():
    """A start that fails for a reason that may pass is repeated, after a cleanup."""
    provider = Staged()
    provider.may_start.set()
    provider.start_errors = [ConnectionError("a"), ConnectionError("b")]
    await provider.initialize()
    assert (provider.starts, provider.cleaned, provider.state) == (3, 2, ProviderState.READY)


async def test_undoing_a_cancelled_start_survives_a_second_cancellation():
    """`Task.cancel()` during the undoing waits until that is done."""
    provider = Staged()
    provider.may_close = anyio.Event()
    task = asyncio.create_task(provider.initialize())
    for _ in range(2):
        await anyio.wait_all_tasks_blocked()
        task.cancel()
    await anyio.wait_all_tasks_blocked()
    assert not task.done()
    provider.may_close.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (provider.cleaned, provider.state) == (1, ProviderState.NEW)


async def test_what_initialize_opens_after_cleanup_is_given_back():
    """A shielded initialize that outlives cleanup is cleaned up after, and its caller refused."""

    class Late(Staged):
        async def initialize(self):
            with anyio.CancelScope(shield=True):
                await super().initialize()

    provider = Late(timeout_ms=50)
    task = asyncio.create_task(provider.initialize())
    await anyio.wait_all_tasks_blocked()
    await provider.cleanup()
    assert (provider.initialized, provider.cleaned, provider.state) == (0, 1, ProviderState.CLOSED)
    provider.may_start.set()
    with pytest.raises(ProviderError):
        await task
    assert (provider.initialized, provider.cleaned, provider.state) == (1, 2, ProviderState.CLOSED)


async def test_a_failing_undo_does_not_hide_why_initialize_failed():
    """When the cleanup after a failed start fails too, the start's error comes out."""

    class Bad(Staged):
        async def cleanup(self):
            raise RuntimeError("second")

    provider = Bad()
    provider.may_start.set()
    provider.start_errors = [ValueError("first")]
    with pytest.raises(ProviderError, match="first"):
        await provider.initialize()


async def test_a_decorated_cleanup_is_run_with_its_decorator_after_a_failed_start():
    """The undo runs the override as its author wrote it, decorators and super() included."""
    seen = []

    def traced(function):
        async def wrapper(self):
            seen.append("traced")
            await function(self)

        wrapper.__wrapped__ = function
        return wrapper

    class Decorated(Staged):
        @traced
        async def cleanup(self):
            await super().cleanup()

    provider = Decorated()
    provider.may_start.set()
    provider.start_errors = [ValueError("x")]
    with pytest.raises(ProviderError):
        await provider.initialize()
    assert (seen, provider.cleaned, provider.state) == (["traced"], 1, ProviderState.NEW)


async def test_the_deadline_of_a_call_covers_the_start():
    """A call that has to wait for the start no longer than its deadline fails unsent."""
    provider = Staged(deadline_ms=30)
    with pytest.raises(ProviderTimeoutError, match="while the provider was starting") as caught:
        await provider.read()
    assert (caught.value.reason, caught.value.sent, caught.value.operation) == ("deadline", False, "read")


async def test_calls_inside_initialize_run_at_once():
    """Initialize may use the provider's own operations without waiting for itself."""

    class Selfish(Scripted):
        async def initialize(self):
            self.found = await self.read()

    provider = Selfish("mine")
    await provider.initialize()
    assert provider.found == "mine"


async def test_initialize_within_itself_is_refused():
    """Initialize calling itself is a mistake that is named."""

    class Endless(Scripted):
        async def initialize(self):
            await self.initialize()

    with pytest.raises(ProviderStateError, match="from within itself"):
        await Endless().initialize()


async def test_cleanup_inside_initialize_runs_the_override():
    """Initialize may clean up itself, and then fail on its own terms."""

    class Undoing(Scripted):
        async def initialize(self):
            await self.cleanup()

    provider = Undoing()
    await provider.initialize()
    assert (provider.cleaned, provider.state) == (1, ProviderState.READY)


# Close.


async def test_use_after_cleanup_is_refused():
    """After cleanup nothing works, and health says so without raising."""
    provider = Scripted()
    await provider.read()
    await provider.cleanup()
    for use in (provider.read, provider.initialize):
        with pytest.raises(ProviderStateError, match="closed"):
            await use()
    with pytest.raises(ProviderStateError):
        async for _ in provider.watch():
            pass
    check = await provider.health_check()
    assert (check["status"], provider.attempts) == (HealthStatus.ERROR, 1)
    assert is_idle(provider)


async def test_use_during_cleanup_is_refused():
    """New calls are refused as soon as the closing has begun."""
    provider = Staged()
    provider.may_start.set()
    provider.may_close = anyio.Event()
    await provider.initialize()
    async with anyio.create_task_group() as group:
        group.start_soon(provider.cleanup)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ProviderStateError, match="closing"):
            await provider.read()
        provider.may_close.set()


async def test_cleanup_runs_once_and_the_second_caller_waits():
    """Any number of concurrent cleanups run the override once, and all return when it is done."""
    provider = Staged()
    provider.may_start.set()
    provider.may_close = anyio.Event()
    await provider.initialize()
    done = []

    async def close():
        await provider.cleanup()
        done.append(provider.cleaned)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(close)
        await anyio.wait_all_tasks_blocked()
        assert done == []
        provider.may_close.set()
    await provider.cleanup()
    assert (done, provider.cleaned) == ([1] * 5, 1)


async def test_cleanup_drains_calls_in_flight():
    """Calls in flight end before the override runs."""
    go, order = anyio.Event(), []

    async def slow():
        await go.wait()
        order.append(("call", provider.cleaned))

    provider = Scripted(slow)
    async with anyio.create_task_group() as group:
        group.start_soon(provider.read)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(provider.cleanup)
        await anyio.wait_all_tasks_blocked()
        assert provider.state is ProviderState.CLOSING
        go.set()
    assert order == [("call", 0)]
    assert provider.cleaned == 1


async def test_a_draining_call_may_finish_its_nested_calls():
    """What a call in flight calls on the same provider still works while closing waits for it."""
    go = anyio.Event()

    async def slow():
        await go.wait()
        return await provider.write()

    provider = Scripted(slow, "nested")
    results = []

    async def call():
        results.append(await provider.read())

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(provider.cleanup)
        await anyio.wait_all_tasks_blocked()
        go.set()
    assert (results, provider.state) == (["nested"], ProviderState.CLOSED)


async def test_draining_is_bounded():
    """A call that does not end holds the closing up no longer than timeout_ms."""
    provider = Scripted(forever, operations={"cleanup": {"timeout_ms": 30}})
    async with anyio.create_task_group() as group:
        group.start_soon(provider.read)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(1):
            await provider.cleanup()
        assert provider.cleaned == 1
        group.cancel_scope.cancel()


async def test_a_hanging_cleanup_is_bounded():
    """A cleanup that hangs is ended, reported, and the provider is closed all the same."""
    provider = Staged(timeout_ms=30)
    provider.may_start.set()
    provider.may_close = anyio.Event()
    await provider.initialize()
    with anyio.fail_after(1):
        with pytest.raises(ProviderTimeoutError, match=r"cleanup did not end within 0\.03 s"):
            await provider.cleanup()
    assert provider.state is ProviderState.CLOSED
    await provider.cleanup()


async def test_a_failing_cleanup_is_reported_and_closes():
    """What cleanup raises comes out translated; the provider is closed."""

    class Bad(Scripted):
        async def cleanup(self):
            raise ConnectionResetError("gone")

    provider = Bad()
    await provider.initialize()
    with pytest.raises(ProviderUnavailableError, match="gone") as caught:
        await provider.cleanup()
    assert isinstance(caught.value.__cause__, ConnectionResetError)
    assert caught.value.operation == "cleanup"
    assert provider.state is ProviderState.CLOSED


@pytest.mark.parametrize("native", [True, False])
async def test_cleanup_is_shielded(native):
    """Cancelled by a scope, or twice by Task.cancel(), cleanup still runs to its end."""
    provider = Staged()
    provider.may_start.set()
    provider.may_close = anyio.Event()
    await provider.initialize()
    scope = anyio.CancelScope()

    async def close():
        with scope:
            await provider.cleanup()

    task = asyncio.create_task(close())
    await anyio.wait_all_tasks_blocked()
    for _ in range(2):
        task.cancel() if native else scope.cancel()
        await anyio.wait_all_tasks_blocked()
    assert not task.done()
    provider.may_close.set()
    await asyncio.wait([task])
    assert task.cancelled() is native
    assert (provider.cleaned, provider.state) == (1, ProviderState.CLOSED)


async def test_cleanup_in_a_cancelled_scope_still_runs():
    """A scope that is cancelled already does not keep cleanup from running."""
    provider = Scripted()
    await provider.initialize()
    with anyio.CancelScope() as scope:
        scope.cancel()
        await provider.cleanup()
    assert (provider.cleaned, provider.state) == (1, ProviderState.CLOSED)


async def test_cleanup_from_inside_an_operation_does_not_wait_for_it():
    """An operation may close its own provider."""
    provider = Scripted(lambda: provider.cleanup())  # noqa: PLW0108 - made by this line
    with anyio.fail_after(1):
        await provider.read()
    assert (provider.cleaned, provider.state) == (1, ProviderState.CLOSED)
    assert is_idle(provider)


async def test_cleanup_from_inside_an_operation_that_is_being_drained_does_not_deadlock():
    """While another task's cleanup waits for an operation, that one's own cleanup does not wait for it."""
    go = anyio.Event()

    async def close():
        await go.wait()
        await provider.cleanup()

    provider = Scripted(close)
    with anyio.fail_after(1):
        async with anyio.create_task_group() as group:
            group.start_soon(provider.read)
            await anyio.wait_all_tasks_blocked()
            group.start_soon(provider.cleanup)
            await anyio.wait_all_tasks_blocked()
            go.set()
    assert provider.cleaned == 1


async def test_cleanup_while_initialize_is_under_way():
    """Closing cancels the start; who waited for it gets a state error, and cleanup runs."""
    provider = Staged()
    errors = []

    async def call():
        with pytest.raises(ProviderStateError) as caught:
            await provider.read()
        errors.append(caught.value)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(call)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(1):
            await provider.cleanup()
    assert len(errors) == 3
    assert (provider.starts, provider.initialized, provider.state) == (1, 0, ProviderState.CLOSED)
    assert provider.cleaned == 2  # for what initialize had begun, and for the provider


async def test_cleanup_of_a_provider_that_never_started():
    """Closing what was never used leaves the override alone: there is nothing to give back."""
    provider = Scripted()
    await provider.cleanup()
    assert (provider.cleaned, provider.initialized, provider.state) == (0, 0, ProviderState.CLOSED)


def test_a_provider_belongs_to_one_event_loop():
    """Once started it is refused in another loop, in one clear line, and goes on in its own."""
    provider = Scripted(["a"])
    with asyncio.Runner() as one, asyncio.Runner() as other:
        one.run(provider.initialize())
        for use in (provider.read, provider.initialize, lambda: anext(provider.watch())):
            with pytest.raises(ProviderStateError, match="belongs to another event loop; make one per loop"):
                other.run(_awaited(use))
        health = other.run(provider.health_check())
        assert "belongs to another event loop" in health["error"]
        assert one.run(provider.read()) == ["a"]
        one.run(provider.cleanup())


async def _awaited(function):
    return await function()


# async with.


async def test_async_with():
    """It is ready inside and closed after."""
    async with Scripted() as provider:
        assert provider.state is ProviderState.READY
        assert await provider.read() == "done"
    assert (provider.state, provider.cleaned) == (ProviderState.CLOSED, 1)


async def test_async_with_lets_the_bodys_exception_out_as_it_is():
    """An exception of the body comes out itself, in no group, after the cleanup."""
    error = KeyError("mine")
    with pytest.raises(KeyError) as caught:  # noqa: PT012 - the block is what is under test
        async with Scripted() as provider:
            provider.spawn(anyio.sleep_forever)
            raise error
    assert caught.value is error
    assert (provider.cleaned, is_idle(provider)) == (1, True)


async def test_async_with_lets_the_bodys_group_out_as_it_is():
    """A group that the body raises comes out itself too."""
    error = ExceptionGroup("mine", [ValueError("x")])
    with pytest.raises(ExceptionGroup) as caught:
        async with Scripted():
            raise error
    assert caught.value is error


async def test_the_bodys_exception_goes_before_a_failing_cleanup():
    """When cleanup fails too, the body's error is what the caller sees."""

    class Bad(Scripted):
        async def cleanup(self):
            raise RuntimeError("second")

    with pytest.raises(KeyError):
        async with Bad():
            raise KeyError("first")
    with pytest.raises(ProviderError, match="second"):
        async with Bad():
            pass


@pytest.mark.parametrize("native", [True, False])
async def test_async_with_and_cancellation(native):
    """A cancelled body stays cancelled, even when cleanup fails; cleanup has run."""

    class Bad(Scripted):
        async def cleanup(self):
            self.cleaned += 1
            await anyio.sleep(0.01)
            raise RuntimeError("second")

    provider = Bad()
    scope = anyio.CancelScope()

    async def body():
        with scope:
            async with provider:
                await anyio.sleep_forever()

    task = asyncio.create_task(body())
    await anyio.wait_all_tasks_blocked()
    task.cancel() if native else scope.cancel()
    await asyncio.wait([task])
    if native:
        assert task.cancelled()
    else:
        assert task.result() is None
        assert scope.cancelled_caught
    assert (provider.cleaned, provider.state) == (1, ProviderState.CLOSED)


async def test_async_with_inside_asyncio_timeout():
    """asyncio.timeout around it ends as TimeoutError, with the task not left in a cancelled state."""
    provider = Scripted()
    with pytest.raises(TimeoutError):  # noqa: PT012 - the block is what is under test
        async with asyncio.timeout(0.02):
            async with provider:
                await anyio.sleep_forever()
    assert asyncio.current_task().cancelling() == 0
    assert provider.cleaned == 1


async def test_a_failing_start_in_async_with_cleans_up():
    """The start's error comes out as it is, and nothing is left."""
    provider = Staged()
    provider.may_start.set()
    provider.start_errors = [ValueError("x")]
    with pytest.raises(ProviderError, match="x"):
        async with provider:
            raise AssertionError("never entered")
    assert provider.state is ProviderState.CLOSED
    assert provider._lifecycle.task_group is None


# Background tasks.


async def test_spawn_runs_outside_of_the_call():
    """Background work goes on after the call that began it, and is not part of it."""
    from aioproviders import current_call

    seen = []

    async def work(word):
        seen.append((word, current_call()))

    async with Scripted(lambda: provider.spawn(work, "hello")) as provider:
        await provider.read()
        await anyio.wait_all_tasks_blocked()
    assert seen == [("hello", None)]


async def test_background_tasks_are_cancelled_and_awaited_before_cleanup():
    """At the end they are cancelled, and have ended when cleanup runs."""
    order = []

    async def work():
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            order.append("task")

    class Provider(Scripted):
        async def cleanup(self):
            order.append("cleanup")

    async with Provider() as provider:
        provider.spawn(work)
        await anyio.wait_all_tasks_blocked()
    assert order == ["task", "cleanup"]


@pytest.mark.parametrize("deeper", [False, True])
async def test_cleanup_from_a_background_task_does_not_wait_for_that(deeper):
    """A background task, or a task of its own, may close the provider; it is the last one to end."""
    ended = []

    async def other():
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("other")

    async def closing():
        try:
            await provider.read()
            if deeper:
                async with anyio.create_task_group() as group:
                    group.start_soon(provider.cleanup)
            else:
                await provider.cleanup()
            ended.append(provider.state)
            await anyio.sleep_forever()
        finally:
            ended.append("closing")

    provider = Scripted(timeout_ms=50_000)
    with anyio.fail_after(5):
        async with provider:
            provider.spawn(other)
            provider.spawn(closing)
            await anyio.wait_all_tasks_blocked()
            assert provider.state is ProviderState.CLOSED
            assert is_idle(provider)
    assert ended[0] == "other"
    assert ended[-1] == "closing"
    assert provider.cleaned == 1


async def test_a_failing_background_task_degrades_health_and_harms_nothing():
    """Its failure shows in health, by the task's name; the provider and its neighbours go on."""

    async def poller():
        raise ValueError("lost the feed")

    async with Scripted() as provider:
        provider.spawn(anyio.sleep_forever)
        provider.spawn(poller)
        await anyio.wait_all_tasks_blocked()
        check = await provider.health_check()
        assert check["status"] is HealthStatus.DEGRADED
        assert check["error"] == "background task poller: ValueError: lost the feed"
        assert await provider.read() == "done"
        assert len(provider._lifecycle._background) == 1


async def test_spawn_needs_an_owner():
    """Without an owner, and after closing, there is nobody to run background work."""
    provider = Scripted()
    await provider.initialize()
    with pytest.raises(ProviderStateError, match="need an owner"):
        provider.spawn(anyio.sleep_forever)
    async with Scripted() as provider:
        await provider.cleanup()
        with pytest.raises(ProviderStateError, match="closed"):
            provider.spawn(anyio.sleep_forever)


async def test_background_tasks_of_a_failed_start_end():
    """What an attempt to start had spawned is gone before the next attempt."""
    alive = []

    async def work(number):
        alive.append(number)
        try:
            await anyio.sleep_forever()
        finally:
            alive.remove(number)

    class Provider(Staged):
        async def initialize(self):
            self.spawn(work, self.starts)
            await anyio.wait_all_tasks_blocked()
            await super().initialize()

    provider = Provider()
    provider.may_start.set()
    provider.start_errors = [ConnectionError("x")]
    async with provider:
        assert alive == [1]
    assert alive == []


# Disabled.


async def test_a_disabled_provider():
    """Disabled, it is neither started nor used, is reported as such, and can be closed."""
    provider = Scripted(enabled=False)
    for use in (provider.read, provider.initialize):
        with pytest.raises(ProviderStateError, match="disabled by its config"):
            await use()
    assert (await provider.health_check())["status"] is HealthStatus.DISABLED
    await provider.cleanup()
    assert (provider.initialized, provider.attempts) == (0, 0)


async def test_the_specified_way_works():
    """Without async with: initialize, use, cleanup."""

    class Plain(BaseProvider):
        def __init__(self, config: ProviderConfig):
            super().__init__(config)
            self.client = None

        async def initialize(self):
            self.client = "client"

        async def health_check(self):
            return {"status": "healthy", "client": self.client}

        @operation
        async def ask(self):
            return self.client

        async def cleanup(self):
            self.client = None

    provider = Plain(config())
    await provider.initialize()
    assert await provider.ask() == "client"
    assert (await provider.health_check())["details"] == {"client": "client"}
    await provider.cleanup()
    assert provider.client is None
