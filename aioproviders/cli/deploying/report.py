"""What the commands for deployments draw: results, diagnoses, changes, states, histories."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from aioproviders.cli.output import deployment_style, milliseconds, one_line, show, show_line, table, write
from aioproviders.deployment import (
    Change,
    DeploymentResult,
    DeploymentStatus,
    Diagnosis,
    Instance,
    Release,
    Replicas,
)
from aioproviders.redaction import Redactor

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

__all__ = [
    "NOT_WELL",
    "clean",
    "instance_table",
    "result_line",
    "show_changes",
    "show_diagnosis",
    "show_history",
    "show_result",
    "state_view",
]

NOT_WELL = {DeploymentStatus.FAILED, DeploymentStatus.NOT_FOUND, DeploymentStatus.UNKNOWN}
"""Statuses that a caller should know by the exit code."""

_CHANGE_STYLES = {"added": "green", "removed": "red", "changed": "yellow", "kept": "dim"}
_LABEL_WIDTH = 12
_ESCAPES = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")


def clean(text: str) -> str:
    """Return a line of an application's output, indented as it is, so that it does nothing to a terminal."""
    text = _ESCAPES.sub("", text).rstrip().expandtabs()
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


def result_line(name: str, result: DeploymentResult) -> str:
    """Return what came of it, in one line."""
    metadata = result.metadata
    message = result.message or ""
    # What the message says need not be said again.
    facts = []
    if metadata.get("version") and f"version {metadata['version']}" not in message:
        facts.append(f"version {metadata['version']}")
    if metadata.get("revision") is not None:
        facts.append(f"revision {metadata['revision']}")
    replicas = metadata.get("replicas")
    if isinstance(replicas, Replicas) and str(replicas) not in message:
        facts.append(f"{replicas.available} of {replicas.desired} available")
    if metadata.get("duration_ms") is not None:
        facts.append(f"in {milliseconds(metadata['duration_ms'])}")
    told = f": {message}" if message else ""
    return f"{name}: {result.status}{told}" + (f" ({', '.join(facts)})" if facts else "")


def show_result(name: str, result: DeploymentResult, redactor: Redactor) -> None:
    """Show a success: one line, and of a dry run what it would change."""
    changes = result.metadata.get("changes")
    if changes is not None:
        show_changes(name, changes, redactor)
    from rich.text import Text  # noqa: PLC0415 - loaded only where something is drawn

    line = one_line(redactor.text(result_line(name, result)))
    start = len(name) + 2
    text = Text(line)
    text.stylize(deployment_style(result.status), start, start + len(str(result.status)))
    show_line(text)


def show_diagnosis(diagnosis: Diagnosis, redactor: Redactor) -> None:
    """Show why a rollout failed, a part a paragraph."""
    where = diagnosis.instance or ""
    if diagnosis.container:
        where += f", container {diagnosis.container}"
    code = "" if diagnosis.exit_code is None else str(diagnosis.exit_code)
    parts: list[tuple[str, Sequence[str]]] = [
        ("instance", [where] if where else []),
        ("reason", [": ".join(filter(None, (diagnosis.reason, diagnosis.message)))]),
        ("exit code", [code] if code else []),
        ("events", diagnosis.events),
        ("last lines", diagnosis.logs),
        ("suggestion", [diagnosis.suggestion] if diagnosis.suggestion else []),
    ]
    lines: list[RenderableType] = [""]
    for label, texts in parts:
        lines += _labelled(label, [clean(redactor.text(text)) for text in texts])
    show(*lines, "")


def _labelled(label: str, texts: Iterable[str]) -> list[RenderableType]:
    from rich.table import Table  # noqa: PLC0415 - loaded only where something is drawn
    from rich.text import Text  # noqa: PLC0415 - likewise

    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=_LABEL_WIDTH, no_wrap=True)
    grid.add_column(overflow="fold")
    for index, text in enumerate(texts):
        grid.add_row(Text(f"  {label}" if index == 0 else "", style="dim"), Text(text))
    return [grid] if grid.row_count else []


def show_changes(name: str, changes: Sequence[Change], redactor: Redactor) -> None:
    """Show what a deploy would change, a line each."""
    from rich.text import Text  # noqa: PLC0415 - loaded only where something is drawn

    if all(change.action == "kept" for change in changes):
        write(f"{name}: no changes\n")
    for change in changes:
        show_line(Text(one_line(redactor.text(str(change))), style=_CHANGE_STYLES[change.action]))


def state_view(name: str, state: Mapping[str, Any], redactor: Redactor) -> list[RenderableType]:
    """Draw what `get_status` says; any driver's, so nothing needs to be in it."""
    from rich.text import Text  # noqa: PLC0415 - loaded only where something is drawn

    status = str(state.get("status", DeploymentStatus.UNKNOWN))
    facts = [f"{key} {state[key]}" for key in ("version", "revision") if state.get(key) is not None]
    message = state.get("message")
    head = Text.assemble((name, "bold"), ": ", (status, deployment_style(status)))
    if facts:
        head.append(f", {', '.join(facts)}")
    if message:
        head.append(f": {one_line(redactor.text(str(message)))}")
    drawn: list[RenderableType] = [head]
    if state.get("replicas") is not None:
        drawn += _labelled("replicas", [one_line(str(state["replicas"]))])
    for key in ("endpoints", "images"):
        if state.get(key):
            drawn += _labelled(key, [one_line(str(item)) for item in state[key]])
    instances = [item for item in state.get("instances") or () if isinstance(item, Instance)]
    if instances:
        drawn += ["", instance_table(instances, redactor)]
    return drawn


def instance_table(instances: Sequence[Instance], redactor: Redactor) -> Table:
    """Draw instances, a row each."""
    from rich.text import Text  # noqa: PLC0415 - loaded only where something is drawn

    # Where nothing is wrong, names need the room more.
    why = ("REASON",) if any(each.reason for each in instances) else ()
    rows = table("INSTANCE", "VERSION", "PHASE", "READY", "RESTARTS", "WHERE", *why, right=("RESTARTS",))
    rows.columns[0].no_wrap = True
    for each in instances:
        where = each.address or ("" if each.pid is None else f"pid {each.pid}")
        cells = (
            one_line(each.name),
            one_line(each.version or ""),
            one_line(each.phase),
            Text("yes" if each.ready else "no", style="green" if each.ready else "yellow"),
            str(each.restarts),
            one_line(where),
            one_line(redactor.text(each.reason or "")),
        )
        rows.add_row(*cells[: len(rows.columns)])
    return rows


def show_history(releases: Sequence[Release], redactor: Redactor) -> None:
    """Show releases, a row each, newest first; ``*`` marks the current one."""
    from rich.text import Text  # noqa: PLC0415 - loaded only where something is drawn

    rows = table("REVISION", "VERSION", "STATUS", "CREATED", "CAUSE", right=("REVISION",), wide="CAUSE")
    for column in rows.columns[:-1]:
        column.no_wrap = True
    for each in releases:
        rows.add_row(
            f"{'* ' if each.current else ''}{each.revision}",
            one_line(each.version),
            Text(str(each.status), style=deployment_style(each.status)),
            _when(each.created_at),
            one_line(redactor.text(each.change_cause or "")),
        )
    show(rows)


def _when(at: datetime | None) -> str:
    return "" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M}"
