"""The life of one provider: started once, used, drained, closed once; and its background tasks."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from enum import StrEnum
from math import inf
from typing import Any

import anyio
from anyio.abc import TaskGroup

from aioproviders.calls import outside_calls
from aioproviders.errors import ProviderError, ProviderStateError, ProviderTimeoutError
from aioproviders.resilience import translate

__all__ = ["Lifecycle", "ProviderState", "cancelled_from_outside"]

# The background task that the code runs in, or was started from.
_background_scope: ContextVar[anyio.CancelScope | None] = ContextVar("aioproviders_background", default=None)


def cancelled_from_outside() -> bool:
    """Whether the cancellation a child task has just caught was asked for by a scope around it.

    If not, it arose from within, such as from awaiting a future that somebody has cancelled; let
    through, it would take all of the task group along.
    """
    return anyio.current_effective_deadline() == -inf


class ProviderState(StrEnum):
    """Where a provider stands in its life."""

    NEW = "new"
    STARTING = "starting"
    READY = "ready"
    CLOSING = "closing"
    CLOSED = "closed"


class Lifecycle:
    """State machine of one provider.

    Args:
        on_background_error: Called with the task's name and its error when a background task fails.

    Attributes:
        state: Where the provider stands.
        loop: The event loop it is ready in; None where it is not ready.
        begun: Whether an `initialize` was ever begun, so that there may be something to give back.
        task_group: What background tasks run in; its owner's.
        in_flight: How many calls are under way.
        draining: Whether closing waits for calls in flight, whose own nested calls may go on.
    """

    def __init__(self, on_background_error: Callable[[str, Exception], None]) -> None:
        self.state = ProviderState.NEW
        self.loop: asyncio.AbstractEventLoop | None = None
        self.begun = False
        self.task_group: TaskGroup | None = None
        self.in_flight = 0
        self.draining = False
        self._on_background_error = on_background_error
        self._prepare: Callable[[], Awaitable[None]] | None = None
        self._start_turn = anyio.Lock()
        self._start_scope: anyio.CancelScope | None = None
        self._failed_starts = 0
        self._start_error: ProviderError | None = None
        self._idle: anyio.Event | None = None
        self._closed: anyio.Event | None = None
        self._background: dict[anyio.CancelScope, anyio.Event] = {}

    def own(self, task_group: TaskGroup, prepare: Callable[[], Awaitable[None]] | None = None) -> None:
        """Give the provider an owner: a registry, or an ``async with``.

        Args:
            task_group: What background tasks run in.
            prepare: Awaited before each start, outside of its timeout and retries.

        Raises:
            ProviderStateError: It has an owner already.
        """
        if self.task_group is not None:
            raise ProviderStateError(
                "the provider has an owner already: an 'async with', or a registry, maybe by another name",
                sent=False,
            )
        self.task_group = task_group
        self._prepare = prepare

    def disown(self, task_group: TaskGroup) -> None:
        """Undo `own`, if it was by the owner of `task_group`."""
        if self.task_group is task_group:
            self.task_group = self._prepare = None

    def refuse_if_closed(self) -> None:
        """Raise `ProviderStateError` during and after cleanup."""
        if self.state in (ProviderState.CLOSING, ProviderState.CLOSED):
            raise ProviderStateError(f"the provider is {self.state}", sent=False)

    def refuse_other_loop(self) -> None:
        """Raise `ProviderStateError` if it is ready, but in another event loop than the running one."""
        if self.loop is not None and self.loop is not asyncio.get_running_loop():
            raise ProviderStateError(
                "the provider belongs to another event loop; make one per loop", sent=False
            )

    async def start(self, initialize: Callable[[], Awaitable[Any]]) -> None:
        """Run `initialize` once, however many callers wait for it.

        Those who wait while it fails get the same error; when the caller that runs it is cancelled,
        the next one takes over.

        Raises:
            ProviderError: `initialize` failed.
            ProviderStateError: The provider is closing or closed, or ready in another event loop.
        """
        failed_before = self._failed_starts
        async with self._start_turn:
            self.refuse_if_closed()
            if self.state is ProviderState.READY:
                self.refuse_other_loop()
                return
            if self._start_error is not None and self._failed_starts != failed_before:
                error = copy.copy(self._start_error)
                error.__cause__ = self._start_error.__cause__
                raise error
            self.state = ProviderState.STARTING
            try:
                with anyio.CancelScope() as self._start_scope:
                    if self._prepare is not None:
                        await self._prepare()
                    self.begun = True
                    await initialize()
                self.refuse_if_closed()
                self.state = ProviderState.READY
                self.loop = asyncio.get_running_loop()
            except ProviderError as error:
                self._failed_starts += 1
                self._start_error = error
                raise
            finally:
                self._start_scope = None
                if self.state is ProviderState.STARTING:
                    self.state = ProviderState.NEW

    def enter(self) -> None:
        """Count a call in."""
        self.in_flight += 1

    def leave(self) -> None:
        """Count a call out."""
        self.in_flight -= 1
        if not self.in_flight and self._idle is not None:
            self._idle.set()

    async def close(self, cleanup: Callable[[], Awaitable[Any]], bound: float, *, within: bool) -> None:
        """Let calls in flight end, cancel background tasks, run `cleanup`; each within `bound` seconds.

        A second caller waits for the first. Cancellation waits until it is done.

        Args:
            cleanup: Gives the resources back; not called where no start was ever begun.
            bound: Limit of each of the three steps, in seconds.
            within: Whether this is called from inside a call in flight, which can't be waited for then.

        Raises:
            ProviderError: `cleanup` failed or took too long; the provider is closed all the same.
        """
        if self._closed is not None:
            # The first may be waiting for the very call that this is made in.
            if not within:
                await self._closed.wait()
            return
        self._closed = anyio.Event()
        self.state = ProviderState.CLOSING
        self.loop = None
        failures: list[ProviderError] = []
        try:
            # In a task of its own: a shield keeps anyio's cancellation off, not `asyncio.Task.cancel()`.
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(self._close, cleanup, bound, within, failures)
        finally:
            self.state = ProviderState.CLOSED
            self._closed.set()
            # The background task that has asked for this ends last.
            own = _background_scope.get()
            if own is not None and own in self._background:
                own.cancel()
        for error in failures:
            raise error

    async def _close(
        self,
        cleanup: Callable[[], Awaitable[Any]],
        bound: float,
        within: bool,
        failures: list[ProviderError],
    ) -> None:
        with anyio.CancelScope(shield=True):
            with anyio.move_on_after(bound):
                if self._start_scope is not None:
                    self._start_scope.cancel()
                async with self._start_turn:
                    pass
                if self.in_flight and not within:
                    self._idle = anyio.Event()
                    self.draining = True
                    await self._idle.wait()
            self.draining = False
            with anyio.move_on_after(bound):
                await self.end_background()
            if not self.begun:
                return
            scope = anyio.CancelScope()
            try:
                with anyio.fail_after(bound) as scope:
                    await cleanup()
            except Exception as exc:  # noqa: BLE001 - whatever it is, the provider ends closed and the error is handed on
                if scope.cancelled_caught:
                    error: ProviderError = ProviderTimeoutError(f"cleanup did not end within {bound:g} s")
                else:
                    error = translate(exc)
                if error is not exc:
                    error.__cause__ = exc
                failures.append(error)

    def spawn(self, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...], name: str) -> None:
        """Run ``function(*args)`` in the background until it ends or the provider is closed.

        Raises:
            ProviderStateError: Nobody owns the provider's tasks, or it is closing.
        """
        self.refuse_if_closed()
        if self.task_group is None:
            raise ProviderStateError(
                "background tasks need an owner: use 'async with provider' or put it into a registry",
                sent=False,
            )
        scope = anyio.CancelScope()
        self._background[scope] = anyio.Event()
        try:
            self.task_group.start_soon(self._run_background, scope, function, args, name, name=name)
        except RuntimeError:
            del self._background[scope]
            raise ProviderStateError("the owner of the background tasks has ended", sent=False) from None

    async def _run_background(
        self,
        scope: anyio.CancelScope,
        function: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        name: str,
    ) -> None:
        _background_scope.set(scope)
        try:
            with scope, outside_calls():
                await function(*args)
        except anyio.get_cancelled_exc_class():
            if cancelled_from_outside():
                raise
            self._on_background_error(name, ProviderError("it was cancelled from within"))
        except Exception as error:  # noqa: BLE001 - one provider's background failure must not end its neighbours
            self._on_background_error(name, error)
        finally:
            self._background.pop(scope).set()

    async def end_background(self) -> None:
        """Cancel the background tasks and wait until they have ended; not the one this is called in."""
        own = _background_scope.get()
        others = [(scope, over) for scope, over in self._background.items() if scope is not own]
        for scope, _ in others:
            scope.cancel()
        for _, over in others:
            await over.wait()
