"""The sockets of all releases that run side by side during a rollout."""

from __future__ import annotations

from collections.abc import Iterable

from aioproviders.deployment.process.config import ProcessDeploymentConfig
from aioproviders.deployment.process.sockets import Sockets
from aioproviders.errors import ConfigurationError

__all__ = ["Listeners"]


class Listeners:
    """Binds what a release listens on, and keeps it for the releases after; what is shared is one socket."""

    def __init__(self) -> None:
        self._bound: list[Sockets] = []

    def bind(self, config: ProcessDeploymentConfig) -> Sockets:
        """Return the sockets of a release, bound at the first need.

        Raises:
            ConflictError: Another program listens there.
            ConfigurationError: There is no such address here, or the sockets there now are of another kind.
        """
        for sockets in self._bound:
            if _serves(sockets, config):
                return sockets
        if config.sockets == "inherit":
            sockets = self._inherited(config)
        else:
            self._refuse_other_kind(config)
            sockets = Sockets.bind(config.host, config.ports, config.sockets)
        self._bound.append(sockets)
        return sockets

    def _inherited(self, config: ProcessDeploymentConfig) -> Sockets:
        # The same socket as before: one bound anew would be refused, and lose what waits in the old one.
        there = {
            listener.getsockname()[1]: listener
            for sockets in self._bound
            if (sockets.host, sockets.mode) == (config.host, "inherit")
            for _, listener in sockets.for_replica().handed
        }
        fresh = [port for port in config.ports if port.port not in there]
        self._refuse_other_kind(config)
        bound = Sockets.bind(config.host, fresh, "inherit")
        shared = {name: listener.dup() for name, listener in bound.for_replica().handed}
        bound.close()
        shared |= {port.name: there[port.port].dup() for port in config.ports if port not in fresh}
        return Sockets(config.host, config.ports, "inherit", shared)

    def _refuse_other_kind(self, config: ProcessDeploymentConfig) -> None:
        wanted = {port.port for port in config.ports} if config.sockets != "per_replica" else set()
        for sockets in self._bound:
            if sockets.mode in (config.sockets, "per_replica"):
                continue
            for port in sockets.ports:
                if port.port in wanted:
                    raise ConfigurationError(
                        f"port {port.port} is served with sockets = {sockets.mode!r} now, which can't become "
                        f"{config.sockets!r} while it runs: take another port, or stop the deployment before"
                    )

    def keep(self, configs: Iterable[ProcessDeploymentConfig]) -> None:
        """Close those that none of these releases listens on."""
        used = list(configs)
        bound, self._bound = self._bound, []
        for sockets in bound:
            # Nothing is bound here: a release that could not be gone back to may have no sockets.
            if any(_serves(sockets, config) for config in used):
                self._bound.append(sockets)
            else:
                sockets.close()

    def close(self) -> None:
        """Close them all."""
        for sockets in self._bound:
            sockets.close()
        self._bound.clear()


def _serves(sockets: Sockets, config: ProcessDeploymentConfig) -> bool:
    return (sockets.host, sockets.ports, sockets.mode) == (config.host, config.ports, config.sockets)
