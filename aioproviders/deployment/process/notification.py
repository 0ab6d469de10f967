"""What a replica says of itself, by sd_notify(3)."""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio

__all__ = ["notifications"]


@asynccontextmanager
async def notifications() -> AsyncIterator[tuple[str, Callable[[], AsyncIterator[dict[str, str]]]]]:
    """Open a socket to be told on; yields what to put into ``NOTIFY_SOCKET``, and what gives the messages.

    A message is what stands in one datagram: ``{"READY": "1", "STATUS": "warming up"}``.
    """
    with _address() as path:
        async with await anyio.create_unix_datagram_socket(local_path=path) as listener:

            async def messages() -> AsyncIterator[dict[str, str]]:
                async for content, _ in listener:
                    lines = content.decode(errors="replace").splitlines()
                    yield {name: value for name, _, value in (line.partition("=") for line in lines)}

            yield path.replace("\0", "@"), messages


@contextmanager
def _address() -> Iterator[str]:
    if sys.platform == "linux":
        # A name that is no file's (unix(7)), so that a supervisor that is killed leaves none behind.
        yield f"\0aioproviders/{secrets.token_hex(16)}"
        return
    # In a folder that nobody else may enter, and short: a socket's path has at most 103 bytes.
    folder = Path(tempfile.mkdtemp(prefix="notify-"))
    try:
        yield str(folder / "socket")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
