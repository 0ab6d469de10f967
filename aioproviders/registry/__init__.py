"""`ProviderRegistry`: many providers, started, looked up, swept, watched, swapped and stopped together.

`lifecycle` starts and stops in dependency order, `sweep` asks all for their health at once, `monitor`
does so periodically and remembers (`tracks`) and tells (`listeners`), `replacing` tries new providers
out, `jobs` holds the tasks that run beside their callers.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar, overload

import anyio
from anyio.abc import TaskGroup

from aioproviders.calls import current_call
from aioproviders.config import ProviderConfig
from aioproviders.errors import (
    ConfigurationError,
    ProviderError,
    ProviderNotFoundError,
    ProviderStateError,
)
from aioproviders.health import HealthCheck, HealthReport
from aioproviders.logs import ProviderLogger
from aioproviders.provider import BaseProvider, ProviderState
from aioproviders.redaction import Redactor, describe, secrets_in
from aioproviders.registry.jobs import Jobs
from aioproviders.registry.lifecycle import Providers, check_dependencies, start, start_dependencies, stop
from aioproviders.registry.monitor import HealthChange, Monitor
from aioproviders.registry.replacing import RegistryChanges, replace
from aioproviders.registry.sweep import Sweep, check_known, select

if TYPE_CHECKING:
    from aioproviders.loading import LoadedProviders, ProviderSpec

__all__ = ["HealthChange", "Monitor", "ProviderRegistry", "RegistryChanges"]

ProviderT = TypeVar("ProviderT", bound=BaseProvider[Any])


class _State(StrEnum):
    NEW = "new"
    STARTING = "starting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class ProviderRegistry:
    """Providers by name, with one life.

    Fill it by `register` or make it by `from_file`, then enter it, once, with ``async with``: that
    starts the providers in dependency order (independent ones side by side, disabled ones not at
    all) and closes them in reverse. It may be looked into and asked for health without being
    entered, too; providers then start at their first use, and closing them is the caller's affair.
    One made `from_file` knows its providers only once it is entered, and refuses to be asked before.

    A failed start rolls back what had started and raises an `ExceptionGroup` of all failures. At the
    end every provider is closed, whatever the others' cleanup raises; errors come out as an
    `ExceptionGroup`, or, where the ``async with`` block itself failed, as notes on its exception.

    Args:
        start: False leaves each provider to its first use (its dependencies start first then, too).
    """

    def __init__(self, *, start: bool = True) -> None:
        self._providers: dict[str, BaseProvider[Any]] = {}
        self._start = start
        self._source: tuple[str | os.PathLike[str], Callable[[], Awaitable[LoadedProviders]]] | None = None
        self._state = _State.NEW
        self._task_group: TaskGroup | None = None
        self._jobs: Jobs | None = None
        self._stragglers: set[int] = set()
        self._from_file: set[str] = set()
        self._all_owned = False
        self._changing = anyio.Lock()
        self._in_change: tuple[BaseProvider[Any], ...] = ()
        self.logger = ProviderLogger("ProviderRegistry")

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], *, environment: str | None = None, start: bool = True
    ) -> Self:
        """Make a registry of what a providers file says; the file is read and built on entry.

        Args:
            path: A TOML, YAML or JSON file (see `aioproviders.loading`).
            environment: The name of the file's overlay to use.
            start: As for the class.
        """
        # Who reads no file does without the parsers.
        from aioproviders.loading import read_providers  # noqa: PLC0415 - see above

        registry = cls(start=start)
        registry._source = (path, partial(read_providers, path, environment=environment))
        return registry

    def __repr__(self) -> str:
        count = len(self._providers)
        return f"<{type(self).__name__} {self._state}, {count} provider{'' if count == 1 else 's'}>"

    def __len__(self) -> int:
        return len(self._providers)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    @property
    def names(self) -> tuple[str, ...]:
        """The providers' names, in the order of registration.

        Raises:
            ProviderStateError: The registry is to be filled from a file and was not entered yet.
        """
        self._refuse_unread()
        return tuple(self._providers)

    def register(self, name: str, provider: BaseProvider[Any]) -> None:
        """Register a provider instance.

        In a registry that is open already, it starts at its first use, and the registry closes it.

        Raises:
            ConfigurationError: The name is taken or empty, `provider` is none, or (in an open
                registry) what it depends on is missing or disabled.
            ProviderStateError: The registry is closed, or the provider has another owner.
        """
        if self._state in (_State.CLOSING, _State.CLOSED):
            self._refuse()
        if not name or not isinstance(name, str):
            raise ConfigurationError(f"a provider's name should be a text that is not empty, not {name!r}")
        if not isinstance(provider, BaseProvider):
            what = f"the class {provider.__name__}" if isinstance(provider, type) else type(provider).__name__
            raise ConfigurationError(f"{name!r} should be an instance of a BaseProvider, not {what}")
        if name in self._providers:
            raise ConfigurationError(f"a provider {name!r} is registered already")
        if self._state is _State.NEW:
            self._providers[name] = provider
        else:
            check_dependencies({**self._providers, name: provider}, [name])
            self._own(provider, self._providers)
            self._providers[name] = provider
        self.logger.info("Provider registered", provider=name, provider_name=name)

    @overload
    def get(self, name: str) -> BaseProvider[Any]: ...
    @overload
    def get(self, name: str, kind: type[ProviderT]) -> ProviderT: ...
    @overload
    def get(self, name: str, kind: Callable[..., ProviderT]) -> ProviderT: ...  # an abstract class
    def get(self, name: str, kind: Any = BaseProvider) -> BaseProvider[Any]:
        """Return the provider of that name; after a reconfiguration, the new one.

        Args:
            name: The name it was registered by.
            kind: The class it should be of, such as `SDKProvider`; the type checker knows it then.

        Raises:
            ProviderNotFoundError: There is none of that name (near matches are named), or it is of
                another kind.
            ProviderStateError: The registry is closed, or was made from a file and is not entered yet.
        """
        self._refuse_unread()
        if self._state is _State.CLOSED:
            self._refuse()
        check_known(name, self._providers)
        provider = self._providers[name]
        fits: bool = isinstance(provider, kind)
        if not fits:
            raise ProviderNotFoundError(
                f"Provider {name!r} is no {kind.__name__}, but {type(provider).__name__}"
            )
        return provider

    async def health_check_all(self) -> dict[str, HealthCheck]:
        """Return every provider's health by name: `sweep` without conditions."""
        return dict((await self.sweep()).checks)

    async def sweep(
        self,
        *,
        deadline: float | None = None,
        tags: Iterable[str] | None = None,
        only: Iterable[str] | None = None,
        exclude: Iterable[str] | None = None,
        max_concurrency: int = 128,
    ) -> HealthReport:
        """Ask providers for their health, side by side; none delays or hides another.

        A provider whose dependency failed, at whatever remove, is ``blocked`` and not asked; only
        dependencies that are part of the sweep count. Where no provider fulfils all the conditions
        the report is empty.

        Args:
            deadline: Seconds for the whole; checks that have not finished are cancelled, awaited and
                reported as ``timeout``. One that does not heed its cancellation is waited for
                `CANCEL_GRACE` seconds (until it ends, if the registry is not entered). None leaves
                it to each provider's own timeouts.
            tags: Only providers with at least one of these; a text is one.
            only: Only these names; a text is one.
            exclude: Not these names; a text is one.
            max_concurrency: Checks at a time; more while none of them ends.

        Raises:
            ProviderNotFoundError: An unknown name in `only` or `exclude`, or a tag nobody has.
            ConfigurationError: An argument is out of range, or dependencies go in circles.
            ProviderStateError: The registry is closed, or was made from a file and is not entered yet.
        """
        names = self._select(tags, only, exclude)
        sweep = self._make_sweep(names, deadline=deadline, max_concurrency=max_concurrency)
        await sweep.conduct(self._jobs)
        return sweep.report()

    def iter_health(
        self,
        *,
        deadline: float | None = None,
        tags: Iterable[str] | None = None,
        only: Iterable[str] | None = None,
        exclude: Iterable[str] | None = None,
        max_concurrency: int = 128,
    ) -> AsyncGenerator[tuple[str, HealthCheck], None]:
        """Yield each provider's name and health as soon as it is known; arguments as for `sweep`.

        The sweep runs in the registry's task group and ends with the iteration, an early one too.

        Raises:
            ProviderStateError: The registry is not open: enter it first.
        """
        jobs = self._open_jobs()
        names = self._select(tags, only, exclude)
        return self._make_sweep(names, deadline=deadline, max_concurrency=max_concurrency).stream(jobs)

    def monitor(  # noqa: PLR0913 - all have good defaults
        self,
        *,
        interval: float = 30.0,
        jitter: float = 0.1,
        failure_threshold: int = 3,
        recovery_threshold: int = 1,
        history: int = 100,
        deadline: float | None = None,
        max_concurrency: int = 128,
    ) -> Monitor:
        """Make a monitor, to be entered with ``async with`` within that of the registry.

        Args:
            interval: Seconds between the beginnings of two sweeps.
            jitter: Random share of the interval by which a pause is longer or shorter, from 0 to 1.
            failure_threshold: Failing checks in a row that make a provider's state a failed one.
            recovery_threshold: Checks in a row that are ok that make it ok.
            history: Checks to remember per provider.
            deadline: Seconds for one sweep; by default the interval.
            max_concurrency: As for `sweep`.

        Raises:
            ConfigurationError: A number is out of range.
            ProviderStateError: The registry was made from a file and is not entered yet.
        """
        self._refuse_unread()
        limit = interval if deadline is None else deadline
        make_sweep = partial(self._make_sweep, deadline=limit, max_concurrency=max_concurrency)
        monitor = Monitor(
            self._providers,
            make_sweep,
            self._open_jobs,
            self.logger,
            interval=interval,
            jitter=jitter,
            failure_threshold=failure_threshold,
            recovery_threshold=recovery_threshold,
            history=history,
        )
        make_sweep([])  # so that a number out of range is refused here
        return monitor

    async def reconfigure(self, name: str, config: ProviderConfig) -> BaseProvider[Any]:
        """Replace a provider by one of the same class with another config.

        The new one is built (by `BaseProvider.rebuilt`), started and asked for its health; only when
        it is ok does it take the old one's place. Then the old one's calls in flight end and it is
        closed; whoever still holds it gets a `ProviderStateError`. That goes for other providers that
        hold it, too: they had better ask the registry each time. If anything fails, or on
        cancellation, before the new one has taken its place, the old one stays and the new one is
        closed; on cancellation after that, the new one stays, and the old one is closed first. One
        change is made at a time.

        Returns:
            The new provider.

        Raises:
            ConfigurationError: `config` does not fit, what it depends on is missing or disabled, or the
                class takes more than a config and does not override `BaseProvider.rebuilt`.
            ProviderNotFoundError: There is none of that name.
            ProviderStateError: The registry is not open, or a provider that is just being put in place
                or closed calls this.
            ProviderError: The new provider can't start or is not well.
        """
        self._refuse_within_change()
        async with self._changing:
            self._open_jobs()
            fresh = _rebuild(self.get(name), config)
            await self._close_old(await self._swap({name: fresh}, set()))
        self.logger.info("provider.reconfigured", provider=name)
        return fresh

    async def reload(self) -> RegistryChanges:
        """Read the providers file again and put into effect what has changed, all of it or nothing.

        New and changed providers are tried out as in `reconfigure`, then take their places, and those
        that were replaced or are no longer in the file are closed. Unchanged ones and those that were
        registered by hand are left alone; one that was reconfigured goes back to the file's config.
        Cancelled before the new ones have taken their places, it changes nothing; after that the
        change stays, and the old ones are closed first.

        Returns:
            Which providers were added, replaced and removed.

        Raises:
            ConfigurationError: The file has errors, or takes away what others depend on; or the
                registry was not made from a file.
            ProviderStateError: As for `reconfigure`.
            ProviderError: A new provider can't start or is not well.
        """
        if self._source is None:
            raise ConfigurationError("this registry was not made from a file; use reconfigure()")
        self._refuse_within_change()
        async with self._changing:
            self._open_jobs()
            specs = await self._read(*self._source)
            fresh = {spec.name: spec.build() for spec in specs if self._differs(spec)}
            names = {spec.name for spec in specs}
            changes = RegistryChanges(
                added=tuple(name for name in fresh if name not in self._providers),
                replaced=tuple(name for name in fresh if name in self._providers),
                removed=tuple(name for name in self._providers if name in self._from_file - names),
            )
            old = await self._swap(fresh, set(changes.removed))
            self._from_file = names
            await self._close_old(old)
        self.logger.info(
            "registry.reloaded", added=changes.added, replaced=changes.replaced, removed=changes.removed
        )
        return changes

    async def _swap(
        self, fresh: dict[str, BaseProvider[Any]], gone: set[str]
    ) -> dict[str, BaseProvider[Any]]:
        self._in_change = tuple(fresh.values())
        try:
            return await replace(self._providers, fresh, gone, self._own, self._open_jobs)
        finally:
            self._in_change = ()

    async def _close_old(self, old: Providers) -> None:
        self._in_change = tuple(old.values())
        try:
            failures = await stop(old)
        finally:
            self._in_change = ()
        if failures:
            self.logger.warning("registry.old_provider_cleanup_failed", providers=list(failures))

    def _refuse_within_change(self) -> None:
        """Raise `ProviderStateError` in a call that the change under way waits for."""
        call = current_call()
        while call is not None:
            if any(call.owner is provider for provider in self._in_change):
                raise ProviderStateError(
                    f"{call.provider!r} is just being put in place or closed, and can't change the registry",
                    sent=False,
                )
            call = call.parent

    def _differs(self, spec: ProviderSpec) -> bool:
        current = self._providers.get(spec.name)
        return current is None or type(current) is not spec.provider_class or current.config != spec.config

    async def __aenter__(self) -> Self:
        if self._state is not _State.NEW:
            raise ProviderStateError(f"a registry can be entered once; this one is {self._state}", sent=False)
        self._state = _State.STARTING
        self._task_group = anyio.create_task_group()
        await self._task_group.__aenter__()
        self._jobs = Jobs(self._task_group)
        try:
            await self._begin()
        except BaseException as error:
            started = {n: p for n, p in self._providers.items() if p.state is ProviderState.READY}
            await self._end(started if self._all_owned else {}, error)
            raise
        self._state = _State.OPEN
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._end({n: p for n, p in self._providers.items() if p.config.enabled}, exc)

    async def _begin(self) -> None:
        if self._source is not None:
            for spec in await self._read(*self._source):
                self._providers[spec.name] = spec.build()
                self.logger.info("Provider registered", provider=spec.name, provider_name=spec.name)
        check_dependencies(self._providers)
        for provider in self._providers.values():
            self._own(provider, self._providers)
        self._all_owned = True
        if self._start:
            enabled = [name for name, provider in self._providers.items() if provider.config.enabled]
            failures = await start(self._providers, enabled)
            if failures:
                self.logger.error("registry.start_failed", providers=list(failures))
                raise ExceptionGroup(
                    f"{len(failures)} of {len(enabled)} providers could not start: {', '.join(failures)}",
                    list(failures.values()),
                )
        self.logger.info("registry.started", providers=len(self._providers))

    async def _read(
        self, path: str | os.PathLike[str], load: Callable[[], Awaitable[LoadedProviders]]
    ) -> tuple[ProviderSpec, ...]:
        """Return what the file says, none of which was registered by hand."""
        loaded = await load()
        for warning in loaded.warnings:
            self.logger.warning("configuration.conflict", warning=warning)
        names = {spec.name for spec in loaded.specs}
        for name in self._providers:
            if name in names - self._from_file:
                raise ConfigurationError(f"{os.fspath(path)}: a provider {name!r} is registered already")
        if self._state is _State.STARTING:
            self._from_file = names
        return loaded.specs

    async def _end(self, providers: dict[str, BaseProvider[Any]], error: BaseException | None) -> None:
        """End sweeps, close `providers` and leave the task group; `error` is on its way out already."""
        assert self._task_group is not None and self._jobs is not None  # noqa: S101, PT018 - entered
        self._state = _State.CLOSING
        self._jobs.end()
        failures: dict[str, ProviderError] = {}
        try:
            failures = await stop(providers)
        finally:
            self._state = _State.CLOSED
            self._task_group.cancel_scope.cancel()
            # Without the error: what comes out of the group then is what went wrong in its tasks.
            await self._task_group.__aexit__(None, None, None)
            self._jobs = None
            for provider in self._providers.values():
                provider._lifecycle.disown(self._task_group)  # noqa: SLF001 - the registry owns its providers
            self.logger.info("registry.stopped", providers=len(providers), failed=list(failures))
        if failures and error is None:
            raise ExceptionGroup(
                f"{len(failures)} of {len(providers)} providers failed to clean up: {', '.join(failures)}",
                list(failures.values()),
            )
        if isinstance(error, Exception):
            for failure in failures.values():
                error.add_note(f"Cleaning up failed, too: {failure}")

    def _own(self, provider: BaseProvider[Any], among: Providers) -> None:
        assert self._task_group is not None  # noqa: S101 - entered
        prepare = partial(start_dependencies, provider, among)
        provider._lifecycle.own(self._task_group, prepare)  # noqa: SLF001 - the registry owns its providers

    def _select(
        self, tags: Iterable[str] | None, only: Iterable[str] | None, exclude: Iterable[str] | None
    ) -> list[str]:
        self._refuse_unread()
        if self._state in (_State.CLOSING, _State.CLOSED):
            self._refuse()
        return select(self._providers, tags=tags, only=only, exclude=exclude)

    def _make_sweep(self, names: Sequence[str], *, deadline: float | None, max_concurrency: int) -> Sweep:
        return Sweep(
            self._providers,
            names,
            deadline=deadline,
            max_concurrency=max_concurrency,
            stragglers=self._stragglers,
        )

    def _open_jobs(self) -> Jobs:
        if self._state is not _State.OPEN or self._jobs is None:
            self._refuse()
        return self._jobs

    def _refuse_unread(self) -> None:
        """Raise `ProviderStateError` while the file is not read: "nothing there" would be untrue."""
        if self._source is not None and self._state is _State.NEW:
            self._refuse()

    def _refuse(self) -> NoReturn:
        hint = ": enter it with 'async with' first" if self._state is _State.NEW else ""
        raise ProviderStateError(f"the registry is {self._state}{hint}", sent=False)


def _rebuild(provider: BaseProvider[Any], config: ProviderConfig) -> BaseProvider[Any]:
    try:
        return provider.rebuilt(config)
    except TypeError as error:
        what = Redactor(secrets_in(config)).text(describe(error))
        raise ConfigurationError(
            f"{type(provider).__name__} can't be made anew from a config alone ({what}): "
            "override its rebuilt() to hand on what else the constructor takes"
        ) from error
