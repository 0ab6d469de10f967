"""``status``, ``history`` and ``logs``."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import anyio

from aioproviders.cli.boundary import FAILED, OK
from aioproviders.cli.deploying.opening import Target, opened
from aioproviders.cli.deploying.prefixes import Prefixes
from aioproviders.cli.deploying.report import NOT_WELL, show_history, state_view
from aioproviders.cli.options import Source
from aioproviders.cli.output import console_for, print_document, show, write
from aioproviders.deployment import DeploymentStatus
from aioproviders.errors import ProviderError

if TYPE_CHECKING:
    from rich.console import Console, Group

__all__ = ["history", "logs", "status"]


def status(source: Source, name: str, *, watch: bool, interval: float, json: bool) -> int:
    """Tell where the deployment stands; `FAILED` where it has failed or is not there."""
    return anyio.run(_watch if watch else _status, source, name, json, interval)


async def _status(source: Source, name: str, json: bool, _: float) -> int:
    async with opened(source, name) as target:
        state = await target.provider.get_status()
    if json:
        print_document(target.redactor.value(state))
    else:
        show(*state_view(name, state, target.redactor))
    return FAILED if state.get("status") in NOT_WELL else OK


async def _watch(source: Source, name: str, json: bool, interval: float) -> int:
    console = console_for(sys.stdout)
    async with opened(source, name) as target:
        if console.is_terminal and not json:
            await _watch_live(target, interval, console)
        before: Mapping[str, Any] = {}
        async with aclosing(_states(target, interval)) as states:
            async for state in states:
                if state != before:
                    before = state
                    if json:
                        print_document(target.redactor.value(state), compact=True)
                    else:
                        show(*state_view(name, state, target.redactor), "")
    return OK


async def _states(target: Target, interval: float) -> AsyncGenerator[Mapping[str, Any], None]:
    """Yield what there is, again and again; of what can't be reached for a while, just that.

    Raises:
        ProviderError: It can't be reached from the beginning, or asking again would not help.
    """
    seen = False
    while True:
        try:
            state = await target.provider.get_status()
            seen = True
        except ProviderError as error:
            if not seen or not error.retryable:
                raise
            state = {"status": DeploymentStatus.UNKNOWN, "message": f"{error.message}; trying again"}
        yield state
        await anyio.sleep(interval)


async def _watch_live(target: Target, interval: float, console: Console) -> None:
    from rich.console import Group  # noqa: PLC0415 - loaded only where something is drawn
    from rich.live import Live  # noqa: PLC0415 - likewise
    from rich.text import Text  # noqa: PLC0415 - likewise

    hint = Text(f"every {interval:g} s, Ctrl-C ends", style="dim")

    def drawn(state: Mapping[str, Any]) -> Group:
        return Group(*state_view(target.name, state, target.redactor), "", hint)

    # Redrawn from here: no thread, and nothing that flickers.
    with Live(hint, console=console, auto_refresh=False) as live:
        async with aclosing(_states(target, interval)) as states:
            async for state in states:
                live.update(drawn(state), refresh=True)


def history(source: Source, name: str, *, json: bool) -> int:
    """List the releases that are kept."""
    return anyio.run(_history, source, name, json)


async def _history(source: Source, name: str, json: bool) -> int:
    async with opened(source, name) as target:
        releases = await target.provider.history()
    if json:
        print_document({"releases": target.redactor.value(list(releases))})
    elif releases:
        show_history(releases, target.redactor)
    else:
        write(f"{name}: nothing was deployed yet\n")
    return OK


def logs(  # noqa: PLR0913 - one argument an option
    source: Source, name: str, *, instance: str | None, lines: int, follow: bool, json: bool
) -> int:
    """Print what the instances have written, and with `follow` what they write."""
    return anyio.run(_logs, source, name, instance, lines, follow, json)


async def _logs(  # noqa: PLR0913, PLR0917 - likewise
    source: Source, name: str, instance: str | None, lines: int, follow: bool, json: bool
) -> int:
    prefixes = Prefixes()
    async with opened(source, name) as target:
        stream = target.provider.logs(instance=instance, lines=lines, follow=follow)
        async with aclosing(stream) as found:
            async for line in found:
                if json:
                    print_document(target.redactor.value(line), compact=True)
                else:
                    prefixes.write(line.instance, target.redactor.text(line.text))
    return OK
