"""A rollout while it goes on: a line a step, or on a terminal a line an instance, redrawn."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Protocol

import anyio

from aioproviders.cli.deploying.report import instance_table
from aioproviders.cli.deploying.signals import Signals
from aioproviders.cli.output import complain, console_for, deployment_style, one_line, write
from aioproviders.deployment import DeploymentProvider, DeploymentResult, Instance, Replicas, RolloutEvent
from aioproviders.errors import ProviderError
from aioproviders.redaction import Redactor

if TYPE_CHECKING:
    from rich.console import Console, Group, RenderableType

__all__ = ["Novelty", "event_line", "shown_rollout"]

_CLOSING_MS = 1_000
"""How long the last steps may take to be told after the result has come."""
_REFUSED_WITHIN_MS = 500
"""How long it may take to be told that something else is under way."""
_GONE = "stopped"
"""What our drivers call the phase of an instance that is no more."""


class _View(Protocol):
    def tell(self, event: RolloutEvent) -> None:
        """Show a step."""

    def note(self, text: str) -> None:
        """Show a line of the command's own."""


async def shown_rollout(  # noqa: PLR0913 - a change, and all it is shown by
    provider: DeploymentProvider[Any],
    change: Callable[[], Awaitable[DeploymentResult]],
    signals: Signals,
    redactor: Redactor,
    *,
    consequence: str,
    json: bool,
) -> tuple[DeploymentResult | None, str]:
    """Make a change while its progress is shown.

    Args:
        provider: Whose change it is.
        change: Makes it.
        signals: What cancels it.
        redactor: Masks secrets.
        consequence: What becomes of the change then, to tell.
        json: Whether nothing is shown; the command prints a document in the end.

    Returns:
        The result, None where a signal has cancelled it; and then what became of the rollout, if it was told.
    """
    if json:
        return await _followed(provider, change, signals, _Plain(redactor, silent=True), consequence)
    console = console_for(sys.stdout)
    if not console.is_terminal:
        return await _followed(provider, change, signals, _Plain(redactor), consequence)
    from rich.live import Live  # noqa: PLC0415 - loaded only where something is drawn

    view = _Board(console, redactor)
    # Redrawn when there is news, by no thread.
    with Live(view.draw(), console=console, auto_refresh=False, transient=True) as live:
        view.redraw = lambda: live.update(view.draw(), refresh=True)
        outcome = await _followed(provider, change, signals, view, consequence)
    if outcome[0] is None:  # the drawing has gone, and no result will tell
        view.leave()
    return outcome


async def _followed(
    provider: DeploymentProvider[Any],
    change: Callable[[], Awaitable[DeploymentResult]],
    signals: Signals,
    view: _View,
    consequence: str,
) -> tuple[DeploymentResult | None, str]:
    begun, ended = anyio.Event(), anyio.Event()
    last: RolloutEvent | None = None
    steps = _OwnSteps(view)

    async def follow() -> None:
        nonlocal last
        # A driver that can't tell, or a connection that was lost: the result says how it went.
        with suppress(ProviderError):
            async with aclosing(provider.watch_rollout(wait=True)) as events:
                async for event in events:
                    begun.set()
                    if event.kind == "finished":
                        last = event
                    else:
                        steps.tell(event)
        ended.set()

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(follow)
        task_group.start_soon(steps.wait)
        result = await _interruptible(change, signals, view, consequence)
        if result is not None and not result.success:
            steps.refuse()
        if begun.is_set() and not steps.refused:
            with anyio.move_on_after(_CLOSING_MS / 1000):
                await ended.wait()
        steps.release()
        task_group.cancel_scope.cancel()
    if result is not None or last is None:
        return result, ""  # a result would say the same again
    view.tell(last)
    return None, last.message


async def _interruptible(
    change: Callable[[], Awaitable[DeploymentResult]], signals: Signals, view: _View, consequence: str
) -> DeploymentResult | None:
    result: DeploymentResult | None = None
    with anyio.CancelScope() as scope:

        def interrupt() -> None:
            if scope.cancel_called:
                view.note(f"still at it: {consequence}")
                return
            view.note(f"{signals.word}: {consequence}")
            scope.cancel()

        with signals.calling(interrupt):
            result = await change()
    return result


class _OwnSteps:
    """Tells the steps of the change that was asked for, and not those of another one that is under way.

    That one's come first, and this one is refused at once; what begins with "started" is our own.

    Attributes:
        refused: Whether the change was refused before any step of its own.
    """

    def __init__(self, view: _View) -> None:
        self._view = view
        self._held: list[RolloutEvent] | None = []
        self.refused = False

    def tell(self, event: RolloutEvent) -> None:
        if self._held is not None and event.kind != "started":
            self._held.append(event)
            return
        self.release()
        self._view.tell(event)

    async def wait(self) -> None:
        """Wait for as long as a refusal may take; what comes then is our own."""
        await anyio.sleep(_REFUSED_WITHIN_MS / 1000)
        self.release()

    def refuse(self) -> None:
        """Forget what is held, as the change has failed."""
        self.refused = self._held is not None
        if self._held is not None:
            self._held = []

    def release(self) -> None:
        """Tell what is held, and hold no more."""
        held, self._held = self._held or (), None
        for event in held:
            self._view.tell(event)


class _Plain:
    """A line a step.

    Args:
        redactor: Masks secrets.
        silent: Whether only to tell, on standard error, what a signal does.
    """

    def __init__(self, redactor: Redactor, *, silent: bool = False) -> None:
        self._redactor = redactor
        self._silent = silent
        self._is_news = Novelty()

    def tell(self, event: RolloutEvent) -> None:
        if self._silent or not self._is_news(event):
            return
        write(f"{event_line(event, self._redactor)}\n")

    def note(self, text: str) -> None:
        complain(text, label="")


class Novelty:
    """Tells apart what a person can see of an instance: a new process id alone is no news."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def __call__(self, event: RolloutEvent) -> bool:
        """Whether there is anything to tell."""
        if event.instance is None:
            return True
        before = self._told.get(event.instance.name)
        self._told[event.instance.name] = event.message
        return before != event.message


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
            if event.instance.phase == _GONE:
                self._instances.pop(event.instance.name, None)
            else:
                self._instances[event.instance.name] = event.instance
        self.redraw()

    def note(self, text: str) -> None:
        self._note = text
        self.redraw()

    def leave(self) -> None:
        """Tell in plain lines what was drawn last."""
        if self._note:
            complain(self._note, label="")
        if self._latest is not None:
            write(f"{event_line(self._latest, self._redactor)}\n")

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
