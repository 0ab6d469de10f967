"""The demo's service as a process of its own, for as long as a block runs."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from aioproviders.errors import ProviderUnavailableError

__all__ = ["DEFAULT_PORT", "RunningService", "running_service"]

DEFAULT_PORT = 8811
"""What the providers file takes for the port unless it is told."""

_PATIENCE = 10.0
_SCRIPT = Path(__file__).with_name("service.py")


@dataclass(frozen=True, slots=True)
class RunningService:
    """The service.

    Attributes:
        url: Where it is.
        process: Its process.
    """

    url: str
    process: Process


@asynccontextmanager
async def running_service(port: int = 0) -> AsyncIterator[RunningService]:
    """Run the service on 127.0.0.1; it ends with the block, and with this process however that ends.

    Args:
        port: Where it listens; 0 takes a free port.

    Raises:
        ProviderUnavailableError: It does not start; the message says why.
    """
    # As a script, not a module: it needs nothing of this package, and so starts at once. -P keeps its
    # folder off the import path.
    command = [sys.executable, "-P", os.fspath(_SCRIPT), "--port", str(port)]
    process = await anyio.open_process(command)
    try:
        url = f"http://127.0.0.1:{await _port_of(process)}"
        yield RunningService(url, process)
    finally:
        with anyio.CancelScope(shield=True):
            await _end(process)


async def _port_of(process: Process) -> int:
    assert process.stdout is not None and process.stderr is not None  # noqa: S101, PT018 - both are pipes
    try:
        with anyio.fail_after(_PATIENCE):
            line = await BufferedByteReceiveStream(process.stdout).receive_until(b"\n", 100)
    except TimeoutError:
        raise ProviderUnavailableError(f"the demo's service did not start within {_PATIENCE:g} s") from None
    except anyio.IncompleteRead:
        reason = b"".join([chunk async for chunk in process.stderr]).decode(errors="replace").splitlines()
        raise ProviderUnavailableError(
            f"the demo's service did not start: {reason[-1] if reason else 'no reason given'}"
        ) from None
    return int(line)


async def _end(process: Process) -> None:
    # Closing its input is what tells it to end; killing is for one that hangs.
    if process.stdin is not None:
        await process.stdin.aclose()
    with anyio.move_on_after(_PATIENCE / 5):
        await process.wait()
    if process.returncode is None:
        process.kill()
    await process.aclose()
