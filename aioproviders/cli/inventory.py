"""``list``, ``check`` and ``schema``: what there is, without calling anything."""

from __future__ import annotations

from typing import Any

from aioproviders.cli.boundary import OK, USAGE
from aioproviders.cli.options import DEFAULT_CONFIG, Source
from aioproviders.cli.output import complain, one_line, plural, print_document, show, table, write
from aioproviders.errors import ConfigurationError
from aioproviders.factory import DriverInfo, ProviderFactory
from aioproviders.loading import (
    LoadedProviders,
    ProviderSpec,
    environments_of,
    load_providers,
    providers_schema,
)

__all__ = ["check", "list_all", "schema"]


def list_all(source: Source, *, json: bool) -> int:
    """Print the providers of the file, if there is one, and the drivers."""
    asked_for = source.config != DEFAULT_CONFIG or source.env is not None
    loaded = (
        load_providers(source.config, environment=source.env) if asked_for or source.config.exists() else None
    )
    drivers = ProviderFactory.get_drivers(load=True)
    if json:
        print_document(
            {
                "file": None if loaded is None else loaded.path,
                "providers": [] if loaded is None else [_facts(spec) for spec in loaded.specs],
                "drivers": drivers,
            }
        )
        return OK
    _list_providers(source, loaded)
    working = [info for info in drivers if info.error is None]
    broken = [info for info in drivers if info.error is not None]
    rows = table("DRIVER", "FROM", wide="FROM")
    for info in working:
        rows.add_row(_driver_name(info), info.source)
    show(rows)
    if broken:
        rows = table("BROKEN DRIVER", "WHY", wide="WHY")
        # Each side of a clash says the same.
        for name, why in dict.fromkeys((_driver_name(info), one_line(info.error or "")) for info in broken):
            rows.add_row(name, why)
        show("", rows)
    return OK


def _list_providers(source: Source, loaded: LoadedProviders | None) -> None:
    if loaded is None:
        write(f"no providers: there is no {source.config} here; -c names another file\n\n")
        return
    rows = table("PROVIDER", "TYPE", "DRIVER", "VERSION", "TAGS", wide="TAGS")
    for spec in loaded.specs:
        facts = _facts(spec)
        tags = ", ".join(facts["tags"]) + ("" if facts["enabled"] else " (disabled)")
        rows.add_row(spec.name, spec.type, spec.driver or "(default)", facts["version"], tags.strip())
    show(rows, "")


def _facts(spec: ProviderSpec) -> dict[str, Any]:
    """Return what may be shown of a provider: nothing that could hold a secret."""
    config = spec.config
    return {
        "name": spec.name,
        "type": spec.type,
        "driver": spec.driver,
        "class": f"{spec.provider_class.__module__}:{spec.provider_class.__qualname__}",
        "version": config.version,
        "enabled": config.enabled,
        "tags": config.tags,
        "depends_on": config.depends_on,
    }


def _driver_name(info: DriverInfo) -> str:
    return ".".join(part for part in (info.type, info.driver or "(default)") if part)


def check(source: Source, *, json: bool) -> int:
    """Validate a file, with each of its environments or with that asked for; print a line a finding."""
    chosen = [source.env] if source.env is not None else [None, *environments_of(source.config)]
    problems: list[str] = []
    warnings: list[str] = []
    providers: set[str] = set()
    for environment in chosen:
        names, wrong, noted = _checked(source, environment)
        providers.update(names)
        for found, more in ((problems, wrong), (warnings, noted)):
            # What holds without the environment, too, is told once; else it is said where it holds.
            known = set(found)
            found += [_with(environment, line, source) for line in more if line not in known]
    for warning in warnings:
        complain(warning, label="warning: ")
    for problem in problems:
        complain(problem)
    environments = [name for name in chosen if name is not None]
    if json:
        print_document(
            {
                "file": source.config,
                "environment": source.env,
                "environments": environments,
                "ok": not problems,
                "providers": len(providers),
                "problems": problems,
                "warnings": warnings,
            }
        )
    elif not problems:
        found = [plural(len(providers), "provider")]
        if source.env is None and environments:
            found.append(plural(len(environments), "environment"))
        if warnings:
            found.append(plural(len(warnings), "warning"))
        write(f"{source.config}: ok, {', '.join(found)}\n")
    return USAGE if problems else OK


def _checked(source: Source, environment: str | None) -> tuple[list[str], list[str], list[str]]:
    """Return the names of the providers, what is wrong with them, and what they warn of."""
    try:
        loaded = load_providers(source.config, environment=environment)
    except ConfigurationError as error:
        return [], str(error).splitlines(), []
    wrong = [problem for spec in loaded.specs if (problem := _cannot_build(loaded, spec))]
    return [spec.name for spec in loaded.specs], wrong, list(loaded.warnings)


def _with(environment: str | None, line: str, source: Source) -> str:
    """Return `line` with the environment it holds in, unless that can be seen or was asked for."""
    if environment is None or source.env is not None or f": environments.{environment}." in line:
        return line
    return f"{line} (in the environment {environment})"


def _cannot_build(loaded: LoadedProviders, spec: ProviderSpec) -> str | None:
    # A driver's constructor may find what its config class can't.
    try:
        spec.build()
    except ConfigurationError as error:
        return f"{loaded.path}: providers.{spec.name}: {error.message}"
    return None


def schema() -> int:
    """Print the JSON Schema of providers files."""
    print_document(providers_schema())
    return OK
