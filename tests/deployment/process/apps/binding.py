"""A service that binds ``PORT`` for itself, with SO_REUSEPORT; answers its version, ends on SIGTERM."""

import os
import signal
import socket
import sys


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(("127.0.0.1", int(os.environ["PORT"])))
        listener.listen()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            address = os.environ["NOTIFY_SOCKET"]
            sender.sendto(b"READY=1", f"\0{address[1:]}" if address.startswith("@") else address)
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                version = os.environ["AIOPROVIDERS_VERSION"].encode()
                connection.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(version), version)
                )


main()
