"""A real HTTP server, in a process of its own, that fails in every way a server can.

As a command, ``python -m aioproviders.testing.faults --port 0``, it prints one JSON line
``{"port": …, "pid": …}`` when it is ready, and stops on SIGTERM or when its standard input closes. From
Python it is `FaultServer`. It listens on 127.0.0.1 only.

| path | what it does; query parameters with their defaults |
|---|---|
| ``/echo`` | the request as JSON; so does every path below it |
| ``/status/N`` | that status |
| ``/delay?seconds=0.1`` | answers late |
| ``/hang``, ``/hang-after-headers`` | reads and never answers; never sends the rest of the body |
| ``/stall`` | never reads the request's body; ends at the next reset |
| ``/early`` | 413 before the body was read, then closes |
| ``/reset``, ``/reset-mid-body`` | TCP reset before the answer; within its body |
| ``/close``, ``/truncate`` | orderly end without an answer; with half of it |
| ``/drip?bytes=10&interval=0.01`` | one byte each interval |
| ``/bad-json``, ``/garbage``, ``/bad-chunk`` | half a JSON document; no HTTP; a broken chunk |
| ``/big-header?bytes=9000`` | one long header |
| ``/large?bytes=1000000&length=yes`` | a long body; without a Content-Length where ``length=no`` |
| ``/bomb?bytes=20000000&coding=gzip`` | that many zeros, compressed; ``coding=deflate`` too |
| ``/gzip`` | a compressed JSON document |
| ``/retry-after?form=seconds&value=1&status=429&key=&times=1`` | fails that often for each key, with \
Retry-After in seconds or as a date that many seconds ahead |
| ``/flaky?key=&times=1&status=503`` | fails that often for each key |
| ``/drop-keepalive?when=idle`` | closes the kept connection once idle, or at its ``next`` request |
| ``/unsolicited?after=0`` | a second answer that nobody asked for, on a connection that stays |
| ``/sse?events=3&interval=0``, ``/lines?count=3``, ``/bytes?count=3&size=1000`` | streams; with \
``fail_after=N`` they break off after N chunks, as ``failure=close`` or ``reset`` says; ``/sse`` goes on \
after Last-Event-ID |
| ``/redirect?to=/echo&status=302``, ``/set-cookie?name=value`` | what they say |
| ``/token?expires_in=3600&client_id=client&client_secret=secret`` | OAuth 2 (RFC 6749, 4.4) |
| ``/protected``, ``/revoke`` | asks for a token handed out and not expired; revokes all of them |
| ``/basic?user=user&password=pass``, ``/bearer?token=secret``, ``/api-key?key=secret&header=X-API-Key`` \
| 401 without the right credentials |
| ``/pages?style=page&pages=3&size=2`` | pages; by ``link`` header, ``cursor`` or ``page`` number |
| ``/openapi.json`` | an OpenAPI 3.1 description of some of this |

It is a proxy as well: ``CONNECT`` tunnels to wherever it is told, and a request with an absolute URL is
answered as if the path were its own. The proxy user's name may be ``refused`` (407), ``garbage``, ``close``.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.to_thread

from aioproviders.testing.fault_handlers import BEFORE_BODY, HANDLERS
from aioproviders.testing.fault_wire import Exchange, SeenRequest, State, read_request

__all__ = ["FaultServer", "SeenRequest", "main"]

_STOP_SECONDS = 5.0  # after which a server that doesn't stop is killed
_RECEIVE_BUFFER = 65_536  # bytes; small, so that a client notices soon that nobody reads


class FaultServer:
    """The server in a process of its own; a context manager, sync or async, that starts and stops it.

    It is bound to no event loop: one may serve tests that have a loop each. It does not outlive its parent.

    Args:
        port: Where to listen; 0 takes a free port, which a restart keeps.
        certificate: PEM file of the server's certificate and key; with it the server speaks TLS.
        client_ca: PEM file of the authority that clients' certificates must come from; None asks for none.
    """

    def __init__(
        self, *, port: int = 0, certificate: Path | str | None = None, client_ca: Path | str | None = None
    ) -> None:
        self.port = port
        self._options = [("--certificate", certificate), ("--client-ca", client_ca)]
        self._scheme = "http" if certificate is None else "https"
        self._process: subprocess.Popen[bytes] | None = None
        self._asking = threading.Lock()
        self._refused: socket.socket | None = None

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"{self._scheme}://127.0.0.1:{self.port}"

    @property
    def refused_url(self) -> str:
        """A URL that refuses connections; its port is kept so that nobody else listens there."""
        if self._refused is None:
            self._refused = socket.socket()
            self._refused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{self._refused.getsockname()[1]}"

    @property
    def running(self) -> bool:
        """Whether its process is alive."""
        return self._process is not None and self._process.poll() is None

    async def requests(self, path_prefix: str | None = None) -> list[SeenRequest]:
        """What was seen on the wire since the last reset, in order of arrival, unfinished requests too.

        Args:
            path_prefix: Only targets that begin with it.
        """
        seen = await anyio.to_thread.run_sync(self._ask, "requests", path_prefix or "")
        return [
            SeenRequest(**{**item, "headers": [tuple(pair) for pair in item["headers"]]}) for item in seen
        ]

    async def open_connections(self) -> int:
        """How many connections clients have open now."""
        return int(await anyio.to_thread.run_sync(self._ask, "connections", ""))

    async def reset(self) -> None:
        """Forget requests, counts and tokens."""
        await anyio.to_thread.run_sync(self._ask, "reset", "")

    async def start(self) -> None:
        """Start it, on the port that it had before.

        Raises:
            RuntimeError: It did not come up, or runs already.
        """
        await anyio.to_thread.run_sync(self._start)

    async def stop(self) -> None:
        """Stop it in order; nothing happens where it is not running."""
        await anyio.to_thread.run_sync(self._end, signal.SIGTERM)

    async def kill(self) -> None:
        """Kill it, as the kernel would."""
        await anyio.to_thread.run_sync(self._end, signal.SIGKILL)

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end(signal.SIGTERM)
        if self._refused is not None:
            self._refused.close()
            self._refused = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):  # bounded: the process is killed after some seconds
            await anyio.to_thread.run_sync(self.__exit__, kind, exc, traceback)

    def _start(self) -> None:
        if self.running:
            raise RuntimeError("the fault server is running already")
        arguments = ["--port", str(self.port)]
        for name, value in self._options:
            if value is not None:
                arguments += [name, str(value)]
        # Not "-m": the parent's package may have imported this module, which that would warn about.
        code = "from aioproviders.testing.faults import main; main()"
        self._process = subprocess.Popen(  # noqa: S603 -- this interpreter and our own arguments
            [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            self.port = self._answer()["port"]
        except BaseException:
            self._end(signal.SIGKILL)
            raise

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):  # what was not read any more
                if pipe is not None:
                    pipe.close()

    def _ask(self, command: str, argument: str) -> Any:
        with self._asking:
            process = self._process
            if process is None or process.stdin is None:
                raise RuntimeError("the fault server is not running")
            process.stdin.write(json.dumps([command, argument]).encode() + b"\n")
            process.stdin.flush()
            return self._answer()

    def _answer(self) -> Any:
        line = (
            b"" if self._process is None or self._process.stdout is None else self._process.stdout.readline()
        )
        if not line:
            raise RuntimeError("the fault server ended without an answer")
        return json.loads(line)


class _Server:
    """The server's side: connections, and commands over standard input."""

    def __init__(self) -> None:
        self.state = State()
        self.stopped = anyio.Event()
        self.open = 0
        self._pending = b""

    async def serve(self, port: int, context: ssl.SSLContext | None) -> None:
        """Serve until told to stop."""
        loop = asyncio.get_running_loop()  # signals and standard input are watched through the loop
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        listener.bind(("127.0.0.1", port))
        server = await asyncio.start_server(self._connection, sock=listener, ssl=context)
        loop.add_signal_handler(signal.SIGTERM, self.stopped.set)
        with contextlib.suppress(PermissionError):  # a file can't be watched, and doesn't close
            loop.add_reader(sys.stdin.fileno(), self._commands)
        _say({"port": listener.getsockname()[1], "pid": os.getpid()})
        await self.stopped.wait()
        server.close()

    def _commands(self) -> None:
        data = os.read(sys.stdin.fileno(), 65_536)
        if not data:
            self.stopped.set()
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            command, argument = json.loads(line)
            if command == "requests":
                _say(self.state.requests(argument))
            elif command == "connections":
                _say(self.open)
            else:
                self.state.reset()
                _say(None)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.state.connections += 1
        self.open += 1
        number = self.state.connections
        try:
            doomed, keep = False, True
            while keep and (request := await read_request(reader, number)) is not None:
                self.state.log.append(request)
                if doomed:
                    break
                exchange = Exchange(request, reader, writer, self.state)
                await _dispatch(exchange)
                doomed, keep = exchange.doomed, exchange.keep
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # the client went away
        except asyncio.CancelledError:
            pass  # the server stops; asyncio 3.11 would log it, and above this frame there is nobody to tell
        finally:
            self.open -= 1
            writer.close()


