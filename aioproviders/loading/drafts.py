"""One provider's table on its way to a validated config."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from pydantic import ValidationError

from aioproviders.config import ProviderConfig, paths_start_at
from aioproviders.errors import ConfigurationError, ConfigurationWarning, ProviderNotFoundError
from aioproviders.factory import ProviderFactory, did_you_mean
from aioproviders.loading.interpolation import Interpolator
from aioproviders.loading.layers import Layers
from aioproviders.loading.messages import A_STRING, IN_QUOTES, Explainer, is_number
from aioproviders.loading.problems import KeyPath, Problems
from aioproviders.operations import operations_of
from aioproviders.provider import BaseProvider, ProviderType

__all__ = ["Draft", "ProviderClass", "caught_warnings"]

ProviderClass: TypeAlias = type[BaseProvider[Any]]

_CATCHING = threading.RLock()
"""Warnings are caught in state of the process, so one thread at a time does it."""


class Draft:
    """A provider's table: its references resolved, its driver chosen, then validated.

    Args:
        name: The table's key.
        table: The merged table.
        references: Resolves the table's references, and nothing else.
        layers: Knows where values come from.
        problems: Takes what is wrong.
    """

    def __init__(
        self, name: str, table: dict[str, Any], references: Interpolator, layers: Layers, problems: Problems
    ) -> None:
        self.name = name
        self.references = references
        self.type: ProviderType | None = None
        self.driver: str | None = None
        self.provider_class: ProviderClass | None = None
        self._table: dict[str, Any] = references.resolve(table)
        self._layers = layers
        self._problems = problems

    @property
    def depends_on(self) -> list[str]:
        """What it says it depends on, as far as that can be read; "" for what is no name."""
        names = self._table.get("depends_on")
        return [name if isinstance(name, str) else "" for name in names] if isinstance(names, list) else []

    def _note(self, text: str, *keys: str | int) -> None:
        self._problems.add(self._layers.path(self.name, *keys), text)

    def choose_driver(self) -> None:
        """Find the class for ``type`` and ``driver``, and take the two out of the table."""
        kind, driver = self._table.pop("type", None), self._table.pop("driver", None)
        if self._table.pop("name", self) is not self:
            self._note("is the table's own key, and should be left out", "name")
        if self._is_blind(("type",)) or self._is_blind(("driver",)):
            return
        if not isinstance(kind, str) or kind not in set(ProviderType):
            near = did_you_mean(kind, ProviderType) if isinstance(kind, str) else ""
            required = "is required, and " if kind is None else ""
            self._note(f"{required}should be one of {', '.join(ProviderType)}{near}", "type")
            return
        if driver is not None and not isinstance(driver, str):
            self._note(f"{A_STRING}{IN_QUOTES if is_number(driver) else ''}", "driver")
            return
        self.type, self.driver = ProviderType(kind), driver
        try:
            self.provider_class = ProviderFactory.get_driver(self.type, driver)
        except ProviderNotFoundError:
            # Its message has the value in it.
            names = ProviderFactory.get_driver_names(self.type)
            right = (
                f"should be one of {', '.join(names)}"
                if names
                else f"the type {kind} has no drivers installed"
            )
            self._note(f"{right}{did_you_mean(driver or '', names)}", "driver")
        except ConfigurationError as error:
            self._note(error.message, "driver")

    def validate(self) -> ProviderConfig | None:
        """Make the config, or say what is wrong and return None."""
        config, flaws = (None, []) if self.provider_class is None else self._try(self.provider_class)
        # What is said of a text that should have been replaced, or of all around it, says nothing.
        flaws = [(where, text) for where, text in flaws if not self._is_blind(where)]
        flaws += self.references.malformed
        if config is None or config.enabled:
            flaws += self.references.unresolved
        for where, text in flaws:
            self._note(text, *where)
        return config

    def _try(self, provider_class: ProviderClass) -> tuple[ProviderConfig | None, list[tuple[KeyPath, str]]]:
        config_class = provider_class.config_class
        data = {**self._table, "name": self.name}
        explainer = Explainer(config_class, data, frozenset(self.references.inserted))
        try:
            config = config_class.model_validate(data, context=paths_start_at(self.references.folder))
        except ValidationError as error:
            return None, [*explainer.explain(error), *_strange(provider_class, data.get("operations"))]
        except Exception as error:  # noqa: BLE001 - a stranger's validator may raise anything
            said = explainer.foreign(f"{type(error).__name__}: {error}", data)
            return None, [((), f"{config_class.__name__} can't check it: {said}")]
        return config, list(_strange(provider_class, config.operations))

    def _is_blind(self, where: KeyPath) -> bool:
        """Whether a reference that was not resolved stands at `where`, in it or around it."""
        unresolved = [*self.references.unresolved, *self.references.malformed]
        return any(where[: len(path)] == path or path[: len(where)] == where for path, _ in unresolved)

    def notes(self, config: ProviderConfig, caught: list[str]) -> Iterator[str]:
        """Yield what `config` warns of.

        Args:
            config: What `validate` made.
            caught: The warnings while it did so.
        """
        # The framework's own are asked for, so that they are here also where they are not to be shown.
        conflicts = config.conflicts()
        yield from conflicts
        explainer = Explainer(type(config), self._table, frozenset(self.references.inserted))
        for warning in caught:
            text = warning.removeprefix(f"{config.name}: ")
            if text not in conflicts:
                yield explainer.foreign(text)


def _strange(provider_class: ProviderClass, operations: object) -> Iterator[tuple[KeyPath, str]]:
    """Yield the keys of a table ``operations`` that name none."""
    known = operations_of(provider_class)
    for name in operations if isinstance(operations, Mapping) else ():
        if name not in known:
            yield ("operations", name), f"is no operation of the driver{did_you_mean(name, known)}"


@contextmanager
def caught_warnings() -> Iterator[list[str]]:
    """Collect the warnings of this thread; those of other threads go where they would have gone.

    What the process ignores or turns into errors stays so, but for `ConfigurationWarning`.
    """
    caught: list[str] = []
    here = threading.get_ident()
    with _CATCHING, warnings.catch_warnings():
        show_others = warnings.showwarning

        def show(message: Warning | str, *args: Any, **kwargs: Any) -> None:
            if threading.get_ident() == here:
                caught.append(str(message))
            else:
                show_others(message, *args, **kwargs)

        warnings.simplefilter("always", ConfigurationWarning)
        warnings.showwarning = show
        yield caught
