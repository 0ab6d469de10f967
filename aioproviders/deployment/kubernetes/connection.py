"""The way to an API server: one ApiClient for each provider."""

from __future__ import annotations

from aioproviders.deployment.kubernetes.config import KubernetesDeploymentConfig

__all__ = ["Connection", "connect"]


class Connection:
    """An open connection; `Connection.close` in cleanup.

    Attributes:
        server: The API server's URL.
        namespace: The namespace that the context, or the service account, names; None where it doesn't.
    """

    server: str
    namespace: str | None

    async def close(self) -> None: ...


async def connect(config: KubernetesDeploymentConfig) -> Connection:
    """Read the configuration and make the client; no request is sent. Call it in initialize()."""
    ...
