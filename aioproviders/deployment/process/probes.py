"""Asking one replica whether it is well."""

from __future__ import annotations

import subprocess
from collections.abc import Awaitable, Callable
from contextlib import suppress

import anyio

from aioproviders.deployment.config import Probe
from aioproviders.deployment.process.groups import kill_group
from aioproviders.deployment.process.guardian import Guardian
from aioproviders.deployment.process.launching import Launch
from aioproviders.deployment.process.sockets import Address
from aioproviders.redaction import describe

__all__ = ["ask", "keep_asking"]

_LONGEST_HEAD = 4096
_LONGEST_REST = 65_536
_REST_OF_ANSWER = 0.1
_LONGEST_OUTPUT = 64 * 1024
_LAST_WORDS = 0.1
"""Seconds for the output of a command that has ended."""
_WELL = range(200, 400)


async def keep_asking(
    probe: Probe, question: Callable[[], Awaitable[str | None]], tell: Callable[[str | None], None]
) -> None:
    """Ask again and again, until cancelled.

    Args:
        probe: How often, and how many answers in a row make a difference.
        question: Asks once; returns why it is not well, None if it is.
        tell: Called when that has changed, by the thresholds: with None for well, else with why not.
    """
    await anyio.sleep(probe.initial_delay_ms / 1000)
    well: bool | None = None
    successes = failures = 0
    while True:
        problem = await question()
        if problem is None:
            successes, failures = successes + 1, 0
            if successes >= probe.success_threshold and well is not True:
                well = True
                tell(None)
        else:
            successes, failures = 0, failures + 1
            if failures >= probe.failure_threshold and well is not False:
                well = False
                tell(problem)
        await anyio.sleep(probe.period_ms / 1000)


async def ask(
    probe: Probe, launch: Launch, address: Address | None, guardian: Guardian | None = None
) -> str | None:
    """Ask once, by HTTP, TCP or a command; return why it is not well, None if it is.

    Args:
        probe: How to ask.
        launch: What a command is run like.
        address: Where it is asked by HTTP or TCP.
        guardian: Ends a command if the supervisor has gone.
    """
    timeout = probe.timeout_ms / 1000
    what = (
        " ".join(probe.command) if probe.kind == "exec" else f"{address[0]}:{address[1]}" if address else ""
    )
    try:
        with anyio.fail_after(timeout):
            if probe.kind == "exec":
                return await _run(probe, launch, guardian)
            assert address is not None  # noqa: S101 - these kinds have one
            if probe.kind == "tcp":
                await (await anyio.connect_tcp(*address)).aclose()
                return None
            return await _get(probe.path, address)
    except TimeoutError:
        return f"{what}: no answer within {timeout:g} s"
    except OSError as error:
        return f"{what}: {error.strerror or error}"
    except Exception as error:  # noqa: BLE001 - what can't be asked is not well, and all others are left alone
        return f"{what}: {describe(error)}"


async def _get(path: str, address: tuple[str, int]) -> str | None:
    host, port = address
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    where = f"GET http://{authority}{path}"
    stream = await anyio.connect_tcp(host, port)
    try:
        request = f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nAccept: */*\r\n\r\n"
        await stream.send(request.encode())
        head = b""
        while b"\r\n" not in head and len(head) < _LONGEST_HEAD:
            head += await stream.receive()
        # Who hangs up in the middle of an answer makes many a server log an error; one that is known by now.
        left = (anyio.current_effective_deadline() - anyio.current_time()) / 2
        gone = suppress(anyio.EndOfStream, anyio.BrokenResourceError)
        with anyio.move_on_after(min(left, _REST_OF_ANSWER)), gone:
            for _ in range(_LONGEST_REST // _LONGEST_HEAD):
                await stream.receive(_LONGEST_HEAD)
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return f"{where}: the connection was closed without an answer"
    finally:
        await anyio.aclose_forcefully(stream)
    version, _, rest = head.partition(b"\r\n")[0].partition(b" ")
    status = rest[:3]
    if not version.startswith(b"HTTP/") or not status.isdigit():
        return f"{where}: the answer is no HTTP"
    return None if int(status) in _WELL else f"{where}: status {int(status)}"


async def _run(probe: Probe, launch: Launch, guardian: Guardian | None) -> str | None:
    name = probe.command[0]
    with anyio.CancelScope(shield=True):  # as in `launching`
        process = await anyio.open_process(
            probe.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=launch.directory,
            env=dict(launch.env),
            start_new_session=True,
        )
    if guardian is not None:
        guardian.add(process.pid)
    output = b""

    async def read() -> None:
        nonlocal output
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        async for chunk in process.stdout:
            output = (output + chunk)[-_LONGEST_OUTPUT:]

    try:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(read)
            code = await process.wait()
            # What it has left behind would hold the pipe open, and be one more with each time it is asked.
            kill_group(process.pid)
            # What has left the group may hold it open for ever.
            task_group.cancel_scope.deadline = anyio.current_time() + _LAST_WORDS
    finally:
        with anyio.CancelScope(shield=True):
            kill_group(process.pid)
            await process.aclose()
        if guardian is not None:
            guardian.remove(process.pid)
    if code == 0:
        return None
    last = output.decode(errors="replace").strip().rpartition("\n")[2]
    return f"{name}: exit code {code}" + (f": {last}" if last else "")
