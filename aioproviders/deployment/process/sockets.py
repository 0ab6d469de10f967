"""The listening sockets of a deployment: bound once by the supervisor, handed to each replica."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

from aioproviders.deployment.config import Port, Probe
from aioproviders.errors import ConfigurationError, ConflictError

__all__ = ["ReplicaSockets", "Sockets"]

Mode = Literal["inherit", "reuse_port", "per_replica"]
Address = tuple[str, int]

_BACKLOG = 1024
_LOOPBACK = "127.0.0.1"


@dataclass
class ReplicaSockets:
    """What one replica is handed.

    Attributes:
        handed: Names and sockets in the order in which the replica gets them, from descriptor 3 on.
        ports: The ports of the deployment.
        env: The variables that tell it of them: ``PORT``, ``PORT_<NAME>``.
        addresses: Where it alone is reached, by port name: of its own ports, or of its probe socket.
        own: Those sockets that are its alone, and are closed with it.
        endpoints: Where it serves, ``host:port`` each, if that is its alone.
    """

    handed: list[tuple[str, socket.socket]] = field(default_factory=list)
    ports: tuple[Port, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, Address] = field(default_factory=dict)
    own: list[socket.socket] = field(default_factory=list)
    endpoints: tuple[str, ...] = ()

    def address_of(self, port: str | int | None) -> Address | None:
        """Return where a probe reaches this replica alone, by a port's name or number; None is the first.

        A number that is none of `ports` is one that the program sees to itself.
        """
        address = self.addresses.get(_name_of(port, self.ports))
        return (_LOOPBACK, port) if address is None and isinstance(port, int) else address

    def close(self) -> None:
        """Close those that are this replica's alone."""
        for item in self.own:
            item.close()


class Sockets:
    """What a deployment listens on.

    Args:
        host: The address.
        ports: The ports.
        mode: How replicas share them, see `ProcessDeploymentConfig.sockets`.
        shared: The sockets that all replicas share, by port name.
    """

    def __init__(
        self, host: str, ports: Sequence[Port], mode: Mode, shared: dict[str, socket.socket]
    ) -> None:
        self.host = host
        self.ports = tuple(ports)
        self.mode: Mode = mode
        self._shared = shared

    @classmethod
    def bind(cls, host: str, ports: Sequence[Port], mode: Mode) -> Self:
        """Bind what the replicas share.

        Raises:
            ConflictError: Another program listens there.
            ConfigurationError: There is no such address here, or it may not be bound.
        """
        shared: dict[str, socket.socket] = {}
        try:
            for port in ports if mode != "per_replica" else ():
                shared[port.name] = _bound(host, port.port, mode)
        except BaseException:
            for item in shared.values():
                item.close()
            raise
        return cls(host, ports, mode, shared)

    def for_replica(self, *http_probes: Probe | None) -> ReplicaSockets:
        """Return what to hand to one replica.

        Args:
            http_probes: Its HTTP probes. For each port of theirs that replicas share, the replica gets one
                more socket, ``<port>.probe``, which is its alone.
        """
        sockets = ReplicaSockets(ports=self.ports)
        try:
            for port in self.ports:
                number = port.port
                if self.mode == "per_replica":
                    kept = _bound(self.host, 0, self.mode)
                    sockets.own.append(kept)
                    number = kept.getsockname()[1]
                    sockets.addresses[port.name] = (self.host, number)
                    host = f"[{self.host}]" if ":" in self.host else self.host
                    sockets.endpoints += (f"{host}:{number}",)
                elif self.mode == "inherit":
                    sockets.handed.append((port.name, self._shared[port.name]))
                sockets.env[f"PORT_{port.name.upper().replace('-', '_')}"] = str(number)
                sockets.env.setdefault("PORT", str(number))
            known = {port.name for port in self.ports}
            for name in (_name_of(probe.port, self.ports) for probe in http_probes if probe is not None):
                # A number that is none of the ports' is a place that the program sees to itself.
                if name in known and name not in sockets.addresses:
                    listener = _bound(_LOOPBACK, 0, "inherit")
                    sockets.own.append(listener)
                    sockets.handed.append((f"{name}.probe", listener))
                    sockets.addresses[name] = listener.getsockname()[:2]
        except BaseException:
            sockets.close()
            raise
        return sockets

    def close(self) -> None:
        """Close what the replicas shared; those that run keep theirs open."""
        for item in self._shared.values():
            item.close()


def _name_of(port: str | int | None, ports: Sequence[Port]) -> str:
    for known in ports:
        if port in (None, known.name, known.port):
            return known.name
    return str(port)


def _bound(host: str, port: int, mode: Mode) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if mode == "reuse_port":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        # One that the program binds itself is only kept from others: a socket that listened would get
        # connections that nobody accepts, and nobody could listen beside it.
        if mode == "inherit":
            listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise ConflictError(f"{host}:{port} is taken by another program", sent=False) from error
        raise ConfigurationError(
            f"can't listen on {host}:{port}: {error.strerror or error}; see 'host' and 'ports'"
        ) from error
    return listener
