"""Many providers started and stopped in the order of what they depend on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

import anyio
import anyio.lowlevel

from aioproviders.errors import ConfigurationError, ProviderError, ProviderUnavailableError
from aioproviders.factory import did_you_mean
from aioproviders.lifecycle import cancelled_from_outside
from aioproviders.provider import BaseProvider

__all__ = ["Providers", "check_dependencies", "dependencies", "start", "start_dependencies", "stop"]

Providers = Mapping[str, BaseProvider[Any]]
Graph = dict[str, tuple[str, ...]]


def dependencies(providers: Providers, names: Iterable[str]) -> Graph:
    """Return, for each of `names`, which others of `names` it depends on."""
    chosen = dict.fromkeys(names)
    return {name: tuple(n for n in providers[name].config.depends_on if n in chosen) for name in chosen}


def check_dependencies(providers: Providers, names: Collection[str] | None = None) -> None:
    """Make sure that what providers depend on is there, is enabled, and does not go in circles.

    Args:
        providers: All there are, by name.
        names: Whose dependencies to look at; None for all.

    Raises:
        ConfigurationError: It is not so; the message names who and what.
    """
    for name in providers if names is None else names:
        config = providers[name].config
        for needed in config.depends_on if config.enabled else ():
            if needed not in providers:
                raise ConfigurationError(
                    f"{name!r} depends on {needed!r}, which is not in the registry"
                    f"{did_you_mean(needed, providers)}"
                )
            if not providers[needed].config.enabled:
                raise ConfigurationError(
                    f"{name!r} depends on {needed!r}, which is disabled: enable that, or disable {name!r} too"
                )
    check_circles(dependencies(providers, providers))


def check_circles(graph: Graph) -> None:
    """Raise `ConfigurationError` if something in `graph` depends on itself, at whatever remove."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        # Each element of the circle needs the one before it.
        circle = " → ".join(repr(name) for name in reversed(error.args[1]))
        raise ConfigurationError(f"providers depend on one another in a circle: {circle}") from None


async def start(providers: Providers, names: Iterable[str]) -> dict[str, ProviderError]:
    """Initialize each of `names` after those of them it depends on, independent ones side by side.

    After a failure only those are begun that have nothing to wait for, and what is under way goes on to
    its end, so that one attempt shows all that is wrong.

    Returns:
        The error of each one that failed.
    """
    failures: dict[str, ProviderError] = {}

    async def begin(name: str) -> bool:
        try:
            await providers[name].initialize()
        except ProviderError as error:
            failures[name] = error
        except anyio.get_cancelled_exc_class():
            if cancelled_from_outside():
                raise
            failures[name] = ProviderError("it was cancelled from within", provider=providers[name].name)
        return not failures

    await _in_order(dependencies(providers, names), begin)
    return failures


async def start_dependencies(provider: BaseProvider[Any], among: Providers) -> None:
    """Initialize what a provider depends on, before the provider itself."""
    for name in provider.config.depends_on:
        try:
            await among[name].initialize()
        except ProviderError as error:
            raise ProviderUnavailableError(
                f"its dependency {name!r} could not start: {error.message}", sent=False, retryable=False
            ) from error


async def stop(providers: Providers) -> dict[str, ProviderError]:
    """Clean each provider up after those that depend on it, independent ones side by side.

    It goes on past errors, and cancellation waits until it is done; how long that can take is bounded
    by each provider's ``timeout_ms`` (see `BaseProvider.cleanup`).

    Returns:
        The error of each one whose cleanup failed.
    """
    failures: dict[str, ProviderError] = {}
    dependants: dict[str, list[str]] = {name: [] for name in providers}
    for name, needed in dependencies(providers, providers).items():
        for other in needed:
            dependants[other].append(name)

    async def close(name: str) -> bool:
        try:
            await providers[name].cleanup()
        except ProviderError as error:
            failures[name] = error
        return True

    async def close_all() -> None:
        with anyio.CancelScope(shield=True):
            await _in_order({name: tuple(others) for name, others in dependants.items()}, close)

    # In a task of its own: a shield keeps anyio's cancellation off, not `asyncio.Task.cancel()`.
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(close_all)
    return failures


async def _in_order(graph: Graph, action: Callable[[str], Awaitable[bool]]) -> None:
    """Run ``action(name)`` after those of all it needs; one that returns False holds its dependants back."""
    sorter = TopologicalSorter(graph)
    sorter.prepare()
    async with anyio.create_task_group() as task_group:

        async def run(name: str) -> None:
            if await action(name):
                sorter.done(name)
                await launch()

        async def launch() -> None:
            for name in sorter.get_ready():
                task_group.start_soon(run, name, name=f"provider {name}")
                # The quick ones end meanwhile: with thousands of tasks begun at once, most of the time
                # goes into garbage collection.
                await anyio.lowlevel.checkpoint()

        await launch()
