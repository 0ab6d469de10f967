"""What a replica says of itself, by sd_notify(3)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

__all__ = ["notifications"]


@asynccontextmanager
async def notifications() -> AsyncIterator[tuple[str, Callable[[], AsyncIterator[dict[str, str]]]]]:
    """Open a socket to be told on; yields its path, and what iterates over the messages.

    A message is what stands in one datagram: ``{"READY": "1", "STATUS": "warming up"}``.
    """
    # In a folder that nobody else may enter, and short: a socket's path has at most 108 bytes (unix(7)).
    folder = Path(tempfile.mkdtemp(prefix="notify-"))
    try:
        path = str(folder / "socket")
        async with await anyio.create_unix_datagram_socket(local_path=path) as listener:

            async def messages() -> AsyncIterator[dict[str, str]]:
                async for content, _ in listener:
                    lines = content.decode(errors="replace").splitlines()
                    yield {name: value for name, _, value in (line.partition("=") for line in lines)}

            yield path, messages
    finally:
        shutil.rmtree(folder, ignore_errors=True)
