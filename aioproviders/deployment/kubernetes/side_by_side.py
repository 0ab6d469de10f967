"""Several requests at once, in one task group, failing with a plain error."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import anyio

__all__ = ["side_by_side"]


async def side_by_side(jobs: Iterable[Callable[[], Coroutine[Any, Any, Any]]]) -> None:
    """Run all jobs and wait for them; the first that fails ends the others.

    Raises:
        Exception: What it failed with, not in a group, so that callers can tell what it was.
    """
    try:
        async with anyio.create_task_group() as tasks:
            for job in jobs:
                tasks.start_soon(job)
    except ExceptionGroup as group:
        error: Exception = group
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        raise error from error.__cause__
