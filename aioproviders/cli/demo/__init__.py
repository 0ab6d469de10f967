"""``demo``: the library at work on a small service of its own, without network or account.

    process.py    runs the service, service.py, as a process that can't outlive the demo
    tour.py       the steps: a sweep, requests, retries, a circuit breaker, latencies
    narration.py  tells of them

The providers are those of ``providers.toml``, which it leaves to the user.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from aioproviders.cli.boundary import FAILED, OK
from aioproviders.cli.demo.narration import Narrator
from aioproviders.cli.demo.process import DEFAULT_PORT, RunningService, running_service
from aioproviders.cli.demo.tour import Tour
from aioproviders.cli.output import complain, print_document, write
from aioproviders.errors import ProviderUnavailableError
from aioproviders.registry import ProviderRegistry

__all__ = ["run"]

SHIPPED = Path(__file__).with_name("providers.toml")


@dataclass(frozen=True, slots=True)
class LeftFile:
    """The providers file that the user is left with.

    Attributes:
        path: Where it is.
        told: What was done about it, in a few words.
    """

    path: Path
    told: str


def run(directory: Path, *, serve: bool, port: int | None, json: bool) -> int:
    """Run the demo, or only its service; `FAILED` if anything was not as it should be."""
    if serve:
        return anyio.run(_serve, directory, port, json)
    return anyio.run(_demonstrate, directory, port or 0, json)


async def _demonstrate(directory: Path, port: int, json: bool) -> int:
    begun = time.monotonic()
    tell = Narrator(json=json)
    tell.step("A service to talk to, and a file that says which providers there are")
    async with running_service(port) as service:
        tell.fact(
            f"a small HTTP service: {service.url}, process {service.process.pid}", ok=True, url=service.url
        )
        left = _leave_file(directory)
        tell.fact(f"{left.path}: {left.told}", ok=True, file=left.path)
        # The shipped file, since that left before may have been changed: what follows is what it says.
        with _environment({"DEMO_URL": service.url, "DEMO_GREETING": "good day"}):
            async with ProviderRegistry.from_file(SHIPPED, start=False) as registry:
                await Tour(registry, tell).run()
    tell.step("The end")
    tell.fact(
        f"providers closed, service ended with exit code {service.process.returncode}",
        ok=service.process.returncode == 0,
    )
    seconds = round(time.monotonic() - begun, 1)
    serve, commands = f"{_program(Path())} demo --serve", _commands(left.path, {})
    if json:
        print_document(
            {
                "ok": tell.ok,
                "seconds": seconds,
                "file": left.path,
                "steps": tell.steps,
                "try_next": {"serve": serve, "commands": commands},
            }
        )
    else:
        outcome = "All as it should be" if tell.ok else "Not all as it should be: see the lines with !"
        write(f"\n{outcome}; {seconds} s in all.\n\nTo go on yourself, keep the service running:\n\n")
        write(f"  {serve}\n\nand in another terminal, from this directory:\n\n")
        write("".join(f"  {command}\n" for command in commands))
    return OK if tell.ok else FAILED


async def _serve(directory: Path, port: int | None, json: bool) -> int:
    left = _leave_file(directory)
    if port is not None:
        async with running_service(port) as service:
            return await _served(service, left, json)
    try:
        async with running_service(DEFAULT_PORT) as service:
            return await _served(service, left, json)
    except ProviderUnavailableError:
        # Taken: any free one will do, and the commands say which.
        async with running_service() as service:
            return await _served(service, left, json)


async def _served(service: RunningService, left: LeftFile, json: bool) -> int:
    moved = {} if service.url.endswith(f":{DEFAULT_PORT}") else {"DEMO_URL": service.url}
    commands = _commands(left.path, moved)
    if json:
        document = {"url": service.url, "pid": service.process.pid, "file": left.path, "try": commands}
        print_document(document, compact=True)
    else:
        write(f"{left.path}: {left.told}\n")
        write(f"the service runs at {service.url} until Ctrl-C\n\n")
        write("In another terminal, from this directory:\n\n")
        write("".join(f"  {command}\n" for command in commands) + "\n")
    code = await service.process.wait()
    complain(f"the demo's service ended by itself, with exit code {code}")
    return FAILED


def _leave_file(directory: Path) -> LeftFile:
    """Write the providers file for the user, unless there is one that was changed."""
    shipped = SHIPPED.read_bytes()
    path = directory / SHIPPED.name
    try:
        if path.exists():
            same = path.read_bytes() == shipped
            return LeftFile(path, "there already" if same else "there already and changed, left as it is")
        directory.mkdir(parents=True, exist_ok=True)
        path.write_bytes(shipped)
    except OSError as error:
        return LeftFile(SHIPPED, f"used where it is, {directory} can't be written: {error.strerror}")
    return LeftFile(path, "written")


def _commands(file: Path, variables: Mapping[str, str]) -> list[str]:
    """Return commands that can be pasted, one after the other, where the demo was started."""
    program = _program(file.parent)
    return [
        f"cd {shlex.quote(os.fspath(file.parent))}",
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
        f"{program} health",
        f"{program} call shop /items/1",
        f'{program} call shop /items \'{{"name": "teapot"}}\'',
        f"{program} call flaky /items/1 --env impatient",
        f"{program} bench vendor /items/1 -n 1000 -c 20",
        f"{program} health --watch",
    ]


def _program(directory: Path) -> str:
    """Return what to type in `directory` for this program, as it was started."""
    started = Path(sys.argv[0])
    if started.name != "aioproviders":
        return f"{_typed(Path(sys.executable), directory)} -m aioproviders"
    found = shutil.which(started.name)
    on_path = found is not None and Path(found).resolve() == started.resolve()
    return started.name if on_path else _typed(started, directory)


def _typed(program: Path, directory: Path) -> str:
    # Not resolved: a virtual environment's interpreter is a link, and has to be called by its own name.
    absolute = os.path.abspath(program)  # noqa: PTH100 - see above
    return shlex.quote(min(os.path.relpath(absolute, directory.resolve()), absolute, key=len))


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
