"""One sweep: the health of many providers, asked side by side, within a deadline."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from datetime import UTC, datetime
from math import inf
from typing import Any, cast

import anyio

from aioproviders.errors import ConfigurationError, ProviderNotFoundError, ProviderStateError
from aioproviders.factory import did_you_mean
from aioproviders.health import HealthCheck, HealthReport, HealthStatus, aggregate
from aioproviders.lifecycle import cancelled_from_outside
from aioproviders.provider import BaseProvider
from aioproviders.registry.jobs import Job, Jobs
from aioproviders.registry.lifecycle import Providers, check_circles

__all__ = [
    "CANCEL_GRACE",
    "OnCheck",
    "Sweep",
    "check_count",
    "check_known",
    "check_seconds",
    "is_number",
    "select",
]

OnCheck = Callable[[str, HealthCheck, BaseProvider[Any]], None]
"""Is handed a name, its check, and the provider that was asked, or would have been."""

CANCEL_GRACE = 1.0
"""Seconds that a sweep waits for checks it has cancelled."""

_STUCK_AFTER = 0.1
_MOST_NAMED = 10


def check_known(name: str, providers: Providers) -> None:
    """Raise `ProviderNotFoundError`, naming near matches, unless there is a provider `name`."""
    if name not in providers:
        raise ProviderNotFoundError(f"Provider not found: {name}{did_you_mean(str(name), providers)}")


def is_number(value: object) -> bool:
    """Whether `value` is an int or a float; a truth value is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_seconds(name: str, value: Any) -> None:
    """Raise `ConfigurationError` unless `value` is a number above 0."""
    if not is_number(value) or not value > 0:
        raise ConfigurationError(f"{name} should be a number of seconds above 0, not {value!r}")


