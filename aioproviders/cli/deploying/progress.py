"""A rollout while it goes on: a line a step, or on a terminal a line an instance, redrawn."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from aioproviders.cli.deploying.report import instance_table
from aioproviders.cli.deploying.signals import Signals
from aioproviders.cli.output import console_for, deployment_style, one_line, write
from aioproviders.deployment import DeploymentProvider, DeploymentResult, Instance, Replicas, RolloutEvent
from aioproviders.errors import ProviderError
from aioproviders.redaction import Redactor

if TYPE_CHECKING:
    from rich.console import Console, Group, RenderableType

__all__ = ["shown_rollout"]

_CLOSING_MS = 1_000
"""How long the last steps may take to be told after the result has come."""
_LOOK_EVERY = 0.5
"""Seconds from one look at the instances to the next, where there are no steps."""
_GONE = {"phase": "stopped", "ready": False, "reason": None}


class _View(Protocol):
    def tell(self, event: RolloutEvent) -> None:
        """Show a step."""

    def note(self, text: str) -> None:
        """Show a line of the command's own."""

    def begin(self, instances: Iterable[Instance]) -> None:
        """Take in the instances that there are already."""


async def shown_rollout(
    provider: DeploymentProvider[Any],
    change: Callable[[], Awaitable[DeploymentResult]],
    signals: Signals,
    redactor: Redactor,
    *,
    json: bool,
) -> DeploymentResult | None:
    """Make a change while its progress is shown; None where a signal has cancelled it.

    Args:
        provider: Whose change it is.
        change: Makes it.
        signals: What cancels it; what becomes of the rollout then is up to the config, and told.
        redactor: Masks secrets.
        json: Whether nothing is shown; the command prints a document in the end.
    """
    if json:
        return await _interruptible(provider, change, signals, _Plain(redactor, silent=True))
    console = console_for(sys.stdout)
    if not console.is_terminal:
        return await _followed(provider, change, signals, _Plain(redactor))
    from rich.live import Live  # noqa: PLC0415 - loaded only where something is drawn

    view = _Board(console, redactor)
    # Redrawn when there is news, by no thread.
    with Live(view.draw(), console=console, auto_refresh=False, transient=True) as live:
        view.redraw = lambda: live.update(view.draw(), refresh=True)
        return await _followed(provider, change, signals, view)


async def _followed(
    provider: DeploymentProvider[Any],
    change: Callable[[], Awaitable[DeploymentResult]],
    signals: Signals,
    view: _View,
) -> DeploymentResult | None:
    instances = _Instances(provider, view)

    async def follow() -> None:
        # A driver that can't tell, or a connection that was lost: the result says how it went.
        with suppress(ProviderError):
            async with aclosing(provider.watch_rollout(wait=True)) as events:
                async for event in events:
                    view.tell(event)
                    instances.notice(event)
        instances.ended.set()

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(follow)
        task_group.start_soon(instances.keep_looking)
        result = await _interruptible(provider, change, signals, view)
        if instances.latest is not None:
            with anyio.move_on_after(_CLOSING_MS / 1000):
                await instances.ended.wait()
                await instances.look()
        task_group.cancel_scope.cancel()
    return result


async def _interruptible(
    provider: DeploymentProvider[Any],
    change: Callable[[], Awaitable[DeploymentResult]],
    signals: Signals,
    view: _View,
) -> DeploymentResult | None:
    result: DeploymentResult | None = None
    with anyio.CancelScope() as scope:

        def interrupt() -> None:
            if scope.cancel_called:
                view.note(f"still at it: {_CONSEQUENCES[provider.config.on_cancel]}")
                return
            view.note(f"{signals.word}: {_CONSEQUENCES[provider.config.on_cancel]}")
            scope.cancel()

        with signals.calling(interrupt):
            result = await change()
    return result


_CONSEQUENCES = {
    "rollback": "rolling back…",
    "leave": "the rollout goes on by itself",
    "pause": "pausing the rollout; the next deploy goes on from there",
}


