"""Options that several commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

__all__ = ["DEFAULT_CONFIG", "STANDARD_INPUT", "Output", "PositiveFloat", "PositiveInt", "Request", "Source"]

# As in `cyclopts.types`, which makes dozens of others too: a tenth of the time that help takes.
PositiveFloat = Annotated[float, Parameter(validator=Number(gt=0))]
PositiveInt = Annotated[int, Parameter(validator=Number(gt=0))]

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
