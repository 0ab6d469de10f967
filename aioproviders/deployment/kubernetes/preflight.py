"""Asking for the permissions that a deploy needs before it changes anything."""

from __future__ import annotations

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.plan import Plan

__all__ = ["Preflight"]


class Preflight:
    """What one provider has asked; a plan of the same shape again costs no request."""

    async def check(self, api: Api, plan: Plan, *, prune: bool = False) -> None:
        """Make sure that all that `plan` needs is allowed.

        Raises:
            AuthenticationError: Permissions are missing: all of them, and a Role that would do.
        """
        ...
