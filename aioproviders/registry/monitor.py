"""`Monitor`: the health of a registry's providers, watched in the background and read at no cost."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, Self

import anyio

from aioproviders.calls import outside_calls
from aioproviders.errors import ConfigurationError, ProviderNotFoundError, ProviderStateError
from aioproviders.health import HealthCheck, HealthReport, aggregate
from aioproviders.logs import ProviderLogger
from aioproviders.provider import BaseProvider
from aioproviders.registry.jobs import Job, Jobs
from aioproviders.registry.lifecycle import Providers
from aioproviders.registry.listeners import Callback, Listener
from aioproviders.registry.sweep import (
    CANCEL_GRACE,
    Sweep,
    check_count,
    check_known,
    check_seconds,
    is_number,
)
from aioproviders.registry.tracks import HealthChange, Thresholds, Track

__all__ = ["HealthChange", "Monitor"]


class Monitor:
    """Sweeps all providers periodically, and remembers; made by `ProviderRegistry.monitor`.

    It is an async context manager within that of its registry. A sweep begins `interval` seconds
    after the one before it began, more or less a random share of up to `jitter`, so that many
    processes don't sweep in step; the first begins at once. Providers that are registered, swapped
    or removed meanwhile are seen by the next one.

    There are two views. `snapshot` and the listeners have the public state, which changes only when
    enough checks in a row say so. `health` and `report` are a cache of the checks themselves.

    No two checks of one provider run at the same time here, and none is asked while a check of it
    that was given up has not ended.

    Args:
        providers: The registry's providers.
        make_sweep: Makes a sweep of some of them.
        open_jobs: Returns the registry's jobs, or raises `ProviderStateError`.
        logger: The registry's logger.
        interval: Seconds between sweeps.
        jitter: Share of the interval, from 0 to 1.
        failure_threshold: Checks in a row that are not ok, before a provider that was ok (or unknown)
            is taken for failed.
        recovery_threshold: Checks in a row that are ok, before one that was not is taken for ok.
        history: Checks to remember per provider.

    Raises:
        ConfigurationError: A number is out of range.
    """

    def __init__(  # noqa: PLR0913 - the registry fills these in
        self,
        providers: Providers,
        make_sweep: Callable[[Sequence[str]], Sweep],
        open_jobs: Callable[[], Jobs],
        logger: ProviderLogger,
        *,
        interval: float,
        jitter: float,
        failure_threshold: int,
        recovery_threshold: int,
        history: int,
    ) -> None:
        check_seconds("interval", interval)
        if not is_number(jitter) or not 0 <= jitter <= 1:
            raise ConfigurationError(f"jitter should be from 0 to 1, not {jitter!r}")
        for name, number in (
            ("failure_threshold", failure_threshold),
            ("recovery_threshold", recovery_threshold),
            ("history", history),
        ):
            check_count(name, number)
        self._providers = providers
        self._make_sweep = make_sweep
        self._open_jobs = open_jobs
        self._logger = logger
        self._interval = interval
        self._jitter = jitter
        self._new_track = partial(Track, Thresholds(failure_threshold, recovery_threshold), history)
        self._tracks: dict[str, tuple[BaseProvider[Any], Track]] = {}
        self._listeners: dict[Listener, Job | None] = {}
        self._jobs: Jobs | None = None
        self._own_jobs: list[Job] = []
        self._closed = False
        self._duration_ms = 0.0
        self._snapshot: HealthReport | None = None

    async def __aenter__(self) -> Self:
        if self._jobs is not None:
            raise ProviderStateError("a monitor can be entered once", sent=False)
        self._jobs = self._open_jobs()
        for listener in self._listeners:
            self._listeners[listener] = self._start(listener.run)
        self._start(self._watch)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closed = True
        for job in self._own_jobs:
            job.scope.cancel()
        for job in self._own_jobs:
            await job.end(2 * CANCEL_GRACE)

    def subscribe(self, callback: Callback) -> Callable[[], None]:
        """Have ``callback(change)`` called, or awaited, with each `HealthChange` from now on.

        Calls come one after the other, in order, from a task of the callback's own: one that is slow
        or raises (which is logged) harms nobody else. A plain function must not block. Changes that
        still wait when the monitor ends are dropped.

        Returns:
            A function that ends the subscription.
        """
        listener = Listener(callback, self._logger)
        runs = self._jobs is not None and not self._closed
        self._listeners[listener] = self._start(listener.run) if runs else None

        def unsubscribe() -> None:
            job = self._listeners.pop(listener, None)
            if job is not None:
                job.scope.cancel()

        return unsubscribe

    def snapshot(self) -> HealthReport:
        """Return the public state of all providers, each with the last check that agrees with it.

        A plain read that waits for nothing; what it returned never changes. ``checked_at`` is that of
        the oldest check, ``duration_ms`` that of the last sweep.
        """
        if self._snapshot is None or tuple(self._snapshot.checks) != tuple(self._providers):
            self._snapshot = self._report_of({name: self._track(name).shown for name in self._providers})
        return self._snapshot

    def history(self, name: str) -> tuple[HealthCheck, ...]:
        """Return the last checks of a provider, oldest first.

        Raises:
            ProviderNotFoundError: There is none of that name.
        """
        return tuple(HealthCheck(**check) for check in self._track(name).history)

    async def health(self, name: str, *, max_age: float | None = None) -> HealthCheck:
        """Return a provider's last check, at once if there is one.

        One that is older than `max_age` is returned all the same, while one new check, however many
        ask, runs in the background. Only where there is none yet does it wait for that.

        Args:
            name: The provider.
            max_age: Seconds; by default the monitor's interval.

        Raises:
            ProviderNotFoundError: There is none of that name.
            ProviderStateError: The monitor is not running.
        """
        self._refresh([name], max_age)
        return HealthCheck(**await self._last(name))

    async def report(self, *, max_age: float | None = None) -> HealthReport:
        """Return the last checks of all providers, in the way of `health`.

        One that is removed while this waits is left out.

        Raises:
            ProviderStateError: The monitor is not running.
        """
        names, found = list(self._providers), {}
        self._refresh(names, max_age)
        for name in names:
            with suppress(ProviderNotFoundError):
                found[name] = await self._last(name)
        return self._report_of({name: check for name, check in found.items() if name in self._providers})

    def _refresh(self, names: list[str], max_age: float | None) -> None:
        oldest = time.monotonic() - (self._interval if max_age is None else max_age)
        self._refuse_if_closed()
        stale = [n for n in names if (track := self._track(n)).at < oldest and track.probing is None]
        if stale:
            self._probe(stale)

    async def _last(self, name: str) -> HealthCheck:
        while (last := self._track(name).last) is None:
            self._refuse_if_closed()
            # The check that was under way may have been cancelled, or its provider swapped.
            await (self._track(name).probing or self._probe([name])[name]).wait()
        return last

    def _probe(self, names: list[str]) -> dict[str, anyio.Event]:
        """Begin one sweep of `names`, of which none is being checked, in the background."""
        probing = self._mark(names)
        self._start(self._sweep, probing)
        return probing

    def _mark(self, names: list[str]) -> dict[str, anyio.Event]:
        probing = {name: anyio.Event() for name in names}
        for name, event in probing.items():
            self._track(name).probing = event
        return probing

    async def _watch(self) -> None:
        while True:
            began = time.monotonic()
            for name in self._tracks.keys() - self._providers.keys():
                del self._tracks[name]
            names = [name for name in self._providers if self._track(name).probing is None]
            if names:
                await self._sweep(self._mark(names))
                self._duration_ms = round((time.monotonic() - began) * 1000, 3)
            pause = self._interval * (1 + self._jitter * random.uniform(-1, 1))  # noqa: S311 - no secret
            await anyio.sleep(max(0.0, began + pause - time.monotonic()))

    async def _sweep(self, probing: dict[str, anyio.Event]) -> None:
        try:
            await self._make_sweep(list(probing)).conduct(self._jobs, self._observe)
        except Exception:
            # Nobody waits for this but by the events; and the next sweep may do better.
            self._logger.exception("monitor.sweep_failed", providers=list(probing))
        finally:
            # Those whose check did not come to an end, or who are gone.
            for name, event in probing.items():
                if name in self._tracks and self._tracks[name][1].probing is event:
                    self._tracks[name][1].probing = None
                event.set()

    def _observe(self, name: str, check: HealthCheck, asked: BaseProvider[Any]) -> None:
        if name not in self._providers:
            return
        track = self._track(name)
        if track.probing is not None:
            track.probing.set()
            track.probing = None
        if self._providers[name] is not asked:
            return  # what is true of the old one says nothing of its successor
        old = track.take(check, time.monotonic())
        self._snapshot = None
        if old is None:
            return
        log = self._logger.info if track.status.ok else self._logger.warning
        log("health.changed", provider=name, old=old, new=track.status, error=check.get("error"))
        for listener in self._listeners:
            listener.tell(HealthChange(name, old, track.status, HealthCheck(**check)))

    def _track(self, name: str) -> Track:
        check_known(name, self._providers)
        provider = self._providers[name]
        known, track = self._tracks.get(name) or (provider, self._new_track())
        if known is not provider:
            track.forget_last()
        self._tracks[name] = provider, track
        return track

    def _start(self, function: Callable[..., Awaitable[Any]], *args: Any) -> Job:
        self._own_jobs = [job for job in self._own_jobs if not job.over.is_set()]
        # What runs here outlives the call, of some other provider perhaps, that it was begun in.
        with outside_calls():
            job = self._open_jobs().start(function, *args)
        self._own_jobs.append(job)
        return job

    def _refuse_if_closed(self) -> None:
        if self._jobs is None or self._closed:
            raise ProviderStateError("the monitor is not running: use it within 'async with'", sent=False)
        self._open_jobs()

    def _report_of(self, checks: dict[str, HealthCheck]) -> HealthReport:
        times = [check["checked_at"] for check in checks.values() if "checked_at" in check]
        return HealthReport(
            status=aggregate(check["status"] for check in checks.values()),
            duration_ms=self._duration_ms,
            checked_at=min(times) if times else datetime.now(UTC),
            checks={name: HealthCheck(**check) for name, check in checks.items()},
        )
