"""New providers tried out before they take the place of old ones."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aioproviders.errors import ConfigurationError, ProviderError
from aioproviders.provider import BaseProvider
from aioproviders.registry.jobs import Jobs
from aioproviders.registry.lifecycle import Providers, check_dependencies, start, stop
from aioproviders.registry.sweep import Sweep

__all__ = ["RegistryChanges", "replace"]


@dataclass(frozen=True, slots=True)
class RegistryChanges:
    """What `ProviderRegistry.reload` did: names of providers."""

    added: tuple[str, ...]
    replaced: tuple[str, ...]
    removed: tuple[str, ...]


async def replace(
    providers: dict[str, BaseProvider[Any]],
    fresh: dict[str, BaseProvider[Any]],
    gone: set[str],
    own: Callable[[BaseProvider[Any], Providers], None],
    open_jobs: Callable[[], Jobs],
) -> dict[str, BaseProvider[Any]]:
    """Put `fresh` into `providers` once they are known to work, and take `gone` out.

    On any failure, and on cancellation, `providers` stays as it is and the new ones are closed.

    Args:
        providers: The registry's; changed in place.
        fresh: New ones, by name.
        gone: Names to remove.
        own: Makes the registry the owner of a provider; its dependencies are looked up in the mapping.
        open_jobs: Returns the registry's jobs, or raises `ProviderStateError` where it is not open.

    Returns:
        The old providers, by name, which are to be closed.

    Raises:
        ConfigurationError: What somebody depends on would be missing or disabled.
        ProviderError: A new one can't start or is not well.
    """
    before = {name: providers.get(name) for name in (*fresh, *gone)}

    def check() -> None:
        check_dependencies({n: p for n, p in {**providers, **fresh}.items() if n not in gone})

    check()
    try:
        for provider in fresh.values():
            own(provider, ChainMap(fresh, providers))
        await _try_out(fresh, open_jobs)
        # Meanwhile the registry may have been closed, or others registered.
        open_jobs()
        check()
        taken = [name for name, old in before.items() if providers.get(name) is not old]
        if taken:
            raise ConfigurationError(f"a provider {taken[0]!r} was registered meanwhile")
    except BaseException:
        await stop(fresh)
        raise
    providers.update(fresh)
    for name in gone:
        del providers[name]
    # Without a pause since the swap, so that a cancellation can't keep its caller from knowing of it.
    return {name: old for name, old in before.items() if old is not None}


async def _try_out(fresh: Providers, open_jobs: Callable[[], Jobs]) -> None:
    """Start `fresh` providers in dependency order and check their health; raise if one is not fit."""
    enabled = [name for name, provider in fresh.items() if provider.config.enabled]
    failures = await start(fresh, enabled)
    jobs = open_jobs()
    if failures:
        problems = [f"the new {name!r} could not start: {error.message}" for name, error in failures.items()]
        cause: BaseException | None = next(iter(failures.values()))
    else:
        sweep = Sweep(fresh, enabled)
        await sweep.conduct(jobs)
        problems = [
            f"the new {name!r} is {check['status']}" + (f": {check['error']}" if "error" in check else "")
            for name, check in sweep.report().checks.items()
            if not check["status"].ok
        ]
        cause = None
    if problems:
        raise ProviderError(f"{'; '.join(problems)}; nothing was changed") from cause
