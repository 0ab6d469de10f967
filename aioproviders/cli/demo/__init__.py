"""``demo``: the library at work on a small service of its own, without network or account.

    serving.py    deploys the service, service.py, by the process driver
    tour.py       the steps: a sweep, requests, retries, a circuit breaker, latencies
    rollouts.py   more of them: a new version under load, a bad one, scaling
    narration.py  tells of them

The providers are those of ``providers.toml``, which it leaves to the user.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import anyio

from aioproviders.cli.boundary import FAILED, OK
from aioproviders.cli.demo.narration import Narrator
from aioproviders.cli.demo.rollouts import Rollouts
from aioproviders.cli.demo.serving import (
    ANY_PORT,
    DEFAULT_PORT,
    LeftFile,
    RunningService,
    leave_file,
    running_service,
)
from aioproviders.cli.demo.tour import Tour
from aioproviders.cli.output import print_document, write

__all__ = ["run"]


def run(directory: Path, *, serve: bool, port: int | None, json: bool) -> int:
    """Run the demo, or only its service; `FAILED` if anything was not as it should be."""
    if serve:
        return anyio.run(_serve, directory, port, json)
    return anyio.run(_demonstrate, directory, port, json)


async def _demonstrate(directory: Path, port: int | None, json: bool) -> int:
    begun = time.monotonic()
    tell = Narrator(json=json)
    tell.step("A service to talk to, and a file that says which providers there are")
    left = leave_file(directory)
    # Apart from that of `--serve`, which may be running, and forgotten at the end.
    state = directory / "state-of-the-tour"
    async with running_service(state, (port,) if port else ANY_PORT, forgotten=True) as service:
        processes = await service.processes()
        tell.fact(
            f"a small HTTP service, deployed: {service.url}, process {processes[0]}",
            ok=len(processes) == 1,
            url=service.url,
        )
        tell.fact(f"{left.path}: {left.told}", ok=True, file=left.path)
        await Tour(service.registry, tell).run()
        await Rollouts(service, tell).run()
        processes = await service.processes()
    tell.step("The end")
    left_over = [process for process in processes if _runs(process)]
    tell.fact(f"providers closed, {len(processes)} processes of the service ended", ok=not left_over)
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


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


async def _serve(directory: Path, port: int | None, json: bool) -> int:
    left = leave_file(directory)
    state = directory / "state"
    # If the usual one is taken, any other will do, and the commands say which.
    async with running_service(state, (port,) if port else (DEFAULT_PORT, *ANY_PORT)) as service:
        await _served(service, left, json)
    return FAILED


async def _served(service: RunningService, left: LeftFile, json: bool) -> None:
    moved = {} if service.port == DEFAULT_PORT else {"DEMO_PORT": str(service.port)}
    commands = _commands(left.path, moved)
    if json:
        document = {
            "url": service.url,
            "pids": await service.processes(),
            "file": left.path,
            "try": commands,
        }
        print_document(document, compact=True)
    else:
        write(f"{left.path}: {left.told}\n")
        write(f"the service runs at {service.url} until Ctrl-C\n\n")
        write("In another terminal, from this directory:\n\n")
        write("".join(f"  {command}\n" for command in commands) + "\n")
    await anyio.sleep_forever()


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
        f"{program} scale service 2",
        f"{program} status service",
        f"{program} deploy service --version 2.0.0 --set replicas=2",
        f"{program} rollback service previous",
        f"{program} history service",
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
