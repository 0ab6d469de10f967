"""`ProviderFactory`: from a kind of provider and a driver's name to a class, and to a provider.

Drivers come from two places: classes registered in the program, and entry points of installed
distributions in the group ``aioproviders.drivers``, named ``<type>.<driver>``. Entry points are
read at the first need, and a driver's module is imported only when that driver is asked for, so
that a broken plugin troubles nobody but those who use it.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from typing import Any, ClassVar

from aioproviders.config import ProviderConfig
from aioproviders.errors import ConfigurationError, ProviderNotFoundError
from aioproviders.provider import BaseProvider, ProviderType
from aioproviders.redaction import Redactor

__all__ = ["DRIVER_GROUP", "DriverInfo", "ProviderFactory", "did_you_mean"]

DRIVER_GROUP = "aioproviders.drivers"
"""The entry-point group in which distributions offer their drivers."""

_LONGEST_ERROR = 300


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` with what is near to `word` among `choices`, else an empty text."""
    by_lower = {choice.lower(): str(choice) for choice in choices}
    found = difflib.get_close_matches(word.lower(), by_lower, n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(by_lower[match]) for match in found)}?" if found else ""


@dataclass(frozen=True, slots=True)
class DriverInfo:
    """One driver that is registered or installed.

    Attributes:
        type: The kind of provider; None where an entry point's name does not begin with one.
        driver: The driver's name (all of the entry point's where `type` is None); None for a class
            that was registered as its type's default.
        source: ``"registered"``, or the distribution and its version: ``"aioproviders 0.1.0"``.
        target: Where the class is: ``"package.module:Class"``.
        error: Why it can't be used, in one line; None where nothing (yet) says so.
    """

    type: ProviderType | None
    driver: str | None
    source: str
    target: str
    error: str | None = None

    @property
    def name(self) -> tuple[ProviderType | None, str | None]:
        """Type and driver together."""
        return self.type, self.driver


