"""Cancel a coroutine at each of its suspension points in turn."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import anyio

__all__ = ["cancel_at_each_step", "settle"]

_LIMIT = 400


class _Stepped:
    """Drives an awaitable and calls `at_limit` when it has suspended `limit` times."""

    def __init__(self, awaitable: Awaitable[Any], limit: int, at_limit: Callable[[], object]) -> None:
        self._awaitable = awaitable
        self._limit = limit
        self._at_limit = at_limit
        self.reached = False

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._awaitable.__await__()
        steps, send, throw = 0, None, None
        while True:
            try:
                pending = inner.send(send) if throw is None else inner.throw(throw)
            except StopIteration as stop:
                return stop.value
            send = throw = None
            steps += 1
            if steps == self._limit:
                self.reached = True
                self._at_limit()
            try:
                send = yield pending
            except BaseException as exc:
                throw = exc


async def cancel_at_each_step(
    make: Callable[[], Awaitable[Any]], check: Callable[[int], Awaitable[Any]], *, native: bool
) -> int:
    """Run `make()` again and again, cancelled at its first, second, … suspension until it gets through.

    Args:
        make: Begins the scenario anew.
        check: Awaited after each cancelled run, with the number of the step; asserts that nothing is left.
        native: Cancel with ``asyncio.Task.cancel()``; otherwise through an anyio cancel scope.

    Returns:
        At how many suspension points it was cancelled.
    """
    for step in range(1, _LIMIT):
        stepped = await (_run_native if native else _run_scoped)(make, step)
        await settle()
        await check(step)
        if not stepped.reached:
            return step - 1
    raise AssertionError(f"still not through after {_LIMIT} steps")


async def _run_scoped(make: Callable[[], Awaitable[Any]], step: int) -> _Stepped:
    with anyio.CancelScope() as scope:
        stepped = _Stepped(make(), step, scope.cancel)
        await stepped
    return stepped


async def _run_native(make: Callable[[], Awaitable[Any]], step: int) -> _Stepped:
    stepped = _Stepped(make(), step, lambda: task.cancel())  # noqa: PLW0108 - the task is made below

    async def run() -> None:
        await stepped

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()
    return stepped


async def settle() -> None:
    """Let everything that is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)
