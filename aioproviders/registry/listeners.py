"""Callbacks that are told of changes, each in its own time."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from aioproviders.lifecycle import cancelled_from_outside
from aioproviders.logs import ProviderLogger
from aioproviders.registry.tracks import HealthChange

__all__ = ["Callback", "Listener"]

Callback = Callable[[HealthChange], Awaitable[Any] | Any]

_LONGEST_QUEUE = 1000


class Listener:
    """One callback and the changes that it has not been told of yet.

    It gets them one after the other, in order, from a task of its own; what it raises is logged. Of
    more than 1000 that wait, the oldest are dropped.
    """

    def __init__(self, callback: Callback, logger: ProviderLogger) -> None:
        self._callback = callback
        self._logger = logger
        self._queue: deque[HealthChange] = deque(maxlen=_LONGEST_QUEUE)
        self._news = anyio.Event()

    def tell(self, change: HealthChange) -> None:
        """Put `change` into the queue."""
        if len(self._queue) == _LONGEST_QUEUE:
            self._logger.warning("listener.too_slow", listener=self._name, dropped=self._queue[0].name)
        self._queue.append(change)
        self._news.set()

    async def run(self) -> None:
        """Hand changes over until cancelled."""
        while True:
            await self._news.wait()
            self._news = anyio.Event()
            while self._queue:
                await self._call(self._queue.popleft())

    async def _call(self, change: HealthChange) -> None:
        try:
            result = self._callback(change)
            if inspect.isawaitable(result):
                await result
        except anyio.get_cancelled_exc_class():
            if cancelled_from_outside():
                raise
            self._logger.warning("listener.cancelled", listener=self._name)
        except Exception:
            self._logger.exception("listener.failed", listener=self._name)

    @property
    def _name(self) -> str:
        return str(getattr(self._callback, "__qualname__", type(self._callback).__name__))
