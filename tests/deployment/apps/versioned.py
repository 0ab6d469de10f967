"""A service for tests: ``versioned.py VERSION``; what it does stands at the end of the version.

Serves its version on the sockets that are handed over (sd_listen_fds(3)), or else on ``PORT``, says when
it is ready (sd_notify(3)), and on SIGTERM finishes what it has begun.

    …-crash-loop     ends at once, with exit code 1
    …-slow           is ready after a second
    …-never-ready    never is
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time

SLOW = 1.0


def notify(state: str) -> None:
    """Tell the supervisor, if it wants to know."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)


def serve(listener: socket.socket, version: str, stopping: threading.Event) -> None:
    """Answer requests, one at a time, until it is to stop and nothing waits to be accepted."""
    listener.settimeout(0.05)
    while not stopping.is_set():
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        with connection:
            connection.settimeout(5)
            request = b""
            while b"\r\n\r\n" not in request and (chunk := connection.recv(65536)):
                request += chunk
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(version)}\r\nConnection: close\r\n\r\n"
            connection.sendall(f"{head}{version}".encode())


def main() -> int:
    """Be the service."""
    version = sys.argv[1]
    sys.stdout.write(f"starting {version}, token {os.environ.get('TOKEN', 'none')}\n")
    sys.stdout.flush()
    if version.endswith("-crash-loop"):
        sys.stderr.write("panic: bad configuration\n")
        return 1
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    if version.endswith("-never-ready"):
        stopping.wait()
        return 0
    if version.endswith("-slow"):
        time.sleep(SLOW)
    listeners = [socket.socket(fileno=3 + index) for index in range(int(os.environ.get("LISTEN_FDS", "0")))]
    if not listeners and "PORT" in os.environ:
        listeners = [socket.create_server(("127.0.0.1", int(os.environ["PORT"])))]
    threads = [threading.Thread(target=serve, args=(item, version, stopping)) for item in listeners]
    for thread in threads:
        thread.start()
    notify("READY=1")
    # Not for good: the handler of a signal runs between two waits.
    while not stopping.wait(0.05):
        continue
    for thread in threads:
        thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
