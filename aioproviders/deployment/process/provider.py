"""The process driver: a command as processes of this machine."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any

import anyio
from anyio import to_thread

from aioproviders.deployment import DeploymentProvider
from aioproviders.deployment.config import DeploymentConfig
from aioproviders.deployment.models import (
    Change,
    DeploymentResult,
    DeploymentState,
    DeploymentStatus,
    LogLine,
    Release,
    RolloutEvent,
)
from aioproviders.deployment.process.config import ProcessDeploymentConfig
from aioproviders.deployment.process.folder import LOCK, is_locked
from aioproviders.deployment.process.journal import Journal
from aioproviders.deployment.process.known import past_config, state_of_past
from aioproviders.deployment.process.logs import read_logs
from aioproviders.deployment.process.remote import RemoteSupervisor
from aioproviders.deployment.process.serving import serve
from aioproviders.deployment.process.supervisor import Supervisor
from aioproviders.deployment.process.templates import changes_between, completed
from aioproviders.deployment.rollouts import Rollouts
from aioproviders.errors import ProviderUnavailableError
from aioproviders.health import HealthStatus
from aioproviders.redaction import secrets_in

__all__ = ["ProcessDeploymentProvider"]

_LOOK_AGAIN = 0.1
"""Seconds from one look for another supervisor to the next."""


class ProcessDeploymentProvider(DeploymentProvider[ProcessDeploymentConfig]):
    """Runs a command as so many processes of this machine, and updates them without losing a request.

    The first `deploy`, `scale` or `rollback` makes it the deployment's supervisor, whose processes end
    with it; so it needs an owner: ``async with`` or a registry. Where another provider, of this or of
    another process, is the supervisor already, it is asked instead.
    """

    def __init__(self, config: ProcessDeploymentConfig) -> None:
        super().__init__(config)
        self._rollouts = Rollouts()
        self._supervisor: Supervisor | None = None
        self._opening = anyio.Lock()

    async def initialize(self) -> None:
        """Do nothing: what it needs is opened when it is needed."""

    async def cleanup(self) -> None:
        """End all processes that are left."""
        if self._supervisor is not None:
            await self._supervisor.close()

    async def health_check(self) -> Mapping[str, Any]:
        """Healthy if all instances are available, degraded if some are, or only those of the old release.

        Nothing deployed is healthy.
        """
        state = await self._state()
        status, replicas = state["status"], state["replicas"]
        details = {
            "deployed": status is not DeploymentStatus.NOT_FOUND,
            "status": status.value,
            "version": state["version"],
            "replicas": replicas.model_dump(),
        }
        if status is DeploymentStatus.NOT_FOUND:
            return {"status": HealthStatus.HEALTHY, "details": {"deployed": False}}
        failed = status is DeploymentStatus.FAILED
        if replicas.available >= replicas.desired and not failed:
            return {"status": HealthStatus.HEALTHY, "details": details}
        missing = HealthStatus.DEGRADED if replicas.available else HealthStatus.UNHEALTHY
        return {"status": missing, "error": state["message"], "details": details}

    async def deploy(self, config: DeploymentConfig, *, dry_run: bool = False) -> DeploymentResult:
        """See `DeploymentProvider.deploy`."""
        whole = completed(config, self.config)
        self.conceal(*secrets_in(whole))
        if dry_run:
            return await self._try_out(whole)
        return self._signed(await (await self._acting()).deploy(whole))

    async def scale(self, replicas: int) -> DeploymentResult:
        """See `DeploymentProvider.scale`."""
        return self._signed(await (await self._acting()).scale(replicas, on_cancel=self.config.on_cancel))

    async def rollback(self, version: str) -> DeploymentResult:
        """See `DeploymentProvider.rollback`."""
        return self._signed(await (await self._acting()).rollback(version, on_cancel=self.config.on_cancel))

    async def get_status(self) -> DeploymentState:
        """See `DeploymentProvider.get_status`."""
        return await self._state()

    async def diff(self, config: DeploymentConfig) -> Sequence[Change]:
        """See `DeploymentProvider.diff`."""
        whole = completed(config, self.config)
        running = await self._running()
        if running is not None:
            return await running.diff(whole)
        return changes_between(past_config(self.config, await self._past()), whole)

    async def history(self) -> Sequence[Release]:
        """See `DeploymentProvider.history`."""
        running = await self._running()
        if running is not None:
            return await running.history()
        return (await self._past()).past.history(self.config.history_limit)

    async def watch_rollout(self, *, wait: bool = False) -> AsyncGenerator[RolloutEvent, None]:
        """See `DeploymentProvider.watch_rollout`."""
        running = await self._running()
        while wait and not self._rollouts.goes_on and not isinstance(running, RemoteSupervisor):
            # Here it is told of at once; that another process has become the supervisor is not.
            with anyio.move_on_after(_LOOK_AGAIN):
                await self._rollouts.begun()
            running = await self._running()
        here = self._rollouts.watch(wait=False)
        events = running.watch_rollout(wait=wait) if isinstance(running, RemoteSupervisor) else here
        async with aclosing(events):
            async for event in events:
                yield event

    async def logs(
        self, *, instance: str | None = None, lines: int = 100, follow: bool = False
    ) -> AsyncGenerator[LogLine, None]:
        """See `DeploymentProvider.logs`; of a deployment that nobody runs there is nothing to follow."""
        running = await self._running()
        if running is None:
            for line in await read_logs(self.config.directory, instance, lines):
                yield self._masked(line)
            return
        async with aclosing(running.logs(instance=instance, lines=lines, follow=follow)) as written:
            async for line in written:
                yield self._masked(line)

    def _masked(self, line: LogLine) -> LogLine:
        return line.model_copy(update={"text": self._redactor.text(line.text)})

    async def _try_out(self, config: ProcessDeploymentConfig) -> DeploymentResult:
        began = time.monotonic()
        state, changes = await self._state(), tuple(await self.diff(config))
        told = ", ".join(change.path or change.object for change in changes)
        return DeploymentResult(
            success=True,
            deployment_id=f"{config.namespace}/{config.name}",
            status=state["status"],
            message=f"dry run: would change {told}" if told else "dry run: nothing would change",
            metadata={
                "revision": state["revision"],
                "version": state["version"],
                "replicas": state["replicas"],
                "images": (),
                "duration_ms": round((time.monotonic() - began) * 1000, 3),
                "changes": changes,
            },
        )

    async def _state(self) -> DeploymentState:
        running = await self._running()
        if running is not None:
            return await running.get_status()
        return state_of_past(self.config, await self._past())

    async def is_supervised_elsewhere(self) -> bool:
        """Whether another provider, of this or of another process, runs the deployment."""
        if self.supervises:
            return False
        return await to_thread.run_sync(is_locked, self.config.directory)

    @property
    def supervises(self) -> bool:
        """Whether this provider runs the deployment."""
        return self._supervisor is not None and not self._supervisor.ended

    def kill(self) -> None:
        """End all processes at once, without SIGTERM: for one who is tired of waiting for `cleanup`."""
        if self._supervisor is not None:
            self._supervisor.kill()

    async def _past(self) -> Journal:
        """Read the journal of a deployment that nobody runs."""
        journal = Journal(self.config.directory)
        await journal.load()
        return journal

    async def _running(self) -> Supervisor | RemoteSupervisor | None:
        """Return who runs the deployment, if anybody does."""
        if self._supervisor is not None and not self._supervisor.ended:
            return self._supervisor
        return await RemoteSupervisor.find(self.config)

    async def _acting(self) -> Supervisor | RemoteSupervisor:
        """Return who runs the deployment, this provider if nobody else does.

        Raises:
            ProviderUnavailableError: Another one does, and does not answer.
            ProviderStateError: This one would, and has no owner for what runs in the background.
        """
        async with self._opening:
            # One that has just begun, or is about to end, does not answer for a moment.
            with anyio.move_on_after(self.config.timeout_ms / 1000):
                while True:
                    running = await self._running() or await self._take_over()
                    if running is not None:
                        return running
                    await anyio.sleep(_LOOK_AGAIN)
        raise ProviderUnavailableError(
            f"another process runs {self.config.namespace}/{self.config.name}, and does not answer; it is "
            f"the one that has {self.config.directory / LOCK} open",
            sent=False,
        )

    async def _take_over(self) -> Supervisor | None:
        supervisor = await Supervisor.open(self.config, self._rollouts, self.logger)
        if supervisor is None:
            return None
        try:
            self.spawn(supervisor.run, partial(self._serve, supervisor), name="supervisor")
        except BaseException:
            with anyio.CancelScope(shield=True):
                await supervisor.close()
            raise
        self._supervisor = supervisor
        return supervisor

    async def _serve(self, supervisor: Supervisor) -> None:
        def complain(error: Exception) -> None:
            self.logger.warning("supervisor.conversation_failed", error=error)

        try:
            await serve(supervisor, self.config.directory, self.conceal, complain)
        except OSError as error:
            # Nobody else can ask then; that is no reason to end what runs.
            self.logger.warning("supervisor.unreachable", error=error)