class _Instances:
    """Tells of instances where the driver's events don't: by looking at them after a step, and now and then.

    Attributes:
        latest: The latest step.
        ended: Is set after the last one.

    Args:
        provider: Whose they are.
        view: Is told.
    """

    def __init__(self, provider: DeploymentProvider[Any], view: _View) -> None:
        self.latest: RolloutEvent | None = None
        self.ended = anyio.Event()
        self._provider, self._view = provider, view
        self._known: dict[str, Instance] | None = None
        self._told_by_driver = False
        self._news = anyio.Event()
        self._looking = anyio.Lock()

    def notice(self, event: RolloutEvent) -> None:
        """Take a step in."""
        self.latest = event
        self._told_by_driver = self._told_by_driver or event.kind == "instance"
        self._news.set()
        self._news = anyio.Event()

    async def keep_looking(self) -> None:
        """Look after each step and every now and then, until cancelled."""
        while True:
            news = self._news
            await self.look()
            with anyio.move_on_after(_LOOK_EVERY):
                await news.wait()

    async def look(self) -> None:
        """Tell what has changed about them."""
        event = self.latest
        if event is None or self._told_by_driver:
            return
        async with self._looking:
            with suppress(ProviderError):
                state = await self._provider.get_status()
                self._compare(
                    event, [each for each in state.get("instances") or () if isinstance(each, Instance)]
                )

    def _compare(self, event: RolloutEvent, instances: Sequence[Instance]) -> None:
        now = {each.name: each for each in instances}
        if self._known is None:
            # The old ones are no news.
            self._known = {name: each for name, each in now.items() if each.version != event.version}
            self._view.begin(self._known.values())
        gone = [each.model_copy(update=_GONE) for name, each in self._known.items() if name not in now]
        changed = [each for name, each in now.items() if _said(self._known.get(name)) != _said(each)]
        for each in (*gone, *changed):
            told = {"kind": "instance", "message": f"{each.name} is {_said(each)}", "instance": each}
            self._view.tell(event.model_copy(update=told))
        self._known = now


def _said(instance: Instance | None) -> str:
    if instance is None:
        return ""
    version = f" ({instance.version})" if instance.version else ""
    reason = f": {instance.reason}" if instance.reason else ""
    return f"{instance.phase}{version}{reason}"


class _Plain:
    """A line a step.

    Args:
        redactor: Masks secrets.
        silent: Whether only to tell, on standard error, what a signal does.
    """

    def __init__(self, redactor: Redactor, *, silent: bool = False) -> None:
        self._redactor = redactor
        self._silent = silent

    def tell(self, event: RolloutEvent) -> None:
        if self._silent:
            return
        write(f"{event_line(event, self._redactor)}\n")

    def begin(self, instances: Iterable[Instance]) -> None:
        """They are no news."""

    def note(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def event_line(event: RolloutEvent, redactor: Redactor) -> str:
    """Return a step as one line."""
    told = event.message
    if event.kind == "instance" and event.instance is not None and event.instance.name not in told:
        told = f"{event.instance.name}: {told}"
    if event.kind == "progress" and event.replicas != Replicas() and str(event.replicas) not in told:
        told = f"{told} ({event.replicas})"
    return one_line(redactor.text(told))


class _Board:
    """A line an instance, the counts, and the last step.

    Attributes:
        redraw: Puts it on the terminal.

    Args:
        console: Where it is drawn; it is made to fit.
        redactor: Masks secrets.
    """

    def __init__(self, console: Console, redactor: Redactor) -> None:
        self.redraw: Callable[[], None] = lambda: None
        self._console = console
        self._redactor = redactor
        self._instances: dict[str, Instance] = {}
        self._latest: RolloutEvent | None = None
        self._replicas = Replicas()
        self._note = ""

    def tell(self, event: RolloutEvent) -> None:
        self._latest = event
        if event.replicas != Replicas():
            self._replicas = event.replicas
        if event.instance is not None:
            if event.instance.phase == _GONE["phase"]:
                self._instances.pop(event.instance.name, None)
            else:
                self._instances[event.instance.name] = event.instance
        self.redraw()

    def begin(self, instances: Iterable[Instance]) -> None:
        self._instances = {each.name: each for each in instances}
        self.redraw()

    def note(self, text: str) -> None:
        self._note = text
        self.redraw()

    def draw(self) -> Group:
        from rich.console import Group  # noqa: PLC0415 - loaded only where something is drawn
        from rich.text import Text  # noqa: PLC0415 - likewise

        # Without room for all, the newest.
        room = max(self._console.height - 6, 1)
        shown = list(self._instances.values())[-room:]
        rows = instance_table(shown, self._redactor)
        for column in rows.columns:
            column.no_wrap, column.overflow = True, "ellipsis"
        below = Text("waiting for the first step …", style="dim")
        if self._latest is not None:
            counts, told = str(self._replicas), event_line(self._latest, self._redactor)
            below = Text.assemble(
                (str(self._latest.status), deployment_style(self._latest.status)), f": {counts}"
            )
            if told != counts:
                below.append(f"; {told}")
        below.no_wrap, below.overflow = True, "ellipsis"
        parts: list[RenderableType] = [rows, ""] if shown else []
        parts.append(below)
        if self._note:
            parts.append(Text(self._note, style="yellow"))
        return Group(*parts)