async def _dispatch(exchange: Exchange) -> None:
    if exchange.request.header("proxy-authorization") and await _misbehave(exchange):
        return
    if exchange.request.method == "CONNECT":
        await _tunnel(exchange)
        return
    name = exchange.path.strip("/").partition("/")[0]
    handler = HANDLERS.get(name)
    if name not in BEFORE_BODY:
        await exchange.read_body()
    if handler is None:
        await exchange.reply({"error": "no such path"}, status=404)
    else:
        await handler(exchange)


async def _misbehave(exchange: Exchange) -> bool:
    """Whether the proxy failed as the user's name says."""
    token = (exchange.request.header("proxy-authorization") or "").partition(" ")[2]
    user = base64.b64decode(token).decode().partition(":")[0]
    exchange.keep = False
    if user == "refused":
        await exchange.reply(status=407, headers=[("Proxy-Authenticate", "Basic")])
    elif user == "garbage":
        await exchange.send(b"\x00\x01\x02 this is not HTTP\r\n\r\n")
    elif user != "close":
        exchange.keep = True
        return False
    return True


async def _tunnel(exchange: Exchange) -> None:
    host, _, port = exchange.request.target.rpartition(":")
    exchange.keep = False
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        await exchange.reply(status=502)
        return
    await exchange.send(exchange.head(200))
    async with anyio.create_task_group() as group:
        group.start_soon(_pump, exchange.reader, writer)
        group.start_soon(_pump, reader, exchange.writer)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(_RECEIVE_BUFFER):
            writer.write(data)
            await writer.drain()
    writer.close()


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the server until SIGTERM or the end of standard input."""
    parser = argparse.ArgumentParser(
        prog="python -m aioproviders.testing.faults", description="A server that fails."
    )
    parser.add_argument("--port", type=int, default=0, help="where to listen; 0 takes a free port")
    parser.add_argument("--certificate", help="PEM file of the certificate and key, for TLS")
    parser.add_argument("--client-ca", help="PEM file of the authority of clients' certificates")
    arguments = parser.parse_args()
    context = None
    if arguments.certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=arguments.client_ca)
        context.load_cert_chain(arguments.certificate)
        if arguments.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
    asyncio.run(_Server().serve(arguments.port, context))


if __name__ == "__main__":
    main()
