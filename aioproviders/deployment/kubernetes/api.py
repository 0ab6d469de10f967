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

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, contextmanager
from typing import Any

import anyio

from aioproviders.deployment.kubernetes.connection import Answer, Connection
from aioproviders.deployment.kubernetes.errors import error_of_status
from aioproviders.deployment.kubernetes.objects import MANAGER, Object, Ref
from aioproviders.deployment.kubernetes.resources import Resource, Resources, collection_path, object_path
from aioproviders.errors import NotFoundError, ProviderUnavailableError, RequestError

__all__ = ["Api", "Attempt", "Run"]

Attempt = Callable[[], Awaitable[Any]]
Run = Callable[[Attempt, bool], Awaitable[Any]]

_APPLY = {"Content-Type": "application/apply-patch+yaml"}
_MERGE = {"Content-Type": "application/merge-patch+json"}
_METADATA_ONLY = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
_PAGE = 500
_SERVER_ERROR = 500


class Api:
    """The API server.

    Args:
        connection: How to reach it; it stays the caller's to close.
        run: Runs an attempt, see above; called with the attempt and whether repeating it does no harm.

    Attributes:
        connection: The connection.
        requests: Requests made so far, each attempt counted, streams not.
    """

    def __init__(self, connection: Connection, run: Run | None = None) -> None:
        self.connection = connection
        self.requests = 0
        self._run = run
        self._resources = Resources(self._discover)

    def bare(self) -> Api:
        """Return one on the same connection whose requests are single attempts without a limit."""
        return Api(self.connection)

    async def get(self, ref: Ref, *, subresource: str = "") -> Object:
        """Read an object, or a subresource such as ``scale``.

        Raises:
            NotFoundError: There is none.
        """
        return await self._ask("GET", await self.path(ref, subresource), _what("get", ref))

    async def find(self, ref: Ref) -> Object | None:
        """Read an object; None where there is none."""
        try:
            return await self.get(ref)
        except NotFoundError:
            return None

    async def list(  # noqa: PLR0913 - as many selectors as the server knows
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        metadata_only: bool = False,
    ) -> Object:
        """Return the list of a kind's objects, ``items`` and ``metadata.resourceVersion``; all pages of it.

        Args:
            api_version: Such as ``apps/v1``.
            kind: Of the items: ``ReplicaSet``.
            namespace: None for all.
            labels: A label selector.
            fields: A field selector.
            metadata_only: Whether the items' ``metadata`` do, which spares what they contain.
        """
        path = collection_path(api_version, await self.resource(api_version, kind), namespace)
        query = _given(labelSelector=labels, fieldSelector=fields, limit=_PAGE)
        what = f"list {kind} in {namespace or 'all namespaces'}"
        headers = _METADATA_ONLY if metadata_only else None
        listed = await self._ask("GET", path, what, query=query, headers=headers)
        items = list(listed.get("items") or [])
        page = listed
        while rest := page["metadata"].get("continue"):
            page = await self._ask("GET", path, what, query={**query, "continue": rest}, headers=headers)
            items += page.get("items") or []
        return {**listed, "items": items}

    async def apply(
        self, obj: Object, *, force: bool = False, dry_run: bool = False, manager: str = MANAGER
    ) -> Object:
        """Apply an object by server-side apply; an unknown field is an error.

        Args:
            obj: What is ours of it: it is created, or these fields are set and those that we no longer
                name are taken away.
            force: Whether to take over fields of other managers.
            dry_run: Whether to tell only what would be.
            manager: The field manager.

        Returns:
            The object as it is then.

        Raises:
            FieldConflictError: Fields belong to other managers.
            ConfigurationError: The server does not take it; says which field and why.
        """
        ref = Ref.of(obj)
        query = {
            "fieldManager": manager,
            "force": _flag(force),
            "fieldValidation": "Strict",
            **_dry(dry_run),
        }
        return await self._ask(
            "PATCH", await self.path(ref), _what("apply", ref), query=query, body=obj, headers=_APPLY
        )

    async def patch(
        self, ref: Ref, changes: Object, *, subresource: str = "", manager: str = MANAGER
    ) -> Object:
        """Merge changes (RFC 7386) into an object or its subresource, such as ``scale``.

        Returns:
            The object, or the subresource, as it is then.
        """
        query = {"fieldManager": manager, "fieldValidation": "Strict"}
        path = await self.path(ref, subresource)
        return await self._ask(
            "PATCH", path, _what("patch", ref, subresource), query=query, body=changes, headers=_MERGE
        )

    async def create(
        self, obj: Object, *, what: str = "", idempotent: bool = False, dry_run: bool = False
    ) -> Object:
        """Create an object.

        Args:
            obj: The object; its metadata may be missing, as reviews have none.
            what: What to call it in errors, where it is done for something else.
            idempotent: Whether doing it twice does no harm, as of a review.
            dry_run: Whether to tell only what would be.

        Raises:
            ConflictError: It is there already.
        """
        kind, metadata = obj["kind"], obj.get("metadata") or {}
        resource = await self.resource(obj["apiVersion"], kind)
        path = collection_path(obj["apiVersion"], resource, metadata.get("namespace"))
        what = what or (f"create {kind}/{metadata['name']}" if "name" in metadata else f"create a {kind}")
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict", **_dry(dry_run)}
        return await self._ask("POST", path, what, query=query, body=obj, idempotent=idempotent)

    async def delete(self, ref: Ref, *, uid: str | None = None, propagation: str = "Background") -> bool:
        """Delete an object; False where there was none.

        Args:
            ref: Which.
            uid: Only the one of this uid, not another of the same name.
            propagation: What becomes of what it owns: ``Background``, ``Foreground``, ``Orphan``.

        Raises:
            ConflictError: It has another uid.
        """
        body: Object = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            # Repeated after an answer that was lost, it says that there is none.
            await self._ask("DELETE", await self.path(ref), _what("delete", ref), body=body)
        except NotFoundError:
            return False
        return True

    async def text(self, path: str, query: Mapping[str, Any] | None = None) -> str:
        """Return what a path answers: ``/readyz``, ``…/pods/web-1/log``."""
        headers = {"Accept": "text/plain, */*"}
        answer = await self._answer("GET", path, f"get {path}", query=query, headers=headers)
        return answer.body.decode(errors="replace")

    async def readiness(self) -> tuple[int, str]:
        """Ask ``/readyz``: 200, or 500 where a check fails; and what it says of each check."""
        answer = await self._answer(
            "GET",
            "/readyz",
            "get /readyz",
            query={"verbose": ""},
            headers={"Accept": "*/*"},
            accept=(_SERVER_ERROR,),
        )
        return answer.status, answer.body.decode(errors="replace")

    async def resource(self, api_version: str, kind: str) -> Resource:
        """Return how URLs and permissions call a kind.

        Raises:
            ConfigurationError: The server has no such kind.
        """
        return await self._resources.of(api_version, kind)

    async def path(self, ref: Ref, subresource: str = "") -> str:
        """Return the path of an object, or of its subresource."""
        resource = await self.resource(ref.api_version, ref.kind)
        path = object_path(ref.api_version, resource, ref.namespace, ref.name)
        return f"{path}/{subresource}" if subresource else path

    async def watch(  # noqa: PLR0913 - as many selectors as the server knows
        self,
        api_version: str,
        kind: str,
        namespace: str | None = None,
        *,
        resource_version: str,
        labels: str = "",
        fields: str = "",
        server_timeout: float = 300,
        idle: float = 90,
    ) -> AsyncGenerator[Object, None]:
        """Yield the events of one watch request, ``{"type": …, "object": …}``, bookmarks too, until it ends.

        The first one is ours, ``{"type": "OPENED", "object": {}}``: the server has begun to answer.

        Close it with ``aclose`` when left before its end.

        Args:
            api_version: Such as ``apps/v1``.
            kind: Of the objects.
            namespace: None for all.
            resource_version: Where to begin: of a list, or of the last event.
            labels: A label selector.
            fields: A field selector.
            server_timeout: Seconds after which the server ends it.
            idle: Seconds without anything after which the connection is taken for dead; a server sends a
                bookmark each minute.

        Raises:
            GoneError: `resource_version` is too old, by status or by event: list anew.
            ProviderUnavailableError: The connection broke, or nothing came for `idle` seconds.
        """
        path = collection_path(api_version, await self.resource(api_version, kind), namespace)
        query = _given(
            watch="true",
            allowWatchBookmarks="true",
            resourceVersion=resource_version,
            timeoutSeconds=max(1, round(server_timeout)),
            labelSelector=labels,
            fieldSelector=fields,
        )
        what = f"watch {kind} in {namespace or 'all namespaces'}"
        lines = self._stream(path, query, idle=idle, what=what)
        try:
            async for line in lines:
                if line is None:
                    yield {"type": "OPENED", "object": {}}
                    continue
                event = _parsed(line, what)
                if event.get("type") == "ERROR":
                    status = event.get("object") or {}
                    raise error_of_status(int(status.get("code") or _SERVER_ERROR), status, what)
                yield event
        finally:
            await lines.aclose()

    async def lines(
        self,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        idle: float | None = None,
    ) -> AsyncGenerator[bytes, None]:
        """Yield the lines that a path answers, as they come, without their ends.

        Close it with ``aclose`` when left before its end.

        Args:
            path: The path.
            query: Query parameters.
            idle: Seconds to wait for an answer, and then for each line; None for ever.

        Raises:
            ProviderUnavailableError: The connection broke, or nothing came for `idle` seconds.
        """
        async with aclosing(self._stream(path, query, idle=idle, what=f"read {path}")) as stream:
            async for line in stream:
                if line is not None:
                    yield line

    async def _stream(
        self, path: str, query: Mapping[str, Any] | None, *, idle: float | None, what: str
    ) -> AsyncGenerator[bytes | None, None]:
        """Yield None when the server begins to answer, and then the lines."""
        async with AsyncExitStack() as stack:
            stream = self.connection.open("GET", path, what, query=query, headers={"Accept": "*/*"})
            with _not_idle(idle, what):
                response = await stack.enter_async_context(stream)
            yield None
            while True:
                with _not_idle(idle, what):
                    line = await response.content.readline()
                if not line:
                    return
                yield line.rstrip(b"\r\n")

    async def _discover(self, path: str) -> Object:
        return await self._ask("GET", path, f"discover {path}")

    async def _ask(self, method: str, path: str, what: str, **given: Any) -> Object:
        return _parsed((await self._answer(method, path, what, **given)).body, what)

    async def _answer(
        self, method: str, path: str, what: str, *, idempotent: bool = True, **given: Any
    ) -> Answer:
        async def attempt() -> Answer:
            self.requests += 1
            return await self.connection.send(method, path, what, **given)

        if self._run is None:
            return await attempt()
        answer: Answer = await self._run(attempt, idempotent)
        return answer


@contextmanager
def _not_idle(seconds: float | None, what: str) -> Iterator[None]:
    """Bound a wait for the other side."""
    with anyio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise ProviderUnavailableError(f"{what}: nothing came for {seconds:g} s")


def _parsed(body: bytes, what: str) -> Object:
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None
    if not isinstance(parsed, dict):
        raise RequestError(f"{what}: the answer is no JSON object", retryable=False)
    return parsed


def _what(verb: str, ref: Ref, subresource: str = "") -> str:
    place = f" in {ref.namespace}" if ref.namespace else ""
    part = f" ({subresource})" if subresource else ""
    return f"{verb} {ref}{part}{place}"


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _dry(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}


def _given(**query: Any) -> dict[str, Any]:
    """Return the parameters that are not empty."""
    return {name: value for name, value in query.items() if value != ""}
