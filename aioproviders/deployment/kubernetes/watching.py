"""Keeping up with objects of the cluster: list once, then watch, whatever becomes of the connection.

Source: Kubernetes API concepts, "Efficient detection of changes".
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from time import monotonic
from typing import NamedTuple

import anyio

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.errors import GoneError
from aioproviders.deployment.kubernetes.objects import Object
from aioproviders.errors import AuthenticationError, CircuitOpenError, ProviderError

__all__ = ["Happened", "Mirror"]

_SERVER_TIMEOUT = 60.0
_IDLE = 75.0  # the server ends each watch itself before: who hears nothing for so long hears nothing any more
_FIRST_WAIT = 0.05
_LONGEST_WAIT = 2.0
_REFUSALS = 20


class Happened(NamedTuple):
    """A change: ``ADDED``, ``MODIFIED``, ``DELETED``; ``SYNCED`` where all there is has been told.

    ``LOST`` where the server could not be reached twice in a row, ``FOUND`` where it can be again.
    """

    type: str
    object: Object


class Mirror:
    """The objects of one kind that match, as they are in the cluster, by watching.

    Args:
        api: The API server.
        api_version: Of the kind.
        kind: The kind.
        namespace: Where they are.
        labels: Label selector.
        fields: Field selector.
        known: One that is known already, as a request returned it; then there is no need to list.

    Attributes:
        objects: The objects, by name.
        synced: Whether they are all here.
        lost: Why nothing is heard of them at present; None where the server can be reached.
        lost_at: Since when, by the monotonic clock.
    """

    def __init__(  # noqa: PLR0913 - as many as a watch has
        self,
        api: Api,
        api_version: str,
        kind: str,
        namespace: str | None,
        *,
        labels: str = "",
        fields: str = "",
        known: Object | None = None,
    ) -> None:
        self.objects: dict[str, Object] = {}
        self.synced = False
        self.lost: ProviderError | None = None
        self.lost_at = 0.0
        self._api, self._api_version, self._kind, self._namespace = api, api_version, kind, namespace
        self._labels, self._fields = labels, fields
        self._version: str | None = None
        self._failures = self._refusals = self._breaks = 0
        if known is not None:
            self.objects[known["metadata"]["name"]] = known
            self._version = known["metadata"]["resourceVersion"]
            self.synced = True

    async def changes(self) -> AsyncGenerator[Happened, None]:
        """Yield what happens to them, without end: what a new list shows to have happened, too.

        Raises:
            ProviderError: Trying again would not help: the kind is not there, or not allowed.
        """
        while True:
            try:
                if self._version is None:
                    listed = await self._api.list(
                        self._api_version,
                        self._kind,
                        self._namespace,
                        labels=self._labels,
                        fields=self._fields,
                    )
                    for happened in (*self._found(), *self._compare(listed.get("items") or [])):
                        yield happened
                    self._version, self.synced = listed["metadata"]["resourceVersion"], True
                    self._refusals = 0
                    yield Happened("SYNCED", {})
                events = self._api.watch(
                    self._api_version,
                    self._kind,
                    self._namespace,
                    resource_version=self._version,
                    labels=self._labels,
                    fields=self._fields,
                    server_timeout=_SERVER_TIMEOUT,
                    idle=_IDLE,
                )
                async with aclosing(events):
                    async for event in events:
                        for happened in self._take(event):
                            yield happened
            except GoneError:
                self._version = None
            except ProviderError as error:
                if not self._passes(error):
                    raise
                for happened in self._broken(error):
                    yield happened
            await self._wait()

    def _broken(self, error: ProviderError) -> Iterator[Happened]:
        if isinstance(error, AuthenticationError):
            return
        self._breaks += 1
        if self._breaks == 1:
            return  # that happens to any connection
        known, self.lost = self.lost, error
        if known is None:
            self.lost_at = monotonic()
            yield Happened("LOST", {})

    def _found(self) -> Iterator[Happened]:
        self._breaks = 0
        if self.lost is not None:
            self.lost = None
            yield Happened("FOUND", {})

    def _passes(self, error: ProviderError) -> bool:
        if isinstance(error, AuthenticationError) and self.synced:
            # A server that has just come up refuses what it will allow as soon as it has read its roles.
            self._refusals += 1
            return self._refusals <= _REFUSALS
        return error.retryable or isinstance(error, CircuitOpenError)

    async def _wait(self) -> None:
        longest = min(_FIRST_WAIT * 2**self._failures, _LONGEST_WAIT)
        self._failures = min(self._failures + 1, 10)
        await anyio.sleep(longest * random.uniform(0.5, 1.0))  # noqa: S311 - no secret

    def _take(self, event: Object) -> Iterator[Happened]:
        kind, obj = event["type"], event["object"]
        if kind == "OPENED":
            yield from self._found()
            return
        self._failures = self._refusals = 0
        self._version = obj["metadata"]["resourceVersion"]
        name = obj["metadata"].get("name")
        if kind == "BOOKMARK":
            return
        if kind == "DELETED":
            self.objects.pop(name, None)
        else:
            kind = "MODIFIED" if name in self.objects else "ADDED"
            # What a watch sends names neither less nor more than what a request returns.
            self.objects[name] = obj
        yield Happened(kind, obj)

    def _compare(self, items: Iterable[Object]) -> Iterator[Happened]:
        before, self.objects = self.objects, {}
        for item in items:
            # Items of a list don't say what they are.
            obj = {"apiVersion": self._api_version, "kind": self._kind, **item}
            name = obj["metadata"]["name"]
            self.objects[name] = obj
            old = before.pop(name, None)
            if old is not None and old["metadata"].get("uid") != obj["metadata"].get("uid"):
                yield Happened("DELETED", old)
                old = None
            if old is None:
                yield Happened("ADDED", obj)
            elif old["metadata"].get("resourceVersion") != obj["metadata"].get("resourceVersion"):
                yield Happened("MODIFIED", obj)
        for gone in before.values():
            yield Happened("DELETED", gone)
