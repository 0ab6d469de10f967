"""`load_providers`: from a providers file to specs that are ready to build."""

from __future__ import annotations

import graphlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread

from aioproviders.config import ProviderConfig
from aioproviders.factory import did_you_mean
from aioproviders.loading.documents import read_document
from aioproviders.loading.drafts import Draft, ProviderClass, caught_warnings
from aioproviders.loading.interpolation import Interpolator
from aioproviders.loading.layers import Layers, layers_of
from aioproviders.loading.problems import Problems, render
from aioproviders.provider import BaseProvider, ProviderType

__all__ = ["LoadedProviders", "ProviderSpec", "environments_of", "load_providers", "read_providers"]


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """One provider of a file, validated.

    Attributes:
        name: The key of its table.
        type: The kind of provider.
        driver: The driver's name; None where the file leaves it to the type's default.
        provider_class: The driver's class.
        config: An instance of the driver's config class.
    """

    name: str
    type: ProviderType
    driver: str | None
    provider_class: ProviderClass
    config: ProviderConfig

    def build(self) -> BaseProvider[Any]:
        """Make the provider; nothing is opened until it is initialized or used."""
        return self.provider_class(self.config)


@dataclass(frozen=True, slots=True)
class LoadedProviders:
    """What a providers file says.

    Attributes:
        path: The file.
        environment: The environment whose overlay was put on; None for none.
        specs: The providers, disabled ones too, in the file's order; those of the overlay last.
        warnings: A line for each pair of settings that can't take effect together.
    """

    path: Path
    environment: str | None
    specs: tuple[ProviderSpec, ...]
    warnings: tuple[str, ...]


def load_providers(
    path: str | os.PathLike[str],
    *,
    environment: str | None = None,
    env: Mapping[str, str] = os.environ,
) -> LoadedProviders:
    """Read and validate a providers file; imports the drivers it names, and builds nothing.

    It reads files, so it blocks: in a running event loop use `read_providers`.

    A reference to a variable that is not set, or to a file that can't be read, is an error. In a
    provider with ``enabled = false`` it stays as it is written, as long as the rest is valid.

    Args:
        path: A file ending in ``.toml``, ``.yaml``, ``.yml`` or ``.json``.
        environment: Which of the file's environments to put on; None takes the base alone.
        env: Environment variables for ``${NAME}``.

    Raises:
        ConfigurationError: All that is wrong, a line ``file: key.path: what would be right`` each.
            No line shows a value.
    """
    problems = Problems(os.fspath(path))
    loaded = _load(Path(path), environment, env, problems)
    # Raised here, where no local variable and no earlier exception holds what the file says.
    if loaded is None:
        raise problems.error()
    return loaded


def environments_of(path: str | os.PathLike[str]) -> list[str]:
    """Return the names of a file's environments; none where it can't be read: `load_providers` says why."""
    document = read_document(Path(path), Problems(os.fspath(path)))
    environments = {} if document is None else document.get("environments", {})
    return list(environments) if isinstance(environments, dict) else []


async def read_providers(
    path: str | os.PathLike[str],
    *,
    environment: str | None = None,
    env: Mapping[str, str] = os.environ,
) -> LoadedProviders:
    """Do what `load_providers` does, in a worker thread.

    Raises:
        ConfigurationError: As `load_providers`.
    """
    load = partial(load_providers, path, environment=environment, env=env)
    # It only reads, so a cancelled caller need not wait for it.
    return await anyio.to_thread.run_sync(load, abandon_on_cancel=True)


def _load(
    path: Path, environment: str | None, env: Mapping[str, str], problems: Problems
) -> LoadedProviders | None:
    document = read_document(path, problems)
    layers = None if document is None else layers_of(document, environment, problems)
    if layers is None:
        return None
    drafts = [
        Draft(name, table, Interpolator(env, path.parent), layers, problems)
        for name, table in layers.merged().items()
    ]
    # All drivers are imported before warnings are caught: what they warn of is not ours to keep.
    for draft in drafts:
        draft.choose_driver()
    notes: list[str] = []
    specs = []
    with caught_warnings() as caught:
        for draft in drafts:
            caught.clear()
            config = draft.validate()
            if config is None or draft.type is None or draft.provider_class is None:
                continue
            specs.append(ProviderSpec(draft.name, draft.type, draft.driver, draft.provider_class, config))
            where = render(layers.path(draft.name))
            notes += [f"{problems.file}: {where}: {note}" for note in draft.notes(config, caught)]
    _check_dependencies(drafts, layers, problems)
    return None if problems else LoadedProviders(path, environment, tuple(specs), tuple(notes))


def _check_dependencies(drafts: list[Draft], layers: Layers, problems: Problems) -> None:
    names = {draft.name: index for index, draft in enumerate(drafts)}
    graph: dict[str, set[str]] = {}
    for draft in drafts:
        graph[draft.name] = set()
        unresolved = {path for path, _ in draft.references.unresolved}
        for index, name in enumerate(draft.depends_on):
            where = layers.path(draft.name, "depends_on", index)
            if name == draft.name:
                problems.add(where, "a provider can't depend on itself")
            elif name in names:
                graph[draft.name].add(name)
            elif ("depends_on", index) not in unresolved:
                problems.add(
                    where, f"should be the name of another provider of this file{did_you_mean(name, names)}"
                )
    for cycle in _cycles(graph):
        first = min(range(len(cycle)), key=lambda index: names[cycle[index]])
        around = [*cycle[first:], *cycle[:first], cycle[first]]
        chain = " → ".join(render((name,)) for name in around)
        problems.add(layers.path(around[0], "depends_on"), f"leads back to itself: {chain}")


def _cycles(graph: dict[str, set[str]]) -> Iterator[list[str]]:
    """Yield cycles, each as names where every one depends on the next, until none is left."""
    while True:
        try:
            graphlib.TopologicalSorter(graph).prepare()
        except graphlib.CycleError as error:
            # Its list goes from what is depended on to what depends, and ends with its beginning.
            cycle: list[str] = error.args[1][:0:-1]
        else:
            return
        yield cycle
        for name in cycle:
            graph[name] -= set(cycle)
