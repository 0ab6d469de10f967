"""How the cluster is."""

from __future__ import annotations

from typing import Any

from aioproviders.deployment.kubernetes.api import Api

__all__ = ["cluster_health"]


async def cluster_health(api: Api, namespace: str) -> dict[str, Any]:
    """Ask /readyz, /version and the permission to deploy, side by side; give it ``api.bare()``.

    Returns:
        ``status`` (healthy, degraded, unhealthy), ``error`` where it isn't well, ``details`` (server, version,
        ready_ms, failed_checks, can_deploy).

    Raises:
        ProviderUnavailableError: The server can't be reached.
    """
    ...
