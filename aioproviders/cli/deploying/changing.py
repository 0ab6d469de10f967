"""``deploy``, ``scale`` and ``rollback``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio

from aioproviders.cli.boundary import FAILED, OK, USAGE, UsageError
from aioproviders.cli.deploying.opening import (
    Overrides,
    Target,
    check_supervised,
    is_supervisor,
    opened,
)
from aioproviders.cli.deploying.progress import shown_rollout
from aioproviders.cli.deploying.report import (
    clean,
    result_line,
    show_changes,
    show_diagnosis,
    show_result,
)
from aioproviders.cli.deploying.signals import Signals, run_with_signals
from aioproviders.cli.options import Source
from aioproviders.cli.output import complain, one_line, print_document, write
from aioproviders.deployment import DeploymentProvider, DeploymentResult
from aioproviders.errors import ConfigurationError, ProviderError, UnsupportedCapabilityError

__all__ = ["deploy", "report_result", "rollback", "scale"]

_PATIENCE = 5.0
_CONSEQUENCES = {
    "rollback": "rolling back…",
    "leave": "the rollout goes on by itself",
    "pause": "pausing the rollout; the next deploy goes on from there",
}

Change = Callable[[DeploymentProvider[Any]], Awaitable[DeploymentResult]]


def deploy(  # noqa: PLR0913 - one argument an option
    source: Source, name: str, overrides: Overrides, *, dry_run: bool, diff: bool, json: bool
) -> int:
    """Deploy what the file says, but for `overrides`; or only tell what that would change."""
    if diff and not dry_run:
        return anyio.run(_diff, source, name, overrides, json)
    if dry_run:
        return anyio.run(_dry_run, source, name, overrides, json)

    def change(provider: DeploymentProvider[Any]) -> Awaitable[DeploymentResult]:
        return provider.deploy(provider.config)

    return anyio.run(run_with_signals, partial(_change, source, name, overrides, change, json))


def scale(source: Source, name: str, replicas: int, *, json: bool) -> int:
    """Change the number of instances."""

    def change(provider: DeploymentProvider[Any]) -> Awaitable[DeploymentResult]:
        return provider.scale(replicas)

    make = partial(_change, source, name, None, change, json, pauses=False)
    return anyio.run(run_with_signals, make)


def rollback(source: Source, name: str, version: str, *, json: bool) -> int:
    """Go back to an earlier release."""

    def change(provider: DeploymentProvider[Any]) -> Awaitable[DeploymentResult]:
        return provider.rollback(version)

    return anyio.run(run_with_signals, partial(_change, source, name, None, change, json))


async def _change(  # noqa: PLR0913, PLR0917 - likewise
    source: Source,
    name: str,
    overrides: Overrides | None,
    change: Change,
    json: bool,
    signals: Signals,
    *,
    pauses: bool = True,
) -> int:
    async with opened(source, name, overrides) as target:
        await check_supervised(target)
        asked = target.config.on_cancel
        if asked == "pause" and not pauses and not is_supervisor(type(target.provider)):
            asked = "leave"  # a cluster scales what is paused, too
        consequence = _CONSEQUENCES[asked]
        result, outcome = await shown_rollout(
            target.provider,
            partial(change, target.provider),
            signals,
            target.redactor,
            consequence=consequence,
            json=json,
        )
        if result is None:
            await _tell_what_is(target)
            if json:
                told = {"outcome": target.redactor.text(outcome)} if outcome else {}
                print_document({"error": signals.word, **told, "exit_code": signals.code}, compact=True)
            return signals.code
    return report_result(target, result, json=json)


def report_result(target: Target, result: DeploymentResult, *, json: bool, compact: bool = False) -> int:
    """Print what came of a change, as a document on one line if `compact`, and return the exit code."""
    name, redactor = target.name, target.redactor
    if json:
        print_document(redactor.value(result), compact=compact)
    elif result.success:
        show_result(name, result, redactor)
    elif result.diagnosis is not None:
        show_diagnosis(result.diagnosis, redactor)
    if result.success:
        return OK
    # What comes below the first line is to be used as it is, such as a Role.
    message, _, below = (result.message or "").partition("\n")
    complain(redactor.text(result_line(name, result.model_copy(update={"message": message}))))
    if below and not json and sys.stderr is not None:
        sys.stderr.write("".join(f"{clean(line)}\n" for line in redactor.text(below).splitlines()))
    refused = result.error_detail is not None and isinstance(result.error_detail.error, ConfigurationError)
    return USAGE if refused else FAILED


async def _tell_what_is(target: Target) -> None:
    """After an interruption, tell in one line where the deployment stands now."""
    with anyio.move_on_after(_PATIENCE):
        try:
            state = await target.provider.get_status()
        except ProviderError as error:
            complain(str(error))
            return
        version = "" if state.get("version") is None else f", version {state['version']}"
        message = f": {state['message']}" if state.get("message") else ""
        complain(
            target.redactor.text(f"{target.name}: {state.get('status', 'unknown')}{version}{message}"),
            label="",
        )


async def _diff(source: Source, name: str, overrides: Overrides, json: bool) -> int:
    async with opened(source, name, overrides) as target:
        try:
            changes = await target.provider.diff(target.config)
        except UnsupportedCapabilityError:
            driver = type(target.provider).__name__
            raise UsageError(f"--diff: {name!r} is a {driver}, which can't tell") from None
    if json:
        print_document({"changes": target.redactor.value(list(changes))})
    else:
        show_changes(name, changes, target.redactor)
    return OK


async def _dry_run(source: Source, name: str, overrides: Overrides, json: bool) -> int:
    async with opened(source, name, overrides) as target:
        parameters = inspect.signature(target.provider.deploy).parameters
        takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
        if "dry_run" not in parameters and not takes_any:
            driver = type(target.provider).__name__
            raise UsageError(f"--dry-run: {name!r} is a {driver}, which can't try a deploy out")
        # The interface promises it of our drivers only.
        tried: Any = target.provider.deploy
        result: DeploymentResult = await tried(target.config, dry_run=True)
    if result.success and not json:
        show_changes(name, result.metadata.get("changes", ()), target.redactor)
        told = result.message or str(result.status)
        told = told if told.startswith("dry run") else f"dry run: {told}"
        write(f"{one_line(target.redactor.text(f'{name}: {told}'))}\n")
        return OK
    return report_result(target, result, json=json)
