"""Finding, importing and checking the Python package that an SDK provider wraps. All of it blocks.

A package in a folder of its own (``install_path``) is imported from there without a change of
``sys.path``: finders on ``sys.meta_path`` look into that folder, and only for code that runs within
`searching`, so that what the package imports later, in its provider's calls, is found too. The rest
of the application does not see the folder. A process has one module of each name, though: the same
package from two places can't be had, and is refused.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, distributions
from pathlib import Path
from types import ModuleType
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from aioproviders.errors import ConfigurationError

__all__ = [
    "NoSuchNameError",
    "check_version",
    "find_attribute",
    "import_package",
    "searching",
    "specifier_of",
    "version_of",
]

_search: ContextVar[tuple[str, Path] | None] = ContextVar("aioproviders_install_path", default=None)
_served: set[Path] = set()
"""Folders that packages were imported from."""


class NoSuchNameError(LookupError):
    """A package or client has no such public name; the message is for the user."""


def specifier_of(version: str) -> SpecifierSet:
    """Read which versions are wanted: a PEP 440 specifier; a bare version is exactly that, ``*`` is any.

    Raises:
        ValueError: It is none of these.
    """
    text = version.strip()
    if text == "*":
        return SpecifierSet()
    try:
        return SpecifierSet(f"=={Version(text)}")
    except InvalidVersion:
        pass
    try:
        return SpecifierSet(text)
    except InvalidSpecifier:
        raise ValueError(
            f"should be a version ('2.1.0', exactly that), a PEP 440 specifier ('>=2.1,<3') or '*', "
            f"not {version!r}"
        ) from None


@contextmanager
def searching(package: str, folder: Path | None) -> Iterator[None]:
    """Let imports inside find `package`, and what is installed beside it, in `folder`."""
    if folder is None:
        yield
        return
    _install_finders()
    token = _search.set((_top(package), folder))
    try:
        yield
    finally:
        _search.reset(token)


def import_package(package: str, folder: Path | None, install: str) -> ModuleType:
    """Import `package`; inside `searching`.

    Args:
        package: Name of the module.
        folder: Where it should come from; None for the interpreter's own path.
        install: The requirement to install, for the message where it is missing.

    Raises:
        ConfigurationError: It is missing, fails to import, or is there already from elsewhere.
    """
    if folder is not None:
        if not folder.is_dir():
            raise ConfigurationError(f"install_path: there is no folder {folder}")
        # A folder filled a moment ago may look unchanged.
        importlib.invalidate_caches()
    problem: str
    cause: Exception
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError as exc:
        cause = exc
        if exc.name is not None and (package == exc.name or package.startswith(f"{exc.name}.")):
            target = f" --target {folder}" if folder else ""
            problem = f"the package {package} is not installed; run: pip install{target} '{install}'"
        else:
            problem = f"importing {package} failed: {exc}"
    except Exception as exc:  # noqa: BLE001 - a package may raise anything while it is imported
        cause = exc
        problem = f"importing {package} failed: {type(exc).__name__}: {exc}"
    else:
        _refuse_other_copy(_top(package), folder)
        return module
    raise ConfigurationError(problem) from cause


def version_of(package: str, module: ModuleType, folder: Path | None, distribution: str | None) -> str | None:
    """Find the version of the distribution that `package` is from, else its ``__version__``, else None.

    Args:
        package: Name of the module.
        module: The module.
        folder: Where it was imported from; None for the interpreter's own path.
        distribution: The distribution's name, where it is known.
    """
    found = _distribution(package, folder, distribution)
    if found is not None:
        return found.version
    top = sys.modules.get(_top(package), module)
    version = getattr(module, "__version__", None) or getattr(top, "__version__", None)
    return str(version) if version is not None else None


def check_version(package: str, found: str | None, wanted: str) -> None:
    """Compare the version found with the one the config wants; prereleases that are there count.

    Raises:
        ConfigurationError: They don't match, or that can't be told.
    """
    specifier = specifier_of(wanted)
    if not len(specifier):
        return
    if found is None:
        raise ConfigurationError(
            f"version: {package} does not tell its version, so {wanted} can't be checked; '*' takes any"
        )
    try:
        fits = specifier.contains(Version(found), prereleases=True)
    except InvalidVersion:
        fits = False
    if not fits:
        raise ConfigurationError(f"version: {package} is installed as {found}, and the config wants {wanted}")


def find_attribute(owner: Any, path: str, what: str, *, module: bool = False) -> Any:
    """Return what the dotted name `path` means in `owner`.

    Args:
        owner: Where to begin.
        path: Names with dots between; none may begin with an underscore.
        what: What `owner` is, for messages.
        module: Whether `owner` is a package, whose submodules are imported where needed.

    Raises:
        NoSuchNameError: There is none, or it is private.
    """
    found = owner
    for name in path.split("."):
        if not name.isidentifier() or name.startswith("_"):
            raise NoSuchNameError(f"{path!r} should be a public name, such as 'orders.create'")
        try:
            found = getattr(found, name)
        except AttributeError:
            inner = _submodule(found, name) if module else None
            if inner is None:
                near = difflib.get_close_matches(name, [one for one in dir(found) if one[0] != "_"], n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise NoSuchNameError(f"{what} has no {path!r}{hint}") from None
            found = inner
    return found


def _submodule(found: Any, name: str) -> ModuleType | None:
    if not isinstance(found, ModuleType):
        return None
    full = f"{found.__name__}.{name}"
    try:
        return importlib.import_module(full)
    except ModuleNotFoundError as exc:
        if exc.name == full or not hasattr(found, "__path__"):
            return None
        raise


def _top(package: str) -> str:
    return package.partition(".")[0]


def _refuse_other_copy(top: str, wanted: Path | None) -> None:
    here = _home(sys.modules[top])
    if wanted is not None and wanted.resolve() not in here:
        place = ", ".join(map(str, here)) or "the interpreter itself"
        raise ConfigurationError(
            f"install_path: {top} should come from {wanted}, but this process has it from {place} already"
        )
    if wanted is None and here and all(place in _served for place in here):
        on_path = {Path(entry or ".").resolve() for entry in sys.path}
        if not on_path.intersection(here):
            raise ConfigurationError(
                f"package_name: this process has {top} from {here[0]}, the install_path of another provider"
            )


def _home(module: ModuleType) -> list[Path]:
    """Return the folders that a top-level module lies in."""
    places = list(getattr(module, "__path__", ())) or [getattr(module, "__file__", None)]
    return [Path(place).resolve().parent for place in places if place]


def _distribution(package: str, folder: Path | None, name: str | None) -> Distribution | None:
    everywhere = sys.path if folder is None else [str(folder)]
    if name is not None:
        return next(iter(distributions(name=name, path=list(everywhere))), None)
    top = _top(package)
    # Beside the module, as a rule; of one that is installed in editable mode, elsewhere.
    beside = [str(place) for place in _home(sys.modules[top])] if top in sys.modules else []
    for path in (beside, list(everywhere)):
        # Most are called like their package; of the others all must be looked through.
        same_name = [one for one in distributions(name=top, path=path) if _provides(one, top)]
        found = same_name or [one for one in distributions(path=path) if _provides(one, top)]
        if found:
            # Several share a namespace package: the one that has this very module wins.
            inside = package.replace(".", "/")
            return next((one for one in found if _has(one, inside)), found[0])
    return None


def _provides(distribution: Distribution, top: str) -> bool:
    return _has(distribution, top) or top in (distribution.read_text("top_level.txt") or "").split()


def _has(distribution: Distribution, inside: str) -> bool:
    # Searched as text: parsing the records of all that is installed takes half a second.
    record = f"\n{distribution.read_text('RECORD') or ''}"
    return f"\n{inside}/" in record or f"\n{inside}." in record


class _Finder(MetaPathFinder):
    """Finds top-level modules in the folder of the provider whose code is running.

    The provider's package itself is looked for before all else; what is installed beside it, only
    where the application has no such module.
    """

    def __init__(self, *, first: bool) -> None:
        self._first = first

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        search = _search.get()
        if search is None or path is not None:
            return None
        package, folder = search
        if self._first and fullname != package:
            return None
        spec = PathFinder.find_spec(fullname, [str(folder)], target)
        if spec is not None:
            _served.add(folder.resolve())
        return spec


_FIRST, _LAST = _Finder(first=True), _Finder(first=False)


def _install_finders() -> None:
    # They stay: a client may import something at any time, and outside of `searching` they find nothing.
    if _FIRST not in sys.meta_path:
        sys.meta_path.insert(0, _FIRST)
        sys.meta_path.append(_LAST)
