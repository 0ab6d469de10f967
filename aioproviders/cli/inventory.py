"""``list``, ``check`` and ``schema``: what there is, without calling anything."""

from __future__ import annotations

from typing import Any

from aioproviders.cli.boundary import OK, USAGE
from aioproviders.cli.options import DEFAULT_CONFIG, Source
from aioproviders.cli.output import complain, one_line, plural, print_document, show, table, write
from aioproviders.errors import ConfigurationError
from aioproviders.factory import DriverInfo, ProviderFactory
from aioproviders.loading import LoadedProviders, ProviderSpec, load_providers, providers_schema

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
    """Validate a file; print its warnings and problems, a line each."""
    problems: list[str] = []
    warnings: list[str] = []
    providers = 0
    try:
        loaded = load_providers(source.config, environment=source.env)
    except ConfigurationError as error:
        problems = str(error).splitlines()
    else:
        providers, warnings = len(loaded.specs), list(loaded.warnings)
        problems = [problem for spec in loaded.specs if (problem := _cannot_build(loaded, spec))]
    for warning in warnings:
        complain(warning, label="warning: ")
    for problem in problems:
        complain(problem)
    if json:
        print_document(
            {
                "file": source.config,
                "environment": source.env,
                "ok": not problems,
                "providers": providers,
                "problems": problems,
                "warnings": warnings,
            }
        )
    elif not problems:
        found = f"{plural(providers, 'provider')}" + (
            f", {plural(len(warnings), 'warning')}" if warnings else ""
        )
        write(f"{source.config}: ok, {found}\n")
    return USAGE if problems else OK


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
