"""What it takes to begin: imports, the command line as a whole process, providers started and closed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from inspect import unwrap
from pathlib import Path

from aioproviders import ProviderConfig, ProviderRegistry
from benchmarks.results import Table
from benchmarks.rounds import rounds_of
from benchmarks.subjects import Plain

FOUNDATIONS = "import pydantic, anyio, structlog\nclass Model(pydantic.BaseModel):\n    a: int = 1"
IMPORTS = {
    "pydantic, anyio, structlog, one model": FOUNDATIONS,
    "import aioproviders": "import aioproviders",
    "from aioproviders import BaseProvider, …": (
        "from aioproviders import BaseProvider, ProviderConfig, ProviderRegistry, operation"
    ),
    "import aioproviders.sdk.http": "import aioproviders.sdk.http",
}

RICH = "from rich.console import Console; Console().print('x')"
PARSER = """
from cyclopts import App
app = App(help_format="plaintext")
@app.command
def command(*, number: int = 1) -> int:
    "Do it."
app(["--help"])
"""
PACKAGES = f"""
import cyclopts, rich.table, tenacity
{FOUNDATIONS}
async def nothing(): pass
anyio.run(nothing)
"""
COMMAND = "import sys; from aioproviders.cli import main; sys.exit(main())"  # as the installed script does
SETTINGS = '[providers.{name}]\ntype = "configuration"\ndriver = "environment"\nversion = "1"\n'

# Compiled modules are kept, as they are where a package was installed; the first round is not counted.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

PROVIDERS = 1000
GROUPS = 10


class Connecting(Plain):
    """A provider that takes a millisecond to open, and one to close."""

    async def initialize(self) -> None:
        """Open."""
        await asyncio.sleep(0.001)

    async def cleanup(self) -> None:
        """Close."""
        await asyncio.sleep(0.001)


def run(*, quick: bool) -> Iterator[Table]:
    """Measure; yields the tables."""
    rounds = 2 if quick else 11
    yield Table(
        "Imports, each in a process of its own",
        "milliseconds",
        asyncio.run(rounds_of({name: _measuring(_import, code) for name, code in IMPORTS.items()}, rounds)),
        base="pydantic, anyio, structlog, one model",
        note="Without the start of the interpreter.",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "providers.toml"
        path.write_text("".join(SETTINGS.format(name=name) for name in ("a", "b", "c")), encoding="utf-8")
        processes = {
            "python -c pass": ("pass",),
            "rich, one line": (RICH,),
            "cyclopts, --help of one command": (PARSER,),
            "aioproviders --help": (COMMAND, "--help"),
            "aioproviders --version": (COMMAND, "--version"),
            "the packages a check needs, imported": (PACKAGES,),
            "aioproviders health, three providers": (COMMAND, "health", "-c", str(path)),
        }
        contenders = {name: _measuring(_process, *rest) for name, rest in processes.items()}
        yield Table(
            "Whole processes",
            "milliseconds",
            asyncio.run(rounds_of(contenders, rounds)),
            base="rich, one line",
            note="A check needs cyclopts, rich, pydantic, anyio with asyncio, structlog and tenacity.",
        )
    count = PROVIDERS // 20 if quick else PROVIDERS
    yield _starts(Plain, "that do nothing", count, rounds=3 if quick else 11)
    yield _starts(Connecting, "of a millisecond", count, rounds=1 if quick else 3)


def _measuring(measure: Callable[..., float], *arguments: str) -> Callable[[], Awaitable[float]]:
    async def measured() -> float:
        return measure(*arguments)

    return measured


def _import(code: str) -> float:
    """Return the milliseconds that `code` takes in a fresh interpreter."""
    program = f"import time; begun = time.perf_counter()\n{code}\nprint(time.perf_counter() - begun)"
    done = subprocess.run(  # noqa: S603 - our own text
        [sys.executable, "-c", program],
        check=True,
        stdout=subprocess.PIPE,
        env=ENVIRONMENT,
        start_new_session=True,  # Ctrl-C is for us, and ends it
    )
    return float(done.stdout) * 1e3


def _process(*arguments: str) -> float:
    """Return the milliseconds that Python takes for `arguments`, from its start to its end."""
    command = [sys.executable, "-c", *arguments]
    begun = time.perf_counter()
    subprocess.run(  # noqa: S603 - our own text
        command,
        check=True,
        stdout=subprocess.DEVNULL,
        env=ENVIRONMENT,
        start_new_session=True,  # Ctrl-C is for us, and ends it
    )
    return (time.perf_counter() - begun) * 1e3


def _starts(kind: type[Plain], what: str, count: int, *, rounds: int) -> Table:
    """Start and close `count` providers by hand, and in a registry in which they depend on one another."""
    contenders = {
        "a plain loop of the bare coroutines": partial(_by_loop, kind, count),
        "AsyncExitStack of the bare coroutines": partial(_by_stack, kind, count),
        "a plain loop of aioproviders' calls": partial(_one_by_one, kind, count),
        "aioproviders' registry, independent": partial(_in_registry, kind, count, ""),
        f"aioproviders' registry, {GROUPS} chains": partial(_in_registry, kind, count, "chains"),
        f"aioproviders' registry, {GROUPS} fans": partial(_in_registry, kind, count, "fans"),
    }
    return Table(
        f"Starting and closing {count:,} providers {what}",
        "milliseconds",
        asyncio.run(rounds_of(contenders, rounds)),
        base="a plain loop of the bare coroutines",
        note="In a chain each needs the one before it; in a fan all need the first.",
    )


def _made(kind: type[Plain], count: int, shape: str = "") -> list[Plain]:
    """Make providers; in groups where `shape` is "chains" or "fans"."""
    made: list[Plain] = []
    for number in range(count):
        group, place = number % GROUPS, number // GROUPS
        needed = {"chains": number - GROUPS, "fans": group}.get(shape)
        depends_on = (f"p{needed}",) if place and needed is not None else ()
        made.append(kind(ProviderConfig(name=f"p{number}", version="1", depends_on=depends_on)))
    return made


async def _by_loop(kind: type[Plain], count: int) -> float:
    providers = _made(kind, count)
    initialize, cleanup = unwrap(kind.initialize), unwrap(kind.cleanup)
    begun = time.perf_counter()
    for provider in providers:
        await initialize(provider)
    for provider in reversed(providers):
        await cleanup(provider)
    return (time.perf_counter() - begun) * 1e3


async def _by_stack(kind: type[Plain], count: int) -> float:
    providers = _made(kind, count)
    initialize, cleanup = unwrap(kind.initialize), unwrap(kind.cleanup)
    begun = time.perf_counter()
    async with AsyncExitStack() as stack:
        for provider in providers:
            await initialize(provider)
            stack.push_async_callback(cleanup, provider)
    return (time.perf_counter() - begun) * 1e3


async def _one_by_one(kind: type[Plain], count: int) -> float:
    providers = _made(kind, count)
    begun = time.perf_counter()
    for provider in providers:
        await provider.initialize()
    for provider in reversed(providers):
        await provider.cleanup()
    return (time.perf_counter() - begun) * 1e3


async def _in_registry(kind: type[Plain], count: int, shape: str) -> float:
    registry = ProviderRegistry()
    for provider in _made(kind, count, shape):
        registry.register(provider.name, provider)
    begun = time.perf_counter()
    async with registry:
        pass
    return (time.perf_counter() - begun) * 1e3
