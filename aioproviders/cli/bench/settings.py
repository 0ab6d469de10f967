"""The options of ``bench``, checked and made numbers of."""

from __future__ import annotations

import math
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from aioproviders.cli.bench.load import Load
from aioproviders.cli.boundary import UsageError
from aioproviders.cli.options import LoadOptions

__all__ = ["Settings", "read_settings"]

_REQUESTS = 100
_CONCURRENCY = 10
_MOST_IN_FLIGHT = 1000
_MOST_TO_WARM_UP = 100
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_LONGEST = 1000 * _UNITS["h"]
_A_TIME = "a time in ms, s, m or h, above 0 and up to 1000h,"


@dataclass(frozen=True, slots=True)
class Settings:
    """What is to be done.

    Attributes:
        load: The requests to measure.
        warmup: Those to make before, without counting them; None for none.
    """

    load: Load
    warmup: Load | None


def read_settings(options: LoadOptions) -> Settings:
    """Check the options.

    Raises:
        UsageError: One is wrong.
    """
    rate = options.rate
    if rate is not None and not math.isfinite(rate):
        raise UsageError("--rate: should be a number of requests per second")
    concurrency = options.concurrency or (_CONCURRENCY if rate is None else _MOST_IN_FLIGHT)
    requests, seconds = options.requests, None
    if options.duration is not None:
        seconds = _seconds(options.duration)
        if not seconds:
            raise UsageError(f"--duration: should be {_A_TIME} such as 500ms, 30s, 1m30s or 2h")
    elif requests is None:
        requests = _REQUESTS
    if options.svg is not None:
        _check_can_write(options.svg)
    return Settings(
        Load(concurrency, requests, seconds, rate),
        _warmup(options.warmup, concurrency, rate, most=requests or _MOST_TO_WARM_UP),
    )


def _warmup(text: str | None, concurrency: int, rate: float | None, *, most: int) -> Load | None:
    if text is None:
        # So many open all connections; with a rate, a second's worth is to do.
        requests = min(concurrency, _MOST_TO_WARM_UP, most)
        if rate is not None:
            requests = min(requests, math.ceil(rate))
        return Load(concurrency, requests=requests, rate=rate)
    if re.fullmatch(r"\d{1,9}", text):
        return Load(concurrency, requests=int(text), rate=rate) if int(text) else None
    seconds = _seconds(text)
    if seconds is None:
        raise UsageError(f"--warmup: should be a number of requests or {_A_TIME} such as 5s")
    return Load(concurrency, seconds=seconds, rate=rate) if seconds else None


def _seconds(text: str) -> float | None:
    """Read ``90s``, ``1m30s``, ``1.5m`` and the like; None if it is nothing of this kind, or too long."""
    if not re.fullmatch(r"(\d{1,9}(\.\d{1,9})?(ms|s|m|h))+", text):
        return None
    seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ms|s|m|h)", text))
    return seconds if seconds <= _LONGEST else None


def _check_can_write(path: Path) -> None:
    # Before the run, whose results would be lost otherwise.
    if path.is_dir():
        raise UsageError(f"--svg: should name a file such as latency.svg, not the folder {path}")
    if not path.parent.is_dir():
        raise UsageError(f"--svg: {path.parent} is no folder")
    try:
        if path.exists():
            path.open("ab").close()
        else:
            # A file of its own that leaves no trace: permissions alone don't tell of a read-only disk.
            tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise UsageError(f"--svg: {path} can't be written: {error.strerror}") from None
