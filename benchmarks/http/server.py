"""The server that the requests are made of: a process of its own that answers small JSON and counts.

As a script it prints its port, serves until its input ends, and prints how many requests it answered.
Its input is a pipe that whoever started it holds open, so it never outlives that process, however it ends.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["ANSWER", "Server", "serving"]

ANSWER = b'{"id": 4711, "name": "a small answer", "tags": ["a", "b"], "ok": true}'
_HEAD = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_FOUND = _HEAD % (b"200 OK", len(ANSWER)) + ANSWER
_MISSING = _HEAD % (b"404 Not Found", 2) + b"{}"
_KNOWN = (b"GET /json ", b"POST /json ")
_SECONDS_TO_STOP = 5


class Server:
    """A server that runs.

    Attributes:
        url: What to get and to post to.
        counted: The requests it answered; None as long as it runs.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.counted: int | None = None


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server as long as the block runs.

    Raises:
        RuntimeError: It did not start, or ended before it was told to.
    """
    # By its path and isolated: it imports nothing of the benchmarks.
    command = [sys.executable, "-I", str(Path(__file__))]
    with subprocess.Popen(  # noqa: S603 -- this file
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for us; it ends with its standard input
    ) as process:
        try:
            assert process.stdin is not None  # noqa: S101 -- both were asked for
            assert process.stdout is not None  # noqa: S101 -- likewise
            port = process.stdout.readline().strip()
            if not port:
                raise RuntimeError("the benchmarks' server did not start")
            server = Server(f"http://127.0.0.1:{port}/json")
            yield server
            out, _ = process.communicate("", timeout=_SECONDS_TO_STOP)
            if process.returncode:
                raise RuntimeError("the benchmarks' server broke off")
            server.counted = int(out)
        finally:
            process.kill()


class _Connection(asyncio.Protocol):
    """One connection, kept alive; requests may come in pieces, and several in one."""

    answered = 0

    def __init__(self) -> None:
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        data = self._unread + data
        answers = []
        while (end := _end_of_request(data)) is not None:
            answers.append(_FOUND if data.startswith(_KNOWN) else _MISSING)
            data = data[end:]
        self._unread = data
        if answers:
            _Connection.answered += len(answers)
            self._transport.write(b"".join(answers))  # type: ignore[attr-defined]  # TCP gives a Transport


def _end_of_request(data: bytes) -> int | None:
    """Return where the first request in `data` ends; None where it is not all there."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return None
    if data.startswith(b"GET "):
        return head + 4
    _, found, rest = data[:head].lower().partition(b"content-length:")
    end = head + 4 + (int(rest.partition(b"\r\n")[0]) if found else 0)
    return end if len(data) >= end else None


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    server = await loop.create_server(_Connection, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    loop.add_reader(sys.stdin.fileno(), stopped.set)
    await stopped.wait()
    loop.remove_reader(sys.stdin.fileno())
    server.close()
    print(_Connection.answered, flush=True)


def _main() -> None:
    try:
        import uvloop  # noqa: PLC0415 -- a server half as fast will do where there is none
    except ImportError:
        asyncio.run(_serve())
    else:
        uvloop.run(_serve())


if __name__ == "__main__":
    _main()
