"""The deployment that a command is about."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aioproviders.cli.boundary import UsageError
from aioproviders.cli.deploying.overrides import overridden
from aioproviders.cli.options import Source
from aioproviders.deployment import DeploymentConfig, DeploymentProvider
from aioproviders.errors import ProviderUnavailableError
from aioproviders.factory import did_you_mean
from aioproviders.loading import LoadedProviders, ProviderSpec, read_providers
from aioproviders.redaction import Redactor, secrets_in
from aioproviders.registry import ProviderRegistry

__all__ = [
    "Overrides",
    "Target",
    "check_supervised",
    "is_supervised",
    "is_supervisor",
    "needed",
    "opened",
    "unknown",
]

_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line says otherwise than the file: ``--version``, and ``--set`` each."""

    version: str | None = None
    assignments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """A deployment.

    Attributes:
        name: What the file calls it.
        provider: Its provider, not started.
        config: What to deploy.
        redactor: Masks its secrets.
    """

    name: str
    provider: DeploymentProvider[Any]
    config: DeploymentConfig
    redactor: Redactor = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "redactor", Redactor(secrets_in(self.config)))


@asynccontextmanager
async def opened(source: Source, name: str, overrides: Overrides | None = None) -> AsyncIterator[Target]:
    """Yield one deployment of the file; closed at the end, with what it depends on.

    Raises:
        UsageError: There is no such deployment, or `overrides` can't be.
        ConfigurationError: The file is wrong.
    """
    loaded = await read_providers(source.config, environment=source.env)
    spec = _deployment(loaded, name)
    asked = overrides or Overrides()
    assert isinstance(spec.config, DeploymentConfig)  # noqa: S101 - as of every deployment provider
    config = overridden(spec.config, asked.assignments, asked.version)
    async with ProviderRegistry(start=False) as registry:
        for each in needed(loaded.specs, [name]):
            registry.register(each.name, each.provider_class(config) if each is spec else each.build())
        provider = registry.get(name, DeploymentProvider)
        yield Target(name, provider, provider.config)


def needed(specs: Iterable[ProviderSpec], names: Iterable[str]) -> list[ProviderSpec]:
    """Return the providers with these names and those that they depend on, in the file's order."""
    by_name: Mapping[str, ProviderSpec] = {spec.name: spec for spec in specs}
    found: set[str] = set()
    left = list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += by_name[name].config.depends_on
    return [spec for spec in by_name.values() if spec.name in found]


def _deployment(loaded: LoadedProviders, name: str) -> ProviderSpec:
    for spec in loaded.specs:
        if spec.name == name and issubclass(spec.provider_class, DeploymentProvider):
            return spec
    raise unknown(name, loaded, _deployments(loaded), "deployment")


def _deployments(loaded: LoadedProviders) -> Iterator[str]:
    for spec in loaded.specs:
        if issubclass(spec.provider_class, DeploymentProvider):
            yield spec.name


def unknown(name: str, loaded: LoadedProviders, there: Iterable[str], kind: str) -> UsageError:
    """Return the error for a name that is none of the file's `kind`, with those that there are."""
    names = list(there)
    of = next((spec for spec in loaded.specs if spec.name == name), None)
    said = f"no provider {name!r}" if of is None else f"{name!r} is no {kind}, but {_kind(of)}"
    near = did_you_mean(name, names) if of is None else ""
    if near:
        return UsageError(f"{said}{near}")
    if not names:
        return UsageError(f"{said}; the file has no {kind}")
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return UsageError(f"{said}; the file's {kind}s: {', '.join(names[:_MOST_NAMED])}{more}")


def _kind(spec: ProviderSpec) -> str:
    return f"of type {spec.type}" + (f", driver {spec.driver}" if spec.driver else "")


def is_supervisor(provider_class: type) -> bool:
    """Whether what such a provider deploys lives as long as the provider: processes of this machine."""
    return hasattr(provider_class, "is_supervised_elsewhere")


async def is_supervised(provider: Any) -> bool:
    """Whether another provider runs the processes."""
    elsewhere: bool = await provider.is_supervised_elsewhere()
    return elsewhere


async def check_supervised(target: Target) -> None:
    """Refuse to start what would end with this process.

    Raises:
        ProviderUnavailableError: The deployment's processes live as long as their supervisor, and none runs.
    """
    if is_supervisor(type(target.provider)) and not await is_supervised(target.provider):
        raise ProviderUnavailableError(
            f"{target.name}: nothing runs it, and processes end with what started them; start "
            f"'aioproviders up {target.name}', and deploy to that from another terminal"
        )
