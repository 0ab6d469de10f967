"""What a workload's containers have written."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream

from aioproviders.deployment.kubernetes.api import Api
from aioproviders.deployment.kubernetes.objects import Object, Ref
from aioproviders.deployment.kubernetes.pods import is_ended
from aioproviders.deployment.kubernetes.watching import Mirror
from aioproviders.deployment.kubernetes.workloads import selector_of
from aioproviders.deployment.models import LogLine
from aioproviders.errors import NotFoundError, ProviderError

__all__ = ["Following", "last_lines"]

_BUFFER = 1000
_RETRY = 0.5


async def last_lines(
    api: Api, pods: Sequence[Object], *, instance: str | None, lines: int, idle: float | None = None
) -> AsyncGenerator[LogLine, None]:
    """Yield the last lines of each container, one pod after the other.

    Args:
        api: The API server.
        pods: The pods.
        instance: Only of this one.
        lines: How many of each container.
        idle: Seconds to wait for each next line.

    Raises:
        NotFoundError: There is no such instance.
        ProviderError: The cluster can't tell of one; raised when all others have been told.
    """
    chosen = [pod for pod in pods if instance is None or pod["metadata"]["name"] == instance]
    if instance is not None and not chosen:
        known = ", ".join(sorted(pod["metadata"]["name"] for pod in pods)) or "none"
        raise NotFoundError(f"there is no instance {instance!r}; there are: {known}")
    failure: ProviderError | None = None
    for pod in sorted(chosen, key=lambda item: str(item["metadata"]["name"])):
        for container in _begun(pod):
            told = _lines(api, pod, container, lines=lines, follow=False, idle=idle)
            async with aclosing(told) as found:
                try:
                    async for line in found:
                        yield line
                except NotFoundError:
                    continue  # its pod has gone meanwhile
                except ProviderError as error:
                    failure = error
    if failure is not None:
        raise failure


class Following:
    """What all containers write from now on, new pods' too; `run` is to be run in the background.

    Args:
        api: The API server.
        workload: Whose pods.
        instance: Only of this pod.
        lines: The last lines of each to begin with; of what begins later, all.
    """

    def __init__(self, api: Api, workload: Object, *, instance: str | None, lines: int) -> None:
        self._api, self._workload = api, workload
        self._instance, self._lines = instance, lines
        self._open: set[tuple[str, str, int]] = set()
        self._scope = anyio.CancelScope()
        self._sending, self.receiving = anyio.create_memory_object_stream[LogLine | ProviderError](_BUFFER)

    def stop(self) -> None:
        """End it."""
        self._scope.cancel()
        self.receiving.close()
        self._sending.close()

    async def run(self) -> None:
        """Read until `stop` is called; an error is what is received last."""
        metadata = self._workload["metadata"]
        mirror = Mirror(self._api, "v1", "Pod", metadata["namespace"], labels=selector_of(self._workload))
        with self._scope:
            async with self._sending, anyio.create_task_group() as task_group:
                try:
                    async with aclosing(mirror.changes()) as changes:
                        async for _ in changes:
                            pods = list(mirror.objects.values())
                            there = {pod["metadata"]["uid"] for pod in pods}
                            self._open = {key for key in self._open if key[0] in there}
                            lines = None if mirror.synced else self._lines
                            for pod in pods:
                                self._begin(task_group, pod, lines)
                except ProviderError as error:
                    await self._sending.send(error)
                    task_group.cancel_scope.cancel()

    def _begin(self, task_group: TaskGroup, pod: Object, lines: int | None) -> None:
        name = pod["metadata"]["name"]
        if is_ended(pod) or (self._instance is not None and name != self._instance):
            return
        for container, restarts in _begun(pod).items():
            # A container that is started anew has a log of its own, and so has a pod of the same name.
            key = (pod["metadata"]["uid"], container, restarts)
            if key not in self._open:
                self._open.add(key)
                task_group.start_soon(self._follow, pod, container, lines, self._sending.clone())

    async def _follow(
        self,
        pod: Object,
        container: str,
        lines: int | None,
        sending: MemoryObjectSendStream[LogLine | ProviderError],
    ) -> None:
        seen: datetime | None = None
        async with sending:
            while True:
                since = seen  # what is not later was told before the connection broke
                count = lines if since is None else None
                stream = _lines(self._api, pod, container, lines=count, follow=True, since=since)
                try:
                    async with aclosing(stream):
                        async for line in stream:
                            if since is not None and line.at is not None and line.at <= since:
                                continue
                            seen = line.at or seen
                            await sending.send(line)
                except NotFoundError:
                    return
                except ProviderError as error:
                    if not error.retryable:
                        await sending.send(error)
                        return
                    await anyio.sleep(_RETRY)
                else:
                    return  # the container has ended; the next one's log is another


async def _lines(  # noqa: PLR0913 - as many as the server's query has
    api: Api,
    pod: Object,
    container: str,
    *,
    lines: int | None,
    follow: bool,
    since: datetime | None = None,
    idle: float | None = None,
) -> AsyncGenerator[LogLine, None]:
    name = pod["metadata"]["name"]
    path = await api.path(Ref("v1", "Pod", pod["metadata"]["namespace"], name))
    query: dict[str, object] = {"container": container, "timestamps": "true"}
    if follow:
        query["follow"] = "true"
    if lines is not None:
        query["tailLines"] = lines
    elif since is not None:
        # Containers' times are those of their nodes' zones.
        query["sinceTime"] = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    async with aclosing(api.lines(f"{path}/log", query, idle=idle)) as raw:
        async for line in raw:
            at, text = _split(line.decode(errors="replace"))
            yield LogLine(instance=name, text=text, at=at)


def _split(line: str) -> tuple[datetime | None, str]:
    """Split off the time, RFC 3339 with nanoseconds."""
    stamp, _, text = line.partition(" ")
    try:
        return datetime.fromisoformat(stamp), text
    except ValueError:
        return None, line


def _begun(pod: Object) -> dict[str, int]:
    """Return the containers that have, or had, a process, with how often they were started anew."""
    return {
        state["name"]: state.get("restartCount", 0)
        for state in (pod.get("status") or {}).get("containerStatuses") or []
        if (state.get("state") or {}).keys() & {"running", "terminated"} or state.get("lastState")
    }
