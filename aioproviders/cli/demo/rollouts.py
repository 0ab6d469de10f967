"""The demo's steps about deployments: a rollout under load, one that fails, and scaling."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from pydantic_core import to_json

from aioproviders.cli.demo.narration import Narrator
from aioproviders.cli.demo.serving import RunningService
from aioproviders.cli.output import milliseconds, plural
from aioproviders.deployment import DeploymentConfig, DeploymentResult, DeploymentStatus
from aioproviders.sdk import SDKProvider, SDKResponse

__all__ = ["Rollouts"]

_CALLERS = 8
_PAUSE = 0.01
"""Seconds from an answer to a caller's next request."""


class Rollouts:
    """The steps of one run.

    Args:
        service: The service, version 1.0.0 of it.
        narrator: Tells of them.
    """

    def __init__(self, service: RunningService, narrator: Narrator) -> None:
        self._provider = service.provider
        self._service = service
        self._tell = narrator
        shop = service.registry.get("shop", SDKProvider)
        self._request: Callable[..., Awaitable[SDKResponse]] = shop.make_request

    async def run(self) -> None:
        """Take all of them, in order."""
        await self._new_version()
        await self._bad_version()
        await self._scaling()

    async def _new_version(self) -> None:
        self._tell.step("A new version while requests go on: 'service' from 1.0.0 to 2.0.0")
        self._told(await self._provider.scale(2), DeploymentStatus.HEALTHY)
        answers: list[SDKResponse] = []
        async with anyio.create_task_group() as task_group:
            for _ in range(_CALLERS):
                task_group.start_soon(self._keep_asking, answers)
            result = await self._provider.deploy(self._config(version="2.0.0"))
            # A few more from the new version alone.
            await anyio.sleep(_PAUSE * _CALLERS)
            task_group.cancel_scope.cancel()
        self._told(result, DeploymentStatus.HEALTHY)
        failed = sum(not answer.success for answer in answers)
        repeated = sum(answer.attempts - 1 for answer in answers)
        versions = Counter(answer.data["version"] for answer in answers if answer.success)
        by = ", ".join(f"{count:,} by {version}" for version, count in sorted(versions.items()))
        self._tell.fact(
            f"{plural(len(answers), 'request')} meanwhile: {by}; {failed} failed, {repeated} repeated",
            ok=not failed and not repeated and set(versions) == {"1.0.0", "2.0.0"},
            requests=len(answers),
            failed=failed,
            repeated=repeated,
            versions=versions,
        )

    async def _keep_asking(self, answers: list[SDKResponse]) -> None:
        while True:
            answers.append(await self._request("/version", method="GET"))
            await anyio.sleep(_PAUSE)

    async def _bad_version(self) -> None:
        self._tell.step("A bad version is rolled back: 3.0.0 can't find its catalogue")
        env = {**self._provider.config.env, "DEMO_CATALOGUE": "/nowhere/catalogue.json"}
        result = await self._provider.deploy(self._config(version="3.0.0", env=env))
        self._told(result, DeploymentStatus.ROLLED_BACK)
        diagnosis = result.diagnosis
        if diagnosis is not None:
            last = diagnosis.logs[-1] if diagnosis.logs else "nothing"
            self._tell.fact(
                f"{diagnosis.instance}: exit code {diagnosis.exit_code}, and it wrote: {last}",
                ok=diagnosis.exit_code == 1 and "No such file" in last,
                diagnosis=diagnosis,
            )
        answer = await self._request("/version", method="GET")
        self._tell.fact(
            f"GET /version: {to_json(answer.data).decode()}",
            ok=answer.success and answer.data["version"] == "2.0.0",
            response=answer,
        )

    async def _scaling(self) -> None:
        self._tell.step("As many processes as asked for")
        for count in (3, 2):
            result = await self._provider.scale(count)
            running = len(await self._service.processes())
            self._tell.fact(
                f"scaled to {running} processes in {milliseconds(result.metadata.get('duration_ms'))}",
                ok=result.success and running == count,
                result=result,
            )

    def _config(self, **changes: Any) -> DeploymentConfig:
        changed: DeploymentConfig = self._provider.config.model_copy(update={"replicas": 2, **changes})
        return changed

    def _told(self, result: DeploymentResult, expected: DeploymentStatus) -> None:
        took = result.metadata.get("duration_ms")
        self._tell.fact(
            f"{result.status}: {result.message}" + ("" if took is None else f", in {milliseconds(took)}"),
            ok=result.status == expected,
            result=result,
        )