def check_count(name: str, value: Any) -> None:
    """Raise `ConfigurationError` unless `value` is a whole number above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{name} should be 1 or more, not {value!r}")


def select(
    providers: Providers,
    *,
    tags: Iterable[str] | None = None,
    only: Iterable[str] | None = None,
    exclude: Iterable[str] | None = None,
) -> list[str]:
    """Return the names of the providers that fulfil all the conditions, in the registry's order.

    Args:
        providers: All there are.
        tags: Those that have at least one of these; a text is one.
        only: Those of these names; a text is one.
        exclude: Not those of these names; a text is one.

    Raises:
        ProviderNotFoundError: `only` or `exclude` names an unknown provider, or nobody has one of `tags`.
        ConfigurationError: One of the three is no collection of texts.
    """
    names: Iterable[str] = providers
    if only is not None:
        wanted = _words("only", only)
        for name in wanted:
            check_known(name, providers)
        names = [name for name in providers if name in wanted]
    if exclude is not None:
        unwanted = _words("exclude", exclude)
        for name in unwanted:
            check_known(name, providers)
        names = [name for name in names if name not in unwanted]
    if tags is not None:
        labels = _words("tags", tags)
        _check_tags(labels, providers)
        names = [name for name in names if not labels.isdisjoint(providers[name].config.tags)]
    return list(names)


def _words(argument: str, value: Any) -> set[str]:
    words = [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else [value]
    if not all(isinstance(word, str) for word in words):
        raise ConfigurationError(f"{argument} should be a list of texts, not {value!r}")
    return set(words)


def _check_tags(tags: set[str], providers: Providers) -> None:
    known = {tag for provider in providers.values() for tag in provider.config.tags}
    for tag in sorted(tags - known):
        near = did_you_mean(tag, known)
        there = f"; there are {', '.join(map(repr, sorted(known)[:_MOST_NAMED]))}" if known else ""
        raise ProviderNotFoundError(f"no provider has the tag {tag!r}{near or there}")


class Sweep:
    """One sweep; `conduct` runs it, once.

    A set of workers pull from one queue of those whose dependencies are done. Only dependencies
    within the sweep count. While no check ends at all for some time, the workers double, so that
    hanging providers keep nobody else waiting.

    Args:
        providers: The registry's providers; looked at when a provider's turn comes, so that a swapped
            one is asked in its new form.
        names: Whom to ask, in the order of the report; those that are gone are left out.
        deadline: Seconds for the whole; None leaves it to the providers' own timeouts.
        max_concurrency: Checks side by side, as long as they are not all stuck.
        stragglers: Checks (by their provider's id) that a sweep has given up and that have not ended
            yet; shared by all sweeps of a registry, so that such a provider is not asked again meanwhile.

    Raises:
        ConfigurationError: `deadline` or `max_concurrency` is out of range, or dependencies go in circles.
    """

    def __init__(
        self,
        providers: Providers,
        names: Sequence[str],
        *,
        deadline: float | None = None,
        max_concurrency: int = 128,
        stragglers: set[int] | None = None,
    ) -> None:
        if deadline is not None:
            check_seconds("deadline", deadline)
        check_count("max_concurrency", max_concurrency)
        self._providers = providers
        self._at_first = {name: providers[name] for name in names if name in providers}
        self._deadline = deadline
        self._max_concurrency = max_concurrency
        self._stragglers = set() if stragglers is None else stragglers
        self._on_check: OnCheck | None = None
        self._needs: dict[str, tuple[str, ...]] = {
            name: needed
            for name, provider in self._at_first.items()
            if provider.config.depends_on
            and (needed := tuple(other for other in provider.config.depends_on if other in self._at_first))
        }
        self._dependants: dict[str, list[str]] = {}
        if self._needs:
            check_circles(self._needs)
            for name, needed in self._needs.items():
                for other in needed:
                    self._dependants.setdefault(other, []).append(name)
        self._waiting = {name: len(set(needed)) for name, needed in self._needs.items()}
        self._ready = deque(name for name in self._at_first if name not in self._needs)
        self._checks: dict[str, HealthCheck] = {}
        self._turns: dict[str, tuple[BaseProvider[Any], float]] = {}  # who was asked, and when that began
        self._asked: dict[str, BaseProvider[Any]] = {}
        self._roots: dict[str, str] = {}
        self._workers = 0
        self._frozen = False
        self._all_done = anyio.Event()
        self._started = time.monotonic()
        self._started_at = datetime.now(UTC)
        self._ended = self._started

    async def conduct(self, jobs: Jobs | None, on_check: OnCheck | None = None) -> None:
        """Run the sweep to its end or its deadline; what has not finished by then is a ``timeout``.

        Each check is handed to `on_check` as soon as it is there.

        With `jobs`, it waits `CANCEL_GRACE` seconds at most for checks that don't heed their
        cancellation, and leaves those to end in the registry's task group; without, until they end.

        Raises:
            ProviderStateError: The registry was closed meanwhile.
        """
        self._on_check = on_check
        job: Job | None = None
        try:
            with anyio.move_on_after(self._deadline) as self._limit:
                if jobs is None:
                    await self._run()
                else:
                    job = jobs.start(self._run)
                    await job.over.wait()
        finally:
            self._frozen = True
            if job is not None and not await job.end(CANCEL_GRACE):
                self._stragglers.update(map(id, self._asked.values()))
        if job is not None and job.error is not None:
            raise job.error
        if not self._limit.cancel_called and len(self._checks) < len(self._at_first):
            raise ProviderStateError("the registry was closed during the sweep", sent=False)
        self._conclude()

    async def stream(self, jobs: Jobs) -> AsyncGenerator[tuple[str, HealthCheck], None]:
        """Conduct the sweep as a job of its own, and yield each check as soon as it is there.

        Raises:
            ProviderStateError: The registry was closed before the first check was asked for.
        """
        send, receive = anyio.create_memory_object_stream[tuple[str, HealthCheck]](inf)

        async def conduct() -> None:
            with send:
                await self.conduct(jobs, lambda name, check, _: send.send_nowait((name, check)))

        with send, receive:
            job = jobs.start(conduct)
            try:
                async for item in receive:
                    yield item
            finally:
                await job.end(2 * CANCEL_GRACE)
            if job.error is not None:
                raise job.error

    def report(self) -> HealthReport:
        """Return what was found."""
        # Not validated: it is made of our own parts, and thousands of checks would be copied for it.
        return HealthReport.model_construct(
            status=aggregate(check["status"] for check in self._checks.values()),
            duration_ms=round((self._ended - self._started) * 1000, 3),
            checked_at=self._started_at,
            checks={name: self._checks[name] for name in self._at_first},
        )

    async def _run(self) -> None:
        if not self._at_first:
            return
        pause = _STUCK_AFTER if self._deadline is None else min(_STUCK_AFTER, self._deadline / 20)
        async with anyio.create_task_group() as self._task_group:
            self._hire(self._max_concurrency)
            while not self._all_done.is_set():
                done_before = len(self._checks)
                with anyio.move_on_after(pause):
                    await self._all_done.wait()
                if len(self._checks) == done_before:
                    self._hire(self._workers)

    def _hire(self, most: int) -> None:
        for _ in range(min(most, len(self._ready))):
            self._workers += 1
            self._task_group.start_soon(self._work)

    async def _work(self) -> None:
        while self._ready:
            name = self._ready.popleft()
            provider = self._present(name)
            self._turns[name] = provider, time.monotonic()
            check = await self._ask(name, provider)
            # What comes after the deadline, from one that did not heed its cancellation, is too late.
            if not self._frozen and not self._limit.cancel_called:
                self._record(name, check)
        self._workers -= 1

    async def _ask(self, name: str, provider: BaseProvider[Any]) -> HealthCheck:
        if id(provider) in self._stragglers:
            return _failed(HealthStatus.TIMEOUT, "an earlier check of it has not ended yet")
        self._asked[name] = provider
        try:
            return cast("HealthCheck", await provider.health_check())
        except anyio.get_cancelled_exc_class():
            if cancelled_from_outside():
                raise
            return _failed(HealthStatus.ERROR, "the check was cancelled from within")
        finally:
            del self._asked[name]
            if self._frozen:
                self._stragglers.discard(id(provider))

    def _record(self, name: str, check: HealthCheck) -> None:
        """Take `check` for `name`, and see what it means for those that depend on it."""
        self._take(name, check)
        if name in self._dependants:
            self._turn_to_dependants(name)
        if len(self._checks) == len(self._at_first):
            self._all_done.set()

    def _take(self, name: str, check: HealthCheck) -> None:
        self._checks[name] = check
        if self._on_check is not None:
            provider = self._turns[name][0] if name in self._turns else self._present(name)
            self._on_check(name, check, provider)

    def _turn_to_dependants(self, name: str) -> None:
        """Have those asked that have waited for `name` alone; where it failed, all behind it are blocked."""
        done = [name]
        while done:
            for dependant in self._dependants.get(done.pop(), ()):
                self._waiting[dependant] -= 1
                if self._waiting[dependant]:
                    continue
                root = self._root_of_failure(dependant)
                if root is None:
                    self._ready.append(dependant)
                    self._hire(min(1, self._max_concurrency - self._workers))
                else:
                    self._roots[dependant] = root
                    why = f"its dependency {root!r} is {self._checks[root]['status']}"
                    self._take(dependant, _failed(HealthStatus.BLOCKED, why))
                    done.append(dependant)

    def _present(self, name: str) -> BaseProvider[Any]:
        return self._providers.get(name, self._at_first[name])

    def _root_of_failure(self, name: str) -> str | None:
        """Return the first failed provider that `name` depends on, at whatever remove."""
        for needed in self._needs[name]:
            if aggregate((self._checks[needed]["status"],)) is HealthStatus.UNHEALTHY:
                return self._roots.get(needed, needed)
        return None

    def _conclude(self) -> None:
        """Report what has not finished; those that wait for it become blocked."""
        self._ended = time.monotonic()
        late = [name for name in self._at_first if name not in self._checks and not self._waiting.get(name)]
        for name in late:
            check = _failed(HealthStatus.TIMEOUT, f"not finished within {self._deadline:g} s")
            begun = self._turns[name][1] if name in self._turns else self._ended
            check["latency_ms"] = round((self._ended - begun) * 1000, 3)
            self._record(name, check)


def _failed(status: HealthStatus, error: str) -> HealthCheck:
    return HealthCheck(status=status, error=error, checked_at=datetime.now(UTC))
