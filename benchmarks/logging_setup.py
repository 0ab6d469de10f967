"""An application's structlog setup, for the time of a measurement."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from aioproviders import configure_logging

__all__ = ["logging_at_info"]


@contextmanager
def logging_at_info() -> Iterator[None]:
    """Log as JSON to nowhere: debug events are filtered out, warnings are rendered."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        configure_logging("json", "info", stream=nowhere)
        try:
            yield
        finally:
            structlog.reset_defaults()
