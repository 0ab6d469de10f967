"""The small HTTP service that the demo runs beside itself: ``python -m aioproviders.cli.demo.service``.

It listens on 127.0.0.1, prints the port as its first line, and ends when its standard input does: so
it can't outlive the process that started it, however that one ends.

    GET  /health                how it is
    GET  /items/<id>            an item
    POST /items                 stores an item; the same Idempotency-Key stores it once
    *    /flaky/<anything>      answers 503 twice, then once as /<anything> would; not for health
    *    /ledger/<anything>     answers 503 while the ledger is broken, else as /<anything> would
    PUT  /faults/ledger         {"broken": true} or {"broken": false}

All but /health wants ``Authorization: Bearer`` and the key that the environment has in
``DEMO_API_KEY``.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections import defaultdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["DEFAULT_API_KEY", "DemoService", "main"]

DEFAULT_API_KEY = "demo-key-of-no-value"
_FAILURES_IN_A_ROW = 2


class DemoService(ThreadingHTTPServer):
    """The service and its state."""

    daemon_threads = True
    # The client opens as many connections at once as the demo makes requests at once.
    request_queue_size = 256

    def __init__(self, port: int, api_key: str) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self._api_key = api_key
        self._lock = threading.Lock()
        self._items: dict[str, dict[str, Any]] = {"1": {"id": "1", "name": "lantern", "price": 19.5}}
        self._by_key: dict[str, dict[str, Any]] = {}
        self._flaky_calls: defaultdict[str, int] = defaultdict(int)
        self._ledger_broken = True

    def answer(
        self, method: str, path: str, headers: dict[str, str], body: Any
    ) -> tuple[HTTPStatus, dict[str, Any]]:
        """Return the status and the body for one request."""
        if (
            path.rsplit("/", maxsplit=1)[-1] != "health"
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
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _respond  # noqa: N815 - the base class looks for these

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class' names
        """Print nothing: the demo's own output is on the same terminal."""


def main() -> int:
    """Serve until standard input ends; returns 1 where the port is taken."""
    parser = argparse.ArgumentParser(prog="aioproviders.cli.demo.service")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    port = parser.parse_args().port
    # Ctrl-C reaches the whole group of processes; when to stop is for the demo to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        server = DemoService(port, os.environ.get("DEMO_API_KEY") or DEFAULT_API_KEY)
    except OSError as error:
        sys.stderr.write(f"can't listen on port {port}: {error.strerror}\n")
        return 1
    with server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        sys.stdin.buffer.read()
        server.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