class ProviderFactory:
    """Makes providers of a type, by the type's default driver or a named one.

    The registrations are state of the class, shared by the whole process. Types may be given as
    strings: ``"sdk"``.

    What is used where no driver is named: the class registered without one; else the only driver
    of that type. Where several are known and none is the default, the caller has to choose.
    """

    _providers: ClassVar[dict[ProviderType, type[BaseProvider[Any]]]] = {}
    _drivers: ClassVar[dict[tuple[ProviderType, str], type[BaseProvider[Any]]]] = {}
    _plugins: ClassVar[tuple[_Plugin, ...] | None] = None

    @classmethod
    def register_provider(
        cls,
        provider_type: ProviderType | str,
        provider_class: type[BaseProvider[Any]],
        driver: str | None = None,
    ) -> None:
        """Register a provider implementation; it replaces one of the same name.

        Args:
            provider_type: The kind of provider.
            provider_class: A concrete subclass of `BaseProvider`. It wins over an entry point.
            driver: Its name; None makes it the type's default.

        Raises:
            ConfigurationError: `provider_class` is no provider, is abstract, or is of another type.
            ProviderNotFoundError: There is no such type.
        """
        kind = cls._type(provider_type)
        flaw = _flaw(provider_class, kind)
        if flaw is not None:
            raise ConfigurationError(f"Can't register for provider type {kind}: {flaw}")
        if driver is None:
            cls._providers[kind] = provider_class
        elif driver:
            cls._drivers[kind, driver] = provider_class
        else:
            raise ConfigurationError(f"Can't register for provider type {kind}: the driver's name is empty")

    @classmethod
    def unregister_provider(cls, provider_type: ProviderType | str, driver: str | None = None) -> None:
        """Undo `register_provider`; entry points stay as they are.

        Raises:
            ProviderNotFoundError: Nothing was registered so.
        """
        kind = cls._type(provider_type)
        found = cls._providers.pop(kind, None) if driver is None else cls._drivers.pop((kind, driver), None)
        if found is None:
            raise ProviderNotFoundError(
                f"Unknown provider driver: nothing was registered as {_label(kind, driver)}"
            )

    @classmethod
    @contextmanager
    def temporary(cls) -> Iterator[type[ProviderFactory]]:
        """Undo, at the end of the ``with`` block, what was registered or unregistered in it; for tests."""
        providers, drivers = dict(cls._providers), dict(cls._drivers)
        try:
            yield cls
        finally:
            # In place: others may hold the same dictionaries.
            for now, before in ((cls._providers, providers), (cls._drivers, drivers)):
                now.clear()
                now.update(before)  # type: ignore[arg-type]  # each is paired with its own copy

    @classmethod
    def create_provider(
        cls, provider_type: ProviderType | str, config: ProviderConfig, driver: str | None = None
    ) -> BaseProvider[Any]:
        """Create a provider instance; it does no I/O until it is initialized or used.

        Args:
            provider_type: The kind of provider.
            config: Config of the class that the driver wants.
            driver: The driver's name; None takes the type's default.

        Raises:
            ProviderNotFoundError: Unknown type or driver.
            ConfigurationError: The driver can't be loaded, none is the default, or `config` does not fit.
        """
        return cls.get_driver(provider_type, driver)(config)

    @classmethod
    def get_available_providers(cls) -> dict[ProviderType, str]:
        """Return, per type that has drivers, the name of the class that is used by default.

        Where several drivers are known and none is the default, all their names, joined by commas.
        """
        available = {}
        drivers = cls.get_drivers()
        for kind in ProviderType:
            if kind in cls._providers:
                available[kind] = cls._providers[kind].__name__
            elif targets := sorted({info.target for info in drivers if info.type is kind}):
                available[kind] = ", ".join(
                    re.split("[:.]", target.split("[")[0].strip())[-1] for target in targets
                )
        return available

    @classmethod
    def get_driver_names(cls, provider_type: ProviderType | str) -> list[str]:
        """Return the names of the drivers of a type, sorted, without loading any.

        Raises:
            ProviderNotFoundError: There is no such type.
        """
        kind = cls._type(provider_type)
        registered = {name for found, name in cls._drivers if found is kind}
        installed = {str(plugin.info.driver) for plugin in cls._installed() if plugin.info.type is kind}
        return sorted(registered | installed)

    @classmethod
    def get_driver(
        cls, provider_type: ProviderType | str, driver: str | None = None
    ) -> type[BaseProvider[Any]]:
        """Return the class of a driver, importing its module where it comes from an entry point.

        Raises:
            ProviderNotFoundError: Unknown type or driver; names near matches and those there are.
            ConfigurationError: The driver can't be loaded, two distributions offer it, or no driver
                was named and the type has no default one.
        """
        kind = cls._type(provider_type)
        names = cls.get_driver_names(kind)
        if driver is None:
            if kind in cls._providers:
                return cls._providers[kind]
            if len(names) > 1:
                raise ConfigurationError(
                    f"Provider type {kind} has no default driver; choose one of: {', '.join(names)}"
                )
            if not names:
                raise ProviderNotFoundError(
                    f"Unknown provider type: {kind} has no driver, neither registered nor installed"
                )
            driver = names[0]
        registered = cls._drivers.get((kind, driver))
        if registered is not None:
            return registered
        plugins = [plugin for plugin in cls._installed() if plugin.info.name == (kind, driver)]
        if not plugins:
            raise ProviderNotFoundError(
                f"Unknown provider driver: {_label(kind, driver)}; "
                f"available: {', '.join(names) or 'none'}{did_you_mean(driver, names)}"
            )
        if len(plugins) > 1:
            raise ConfigurationError(_conflict(plugins))
        return plugins[0].load()

    @classmethod
    def get_drivers(cls, *, load: bool = False) -> list[DriverInfo]:
        """Return all drivers, sorted by type and name; entry points behind a registered name are left out.

        Args:
            load: Also import each driver, to find out which can't be loaded. Nothing is raised for
                those; their `DriverInfo.error` says why.
        """
        found = [
            DriverInfo(kind, driver, "registered", f"{provider.__module__}:{provider.__qualname__}")
            for (kind, driver), provider in [
                *(((kind, None), provider) for kind, provider in cls._providers.items()),
                *cls._drivers.items(),
            ]
        ]
        plugins = [plugin for plugin in cls._installed() if plugin.info.name not in cls._drivers]
        for plugin in plugins:
            info = plugin.info
            rivals = [other for other in plugins if info.type is not None and other.info.name == info.name]
            if len(rivals) > 1:
                info = replace(info, error=_conflict(rivals))
            elif load and info.error is None:
                info = replace(info, error=plugin.why_not())
            found.append(info)
        return sorted(found, key=lambda info: (info.type or "~", info.driver or "", info.source))

    @classmethod
    def refresh(cls) -> None:
        """Forget which entry points were found, so that what was installed since is seen."""
        importlib.invalidate_caches()
        ProviderFactory._plugins = None

    @classmethod
    def _installed(cls) -> tuple[_Plugin, ...]:
        plugins = ProviderFactory._plugins
        if plugins is None:
            plugins = ProviderFactory._plugins = tuple(_scan())
        return plugins

    @staticmethod
    def _type(provider_type: ProviderType | str) -> ProviderType:
        try:
            return ProviderType(provider_type)
        except ValueError:
            pass
        raise ProviderNotFoundError(
            f"Unknown provider type: {provider_type}; "
            f"available: {', '.join(ProviderType)}{did_you_mean(str(provider_type), ProviderType)}"
        )


