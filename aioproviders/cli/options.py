"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, Token
from cyclopts.validators import Number

__all__ = [
    "DEFAULT_CONFIG",
    "STANDARD_INPUT",
    "LoadOptions",
    "NotNegative",
    "Output",
    "PositiveFloat",
    "PositiveInt",
    "Request",
    "Settings",
    "Source",
]

# As in `cyclopts.types`, which makes dozens of others too: a tenth of the time that help takes.
PositiveFloat = Annotated[float, Parameter(validator=Number(gt=0))]


def _whole(_: Any, tokens: Sequence[Token]) -> int:
    """Read a whole number, and nothing that would have to be rounded to one."""
    if re.fullmatch(r"[+-]?[0-9]+", tokens[0].value) is None:
        raise ValueError(f"{tokens[0].value!r} should be a whole number")
    return int(tokens[0].value)


PositiveInt = Annotated[int, Parameter(converter=_whole, validator=Number(gt=0))]
NotNegative = Annotated[int, Parameter(converter=_whole, validator=Number(gte=0))]

DEFAULT_CONFIG = Path("providers.toml")
STANDARD_INPUT = "@-"
"""What DATA is for it, beside a lone ``-``."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Output:
    """How results are printed."""

    json: Annotated[bool, Parameter(negative="", show_default=False)] = False
    """Print JSON, for programs."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Source:
    """Which providers are meant."""

    config: Annotated[Path, Parameter(name=["--config", "-c"])] = DEFAULT_CONFIG
    """The providers file."""
    env: str | None = None
    """The environment of the file whose settings are laid over the common ones."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Request:
    """What to request."""

    method: Annotated[str | None, Parameter(name=["--method", "-X"])] = None
    """HTTP method; without one GET, or POST where there is DATA."""
    header: Annotated[list[str] | None, Parameter(name=["--header", "-H"], negative="")] = None
    """A header, 'Name: value'; may be repeated."""
    param: Annotated[list[str] | None, Parameter(name=["--param", "-p"], negative="")] = None
    """A query parameter, 'name=value'; may be repeated."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How many requests to make, how, and what else to make of them."""

    requests: Annotated[PositiveInt | None, Parameter(name=["--requests", "-n"])] = None
    """Requests in all; 100 unless there is a --duration."""
    duration: Annotated[str | None, Parameter(name=["--duration", "-d"])] = None
    """How long to start requests: 30s, 2m, 500ms; with -n until whichever comes first."""
    concurrency: PositiveInt | None = None
    """Requests at a time (10), with --rate the most in flight (1000); '-c 50' means this, too."""
    rate: Annotated[PositiveFloat | None, Parameter(name=["--rate", "-R"])] = None
    """Start this many per second, however slow the answers; latency counts from when each was due."""
    warmup: str | None = None
    """Requests (200) or time (5s) not counted; by default -c, at most -n, 100 or a second of --rate."""
    compare: Path | None = None
    """What an earlier run with --json printed: tell whether this one is faster or slower."""
    svg: Path | None = None
    """Draw latency by percentile into this file, beside the run of --compare."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Settings:
    """What to deploy otherwise than the file says."""

    version: str | None = None
    """The version."""
    set: Annotated[list[str] | None, Parameter(name="--set", negative="")] = None
    """A setting, 'replicas=3' or 'env.MODE=fast'; may be repeated."""
