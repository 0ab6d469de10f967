"""Requests to a Kubernetes API server: dicts in, dicts out.

How a provider puts each request under its limits: it has one operation that runs an attempt,

    @operation(idempotent=True)
    async def request(self, attempt: Attempt, idempotent: bool) -> Any:
        current_call().idempotent = idempotent
        return await attempt()

and hands it over, ``Api(connection, run=self.request)``. Each request then is a call of its own, nested in
``deploy`` or what else it is made for: ``timeout_ms`` bounds each attempt, ``retry_attempts`` counts them.
Streams (`Api.watch`, `Api.lines`) don't go through it: who follows one decides what to do when it breaks.
`Api.bare` goes around it, as a health check must.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Self

from aioproviders.deployment.kubernetes.connection import Connection
from aioproviders.deployment.kubernetes.objects import Object, Ref

__all__ = ["Api", "Attempt", "Run"]

Attempt = Callable[[], Awaitable[Any]]
Run = Callable[[Attempt, bool], Awaitable[Any]]


class Api:
    """The API server.

    Args:
        connection: How to reach it; must be open.
        run: Runs an attempt, see above; called with the attempt and whether repeating it does no harm.

    Attributes:
        requests: Requests sent so far, each attempt counted, streams not.
    """

    def __init__(self, connection: Connection, run: Run | None = None) -> None: ...

    def bare(self) -> Self:
        """Return one on the same connection whose requests are single, unlimited attempts."""
        ...

    async def get(self, ref: Ref, *, subresource: str = "") -> Object:
        """Read an object; NotFoundError where there is none."""
        ...

    async def find(self, ref: Ref) -> Object | None:
        """Read an object; None where there is none."""
        ...

    async def list(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> Object:
        """Return the list object (``items``, ``metadata.resourceVersion``); all pages of it."""
        ...

    async def apply(self, obj: Object, *, force: bool = False, dry_run: bool = False, manager: str = "aioproviders") -> Object:
        """Apply by server-side apply; returns the object as it is now.

        Raises:
            ConflictError: A field belongs to another manager: a `FieldConflictError`.
        """
        ...

    async def patch(self, ref: Ref, changes: Object, *, subresource: str = "", dry_run: bool = False) -> Object:
        """Merge `changes` (RFC 7386) into the object or its subresource, such as ``scale``."""
        ...

    async def create(self, obj: Object, *, idempotent: bool = False) -> Object:
        """Create an object, or ask a review."""
        ...

    async def delete(self, ref: Ref, *, uid: str | None = None, propagation: str = "Background") -> bool:
        """Delete an object; False where there was none."""
        ...

    async def text(self, path: str, query: Mapping[str, Any] | None = None) -> str:
        """Return what a path answers: ``/readyz``, ``…/pods/web-1/log``."""
        ...

    async def path(self, ref: Ref, subresource: str = "") -> str:
        """Return the object's path."""
        ...

    def watch(
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        resource_version: str,
        labels: str = "",
        fields: str = "",
        server_timeout: float = 300,
        idle: float = 60,
    ) -> AsyncGenerator[Object, None]:
        """Yield the events of one watch request, ``{"type": …, "object": …}``, bookmarks too, until it ends.

        Raises:
            GoneError: The resource version is too old (410, as status or as event): list anew.
            ProviderUnavailableError: The connection broke; or nothing came for `idle` seconds.
        """
        ...

    def lines(self, path: str, query: Mapping[str, Any] | None = None, *, idle: float | None = None) -> AsyncGenerator[bytes, None]:
        """Yield the lines that a path answers, as they come, without their ends."""
        ...