@dataclass(frozen=True, slots=True)
class _Plugin:
    """What one distribution offers under one name; None for the entry where it could not be read."""

    entry: EntryPoint | None
    info: DriverInfo

    def load(self) -> type[BaseProvider[Any]]:
        entry, kind = self.entry, self.info.type
        cause: BaseException | None = None
        if entry is None or kind is None:
            why = self.info.error
        else:
            try:
                found = entry.load()
            except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's module may raise anything
                why, cause = _one_line(error), error
                if isinstance(error, ImportError) and entry.extras and entry.dist is not None:
                    why += f"; pip install '{entry.dist.name}[{','.join(entry.extras)}]'"
            else:
                why = _flaw(found, kind)
                if why is None:
                    return found  # type: ignore[no-any-return]  # `_flaw` made sure
        name = entry.name if entry else DRIVER_GROUP
        message = f"Driver {name} can't be loaded from {self.info.target} of {self.info.source}: {why}"
        raise ConfigurationError(message) from cause

    def why_not(self) -> str | None:
        """Try to load it, and return what went wrong, if anything did."""
        try:
            self.load()
        except ConfigurationError as error:
            return error.message
        return None


def _scan() -> Iterator[_Plugin]:
    try:
        found = list(entry_points(group=DRIVER_GROUP))
    except Exception:  # noqa: BLE001 - one unreadable entry_points.txt fails them all, so look at each alone
        yield from _scan_one_by_one()
        return
    yield from map(_plugin, found)


def _scan_one_by_one() -> Iterator[_Plugin]:
    seen = set()
    for distribution in distributions():
        source = _source(distribution)
        # Like `entry_points`: of two copies of a distribution the first on the path counts.
        name = source.partition(" ")[0].lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = list(distribution.entry_points.select(group=DRIVER_GROUP))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it is reported as its error
            why = f"its entry points can't be read: {_one_line(error)}"
            yield _Plugin(None, DriverInfo(None, None, source, "entry_points.txt", why))
        else:
            yield from map(_plugin, found)


def _plugin(entry: EntryPoint) -> _Plugin:
    source = _source(entry.dist)
    kind, _, driver = entry.name.partition(".")
    if kind not in set(ProviderType) or not driver:
        why = f"an entry point's name should be <type>.<driver>, with a type of {', '.join(ProviderType)}"
        return _Plugin(entry, DriverInfo(None, entry.name, source, entry.value, why))
    return _Plugin(entry, DriverInfo(ProviderType(kind), driver, source, entry.value))


def _source(distribution: Distribution | None) -> str:
    try:
        return (
            f"{distribution.name} {distribution.version}"
            if distribution is not None
            else "an unknown distribution"
        )
    except Exception:  # noqa: BLE001 - damaged metadata raise all sorts of errors
        return "a distribution with damaged metadata"


def _conflict(plugins: Sequence[_Plugin]) -> str:
    offers = sorted(f"{plugin.info.source} ({plugin.info.target})" for plugin in plugins)
    kind, driver = plugins[0].info.name
    return (
        f"Driver {kind}.{driver} is offered by {' and by '.join(offers)}; uninstall one, or register a class"
    )


def _label(kind: ProviderType, driver: str | None) -> str:
    return f"{kind}.{driver}" if driver else f"default of {kind}"


def _flaw(found: Any, kind: ProviderType) -> str | None:
    """Say why `found` can't serve as a driver of `kind`; None where it can."""
    if not isinstance(found, type) or not issubclass(found, BaseProvider):
        name = f"{found.__module__}.{found.__qualname__}" if isinstance(found, type) else type(found).__name__
        what = f"the class {name}" if isinstance(found, type) else f"an object of type {name}"
        return f"should be a subclass of BaseProvider, not {what}"
    if inspect.isabstract(found):
        return f"{found.__qualname__} is abstract, it lacks: {', '.join(sorted(found.__abstractmethods__))}"
    if found.provider_type not in {None, kind}:
        return f"{found.__qualname__} is a provider of type {found.provider_type}"
    return None


def _one_line(error: BaseException) -> str:
    text = Redactor().text(" ".join(f"{type(error).__name__}: {error}".split()))
    return text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]}…"
