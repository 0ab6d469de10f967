"""The small HTTP service that the demo deploys: ``service.py VERSION``.

It serves the socket that is handed over to it in the way of sd_listen_fds(3), says when it is ready
(sd_notify(3)), and when it gets SIGTERM, finishes what it has begun. Without a socket it takes a port of
its own on 127.0.0.1, and prints it as its first line.

    GET  /health                how it is
    GET  /version               which version answers
    GET  /items/<id>            an item
    POST /items                 stores an item; the same Idempotency-Key stores it once
    *    /flaky/<anything>      answers 503 twice, then once as /<anything> would; not for health
    *    /ledger/<anything>     answers 503 while the ledger is broken, else as /<anything> would
    PUT  /faults/ledger         {"broken": true} or {"broken": false}

All but /health and /version wants ``Authorization: Bearer`` and the key that the environment has in
``DEMO_API_KEY``. ``DEMO_CATALOGUE``, if set, names a JSON file of items to begin with. Each process has
items, counts and a ledger of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from collections import defaultdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["DEFAULT_API_KEY", "DemoService", "main"]

DEFAULT_API_KEY = "demo-key-of-no-value"
_FAILURES_IN_A_ROW = 2
_FIRST_SOCKET = 3
"""The file descriptor that sd_listen_fds(3) begins with."""
_LINGER = 0.2
"""Seconds in which clients may use a kept connection once more, and are told that it is the last time."""
_PATIENCE = 3.0
_LANTERN = {"1": {"id": "1", "name": "lantern", "price": 19.5}}


class DemoService(ThreadingHTTPServer):
    """The service and its state."""

    daemon_threads = True
    # The client opens as many connections at once as the demo makes requests at once.
    request_queue_size = 256

    def __init__(
        self, listener: socket.socket, version: str, api_key: str, items: dict[str, dict[str, Any]]
    ) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        # Others may wait for the same connection, and be faster.
        listener.setblocking(False)
        self.draining = False
        self.connections: dict[socket.socket, bool] = {}
        """Whether each is in the middle of a request."""
        self._version = version
        self._api_key = api_key
        self._lock = threading.Lock()
        self._connections_changed = threading.Condition()
        self._items = dict(items)
        self._by_key: dict[str, dict[str, Any]] = {}
        self._flaky_calls: defaultdict[str, int] = defaultdict(int)
        self._ledger_broken = True

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection."""
        connection, address = super().get_request()
        connection.setblocking(True)
        self.note(connection, busy=False)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection, and close it."""
        with self._connections_changed:
            self.connections.pop(request, None)
            self._connections_changed.notify_all()
        super().shutdown_request(request)

    def note(self, connection: socket.socket, *, busy: bool) -> None:
        """Note whether a connection is in the middle of a request."""
        with self._connections_changed:
            self.connections[connection] = busy
            self._connections_changed.notify_all()

    def drain(self) -> None:
        """Accept nothing more, finish what was begun, and have clients leave kept connections."""
        self.draining = True
        self.shutdown()
        end = time.monotonic() + _PATIENCE
        with self._connections_changed:
            self._connections_changed.wait_for(lambda: not self.connections, _LINGER)
            while self.connections and (left := end - time.monotonic()) > 0:
                for connection, busy in self.connections.items():
                    if not busy:
                        _hang_up(connection)
                self._connections_changed.wait(left)

    def answer(
        self, method: str, path: str, headers: dict[str, str], body: Any
    ) -> tuple[HTTPStatus, dict[str, Any]]:
        """Return the status and the body for one request."""
        if (
            path.rsplit("/", maxsplit=1)[-1] not in ("health", "version")
            and headers.get("authorization") != f"Bearer {self._api_key}"
        ):
            return HTTPStatus.UNAUTHORIZED, {"error": "the key is missing or wrong"}
        with self._lock:
            return self._route(method, path, headers, body)

    def _route(  # noqa: PLR0911 - a return a route
        self, method: str, path: str, headers: dict[str, str], body: Any
    ) -> tuple[HTTPStatus, dict[str, Any]]:
        parts = path.strip("/").split("/")
        if parts[0] == "flaky" and len(parts) > 1:
            self._flaky_calls[path] += 1
            if parts[-1] != "health" and self._flaky_calls[path] % (_FAILURES_IN_A_ROW + 1):
                return HTTPStatus.SERVICE_UNAVAILABLE, {"error": "not now, try again"}
            return self._route(method, "/".join(parts[1:]), headers, body)
        if parts[0] == "ledger" and len(parts) > 1:
            if self._ledger_broken:
                return HTTPStatus.SERVICE_UNAVAILABLE, {"error": "the ledger is broken"}
            return self._route(method, "/".join(parts[1:]), headers, body)
        if (method, parts) == ("PUT", ["faults", "ledger"]):
            self._ledger_broken = bool(isinstance(body, dict) and body.get("broken"))
            return HTTPStatus.OK, {"broken": self._ledger_broken}
        if parts == ["health"]:
            return HTTPStatus.OK, {"status": "healthy"}
        if parts == ["version"]:
            return HTTPStatus.OK, {"version": self._version, "process": os.getpid()}
        if (method, parts) == ("POST", ["items"]) and isinstance(body, dict):
            return self._store(body, headers.get("idempotency-key"))
        if method == "GET" and parts[0] == "items" and parts[-1] in self._items:
            return HTTPStatus.OK, self._items[parts[-1]]
        return HTTPStatus.NOT_FOUND, {"error": "there is nothing here"}

    def _store(self, item: dict[str, Any], key: str | None) -> tuple[HTTPStatus, dict[str, Any]]:
        if key is not None and key in self._by_key:
            return HTTPStatus.CREATED, self._by_key[key]
        stored = {**item, "id": str(len(self._items) + 1)}
        self._items[stored["id"]] = stored
        if key is not None:
            self._by_key[key] = stored
        return HTTPStatus.CREATED, stored


class _Handler(BaseHTTPRequestHandler):
    server: DemoService
    protocol_version = "HTTP/1.1"
    # An answer leaves in one packet, at once.
    wbufsize = -1
    disable_nagle_algorithm = True

    def parse_request(self) -> bool:
        """Begin with a request."""
        self.server.note(self.connection, busy=True)
        return super().parse_request()

    def _respond(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            status, answer = HTTPStatus.BAD_REQUEST, {"error": "the body is no JSON"}
        else:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer = self.server.answer(self.command, self.path.partition("?")[0], headers, body)
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.server.draining:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()
        self.server.note(self.connection, busy=False)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _respond  # noqa: N815 - the base class looks for these

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' names
        """Print nothing: nobody reads a line for each of thousands of requests."""


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        # The client was faster.
        return


def _listener(port: int) -> socket.socket:
    if os.environ.get("LISTEN_FDS"):
        return socket.socket(fileno=_FIRST_SOCKET)
    return socket.create_server(("127.0.0.1", port), backlog=256)


def _notify(state: str) -> None:
    """Tell the supervisor, if there is one: sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Serve until SIGTERM; returns 1 where it can't."""
    parser = argparse.ArgumentParser()
    parser.add_argument("version")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    given = parser.parse_args()
    # Before there are threads, so that none of them gets it.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    catalogue = os.environ.get("DEMO_CATALOGUE")
    try:
        items = json.loads(Path(catalogue).read_text(encoding="utf-8")) if catalogue else _LANTERN
        listener = _listener(given.port)
    except OSError as error:
        sys.stderr.write(f"can't start: {error}\n")
        return 1
    with DemoService(
        listener, given.version, os.environ.get("DEMO_API_KEY") or DEFAULT_API_KEY, items
    ) as server:
        _tell(str(server.server_address[1]))
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        _notify("READY=1")
        _tell(f"version {given.version} is ready")
        signal.sigwait([signal.SIGTERM])
        _tell("finishing what was begun")
        server.drain()
    return 0


if __name__ == "__main__":
    sys.exit(main())
