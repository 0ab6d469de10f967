"""How the cluster is: whether it is ready, which version it has, and whether we may deploy."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.preflight import Need, may
from aioproviders.deployment.kubernetes.side_by_side import side_by_side
from aioproviders.errors import AuthenticationError, ProviderError
from aioproviders.health import HealthStatus

__all__ = ["cluster_health"]

_OK = 200
_FAILED = re.compile(r"^\[-\](\S+) failed", re.MULTILINE)


async def cluster_health(api: Api, namespace: str) -> dict[str, Any]:
    """Ask /readyz, /version and for the permission to deploy, side by side.

    Args:
        api: The API server; `Api.bare`, so that the check tells of one attempt.
        namespace: Where the deployment is.

    Returns:
        ``status``: healthy; degraded where we may not deploy; unhealthy where the server isn't ready or
        refuses our credentials. ``error`` says why. ``details``: ``server``, ``context``, ``reachable``,
        ``version``, ``ready_ms``, ``failed_checks``, ``can_deploy``.

    Raises:
        ProviderUnavailableError: The server can't be reached.
        ProviderError: It answered with nonsense.
    """
    look = _Look(api, namespace)
    questions = (look.ask_ready, look.ask_version, look.ask_permission)
    await side_by_side(partial(look.ask, question) for question in questions)
    details = look.details
    if look.refused is not None:
        error = f"reachable, but unauthorised: {look.refused.message}"
    elif look.failure is not None:
        raise look.failure
    elif not look.ready:
        checks = ", ".join(details["failed_checks"]) or "it does not say why"
        error = f"the API server is not ready: {checks}"
    elif not details["can_deploy"]:
        error = f"no permission to patch deployments in {namespace}"
        return {"status": HealthStatus.DEGRADED, "error": error, "details": details}
    else:
        return {"status": HealthStatus.HEALTHY, "details": details}
    return {"status": HealthStatus.UNHEALTHY, "error": error, "details": details}


class _Look:
    """What one check has found out so far."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.details: dict[str, Any] = {"server": api.connection.server, "reachable": True}
        if api.connection.context:
            self.details["context"] = api.connection.context
        self.ready = True
        self.refused: AuthenticationError | None = None
        self.failure: ProviderError | None = None
        self._api = api
        self._namespace = namespace

    async def ask(self, question: Callable[[], Awaitable[None]]) -> None:
        """Ask; a failure of one question does not end the others."""
        try:
            await question()
        except AuthenticationError as error:
            self.refused = error
        except ProviderError as error:
            self.failure = error

    async def ask_ready(self) -> None:
        began = time.perf_counter()
        status, text = await self._api.readiness()
        self.details["ready_ms"] = round((time.perf_counter() - began) * 1000, 3)
        self.details["failed_checks"] = _FAILED.findall(text)
        self.ready = status == _OK

    async def ask_version(self) -> None:
        text = await self._api.text("/version")
        try:
            self.details["version"] = str(json.loads(text)["gitVersion"])
        except (ValueError, KeyError, TypeError):
            self.details["version"] = None

    async def ask_permission(self) -> None:
        need = Need(self._namespace, "apps", "deployments", "patch")
        self.details["can_deploy"] = await may(self._api, need)
