"""The rollout that a provider has under way: only one at a time, and told to all who watch it."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from aioproviders.deployment.models import DeploymentStatus, RolloutEvent
from aioproviders.errors import ConflictError

__all__ = ["Rollouts"]


class Rollouts:
    """What one provider does to its deployment, one thing at a time.

    Nothing here outlives the task that rolls out: however that one ends, the turn is free again.

    Attributes:
        under_way: What is being done, such as ``rollout of 1.4.0``; None where nothing is.
    """

    def __init__(self) -> None:
        self.under_way: str | None = None
        self._version: str | None = None
        self._latest: RolloutEvent | None = None
        self._watchers: set[MemoryObjectSendStream[RolloutEvent]] = set()
        self._waiting = anyio.Event()
        self._left = False

    @contextmanager
    def turn(self, what: str, version: str | None = None) -> Iterator[None]:
        """Hold the deployment while rolling out.

        Args:
            what: What is being done, for those who come too late.
            version: The version being rolled out.

        Raises:
            ConflictError: Something else is under way.
        """
        if self.under_way is not None:
            raise ConflictError(f"a {self.under_way} is under way; wait for it or cancel it", sent=False)
        self.under_way, self._version, self._latest = what, version, None
        self._waiting.set()
        self._waiting = anyio.Event()
        try:
            yield
        finally:
            self.under_way = None
            if not self._left:
                self._close_watchers()

    def leave(self) -> None:
        """Let what is under way go on when its turn is over, until `end_left`."""
        self._left = True

    def end_left(self) -> None:
        """What was left to itself is over."""
        self._left = False
        if self.under_way is None:
            self._close_watchers()

    def _close_watchers(self) -> None:
        for watcher in self._watchers:
            watcher.close()
        self._watchers.clear()

    def tell(self, kind: Any, status: DeploymentStatus, message: str, **facts: Any) -> None:
        """Tell the watchers of a step, see `RolloutEvent`; the same step twice is told once."""
        facts = {"version": self._version, **facts}
        event = RolloutEvent(kind=kind, at=datetime.now(UTC), status=status, message=message, **facts)
        if self._latest is not None and event.model_copy(update={"at": self._latest.at}) == self._latest:
            return
        self._latest = event
        for watcher in list(self._watchers):
            with suppress(anyio.BrokenResourceError):
                watcher.send_nowait(event)

    @property
    def goes_on(self) -> bool:
        """Whether there is something to watch."""
        return self.under_way is not None or self._left

    async def begun(self) -> None:
        """Wait until something is under way."""
        if self.under_way is None:
            await self._waiting.wait()

    async def watch(self, *, wait: bool) -> AsyncGenerator[RolloutEvent, None]:
        """Yield the steps of the rollout under way, from the latest on, until it ends.

        Args:
            wait: Where nothing is under way, whether to wait until something is.
        """
        if wait and not self._left:
            await self.begun()
        if not self.goes_on:
            return
        # No bound: a rollout has a few dozen steps, and must not wait for who looks on.
        sending, receiving = anyio.create_memory_object_stream[RolloutEvent](math.inf)
        if self._latest is not None:
            sending.send_nowait(self._latest)
        self._watchers.add(sending)
        try:
            async with receiving:
                async for event in receiving:
                    yield event
        finally:
            self._watchers.discard(sending)
            sending.close()
