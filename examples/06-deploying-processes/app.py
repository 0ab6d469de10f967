"""A small web service that can be replaced while it is in use: ``app.py VERSION``.

It needs three habits: serve the socket that is handed over, say when it is ready, and on SIGTERM finish
what it has begun.
"""

import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = sys.argv[1]


class Handler(BaseHTTPRequestHandler):
    """Answers every GET."""

    def do_GET(self) -> None:
        """Greet."""
        content = f"{os.environ['GREETING']} from {VERSION}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Write no line for each request."""


class Server(ThreadingHTTPServer):
    """Serves a socket that others serve, too."""

    daemon_threads = False  # so that server_close() waits for the requests in flight

    def __init__(self, listener: socket.socket) -> None:
        """Take the socket as it is."""
        super().__init__(listener.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        # Another process may have been faster when a connection comes.
        listener.setblocking(False)


def notify(state: str) -> None:
    """Tell the supervisor (sd_notify(3))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(state.encode(), os.environ["NOTIFY_SOCKET"].replace("@", "\0", 1))


# Before there are threads, so that only this one gets it.
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
# The first socket that was handed over (sd_listen_fds(3)).
server = Server(socket.socket(fileno=3))
print(f"{os.environ['GREETING']}: {VERSION} is ready", flush=True)
threading.Thread(target=server.serve_forever, args=(0.05,)).start()
notify("READY=1")
signal.sigwait([signal.SIGTERM])
server.shutdown()
server.server_close()
