"""The one who runs a deployment's processes: holds its lock and its journal, and rolls releases out."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from functools import partial
from typing import Any, Literal

import anyio
from anyio import to_thread
from anyio.abc import TaskGroup

from aioproviders.deployment.config import check_replicas
from aioproviders.deployment.models import (
    Change,
    DeploymentMetadata,
    DeploymentResult,
    DeploymentState,
    DeploymentStatus,
    LogLine,
    Release,
    RolloutEvent,
)
from aioproviders.deployment.process.config import ProcessDeploymentConfig
from aioproviders.deployment.process.controller import Controller, Target
from aioproviders.deployment.process.folder import claim, end_leftovers
from aioproviders.deployment.process.guardian import Guardian
from aioproviders.deployment.process.journal import Journal, ReleaseRecord, new_release
from aioproviders.deployment.process.known import KnownReleases, past_config, state_of_past
from aioproviders.deployment.process.listeners import Listeners
from aioproviders.deployment.process.logs import LOGS, LogHub, forget_logs, read_logs
from aioproviders.deployment.process.member import Member
from aioproviders.deployment.process.output import ReplicaOutput
from aioproviders.deployment.process.rollout import Rollout
from aioproviders.deployment.process.running_groups import RunningGroups
from aioproviders.deployment.process.standing import standing, state_of
from aioproviders.deployment.process.templates import Template, changes_between, same_processes
from aioproviders.deployment.rollouts import Rollouts
from aioproviders.errors import ConflictError, NotFoundError, ProviderStateError
from aioproviders.logs import ProviderLogger
from aioproviders.redaction import Redactor

__all__ = ["Supervisor"]

OnCancel = Literal["rollback", "leave", "pause"]


class Supervisor:
    """Runs one deployment; there is at most one on a machine for each, by a lock on its folder.

    Args:
        config: The provider's config.
        lock: Descriptor of the lock, held.
        journal: The journal, read.
        rollouts: What is under way.
        logger: Logs the steps of rollouts.
    """

    def __init__(
        self,
        config: ProcessDeploymentConfig,
        lock: int,
        journal: Journal,
        rollouts: Rollouts,
        logger: ProviderLogger,
    ) -> None:
        self._rollouts = rollouts
        self._config = config
        self._lock: int | None = lock
        self._journal = journal
        self._logger = logger
        self._guardian = Guardian()
        self._logs = LogHub()
        self._controller = Controller(self._make_member)
        self._listeners = Listeners()
        self._known = KnownReleases(journal, config)
        self._rollout: Rollout | None = None
        self._task_group: TaskGroup | None = None
        self._running = anyio.Event()
        self._groups = RunningGroups(journal, logger)
        self._secrets: frozenset[str] = frozenset()
        self._redactor = Redactor()

    @classmethod
    async def open(
        cls, config: ProcessDeploymentConfig, rollouts: Rollouts, logger: ProviderLogger
    ) -> Supervisor | None:
        """Become the supervisor; None where somebody else is.

        What one before has left behind by crashing is ended.

        Raises:
            ConfigurationError: The folder can't be used.
        """
        directory = config.directory
        lock = await claim(directory)
        if lock is None:
            return None
        try:
            journal = Journal(directory)
            past = await journal.load()
            for pid in await end_leftovers(past.groups):
                logger.warning("supervisor.killed_leftover", pid=pid)
            for pid in list(past.groups):
                await journal.ended(pid)
            for release in list(past.releases.values()):
                # Who rolled it out has gone before the end of it.
                if release.status is DeploymentStatus.PENDING:
                    await journal.outcome(release.revision, DeploymentStatus.UNKNOWN)
        except BaseException:
            os.close(lock)
            raise
        return cls(config, lock, journal, rollouts, logger)

    @property
    def ended(self) -> bool:
        """Whether it has let the deployment go."""
        return self._lock is None

    # Its life.

    async def run(self, serve: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run what there is to run until cancelled; then all processes are stopped, side by side.

        Args:
            serve: Lets others ask it meanwhile.
        """
        try:
            await self._guardian.start()
            async with anyio.create_task_group() as self._task_group:
                self._task_group.start_soon(self._guardian.keep)
                self._task_group.start_soon(self._controller.run)
                self._task_group.start_soon(self._groups.keep)
                self._task_group.start_soon(serve)
                self._running.set()
                await anyio.sleep_forever()
        finally:
            self._task_group = None
            self._running.set()
            with anyio.CancelScope(shield=True):
                await self.close()

    def kill(self) -> None:
        """End all processes at once; what runs goes on to its own end."""
        self._controller.kill()

    async def close(self) -> None:
        """End all that is left at once, and let the deployment go; more than once does no harm."""
        self._controller.kill()
        self._logs.close()
        await self._guardian.stop()
        self._listeners.close()
        lock, self._lock = self._lock, None
        if lock is not None:
            os.close(lock)

    def _make_member(self, name: str, index: int, target: Target) -> Member:
        if self._task_group is None:
            raise RuntimeError("the supervisor does not run")
        config = target.config
        output = ReplicaOutput(
            self._config.directory / LOGS, name, config.log_max_bytes, config.log_backups, self._logs.give
        )
        return Member(
            name,
            index,
            target.revision,
            config,
            sockets=partial(self._listeners.bind, config),
            guardian=self._guardian,
            output=output,
            on_change=self._controller.notify,
            on_process=self._groups.note,
        )

    # What it does.

    async def deploy(self, config: ProcessDeploymentConfig) -> DeploymentResult:
        """See `DeploymentProvider.deploy`."""
        began = time.monotonic()
        what = f"rollout of {config.version}"
        with self._turn(what, config.version):
            self._listeners.bind(config)
            await self._supersede()
            controller, past = self._controller, self._journal.past
            target, current = controller.target, past.current_release
            template = Template.of(config)
            if target is not None:
                same = same_processes(target.config, config)
            else:
                same = current is not None and current.template == template
            revision = past.current if same and past.current is not None else past.next_revision
            new = Target(revision, config)
            if target is not None and same and not controller.paused and target.replicas == new.replicas:
                controller.aim(new)
                if controller.settled:
                    return self._result(began, f"version {config.version} runs already: unchanged")
            release = None if same else new_release(revision, config.version, template, config.change_cause)
            fallback = self._known.after_failure(new, target) if config.rollback_on_failure else None
            return await self._roll_out(
                what, new, release, before=target, fallback=fallback, on_cancel=config.on_cancel
            )

    async def scale(self, replicas: int, *, on_cancel: OnCancel = "rollback") -> DeploymentResult:
        """See `DeploymentProvider.scale`; `on_cancel` as in the config of who asks."""
        began = time.monotonic()
        check_replicas(replicas)
        what = f"scaling to {replicas}"
        with self._turn(what):
            self._scaled(replicas)
            await self._supersede()
            before, target = self._controller.target, self._scaled(replicas)
            if before is not None and before.replicas == replicas and self._controller.settled:
                return self._result(began, f"{replicas} instances run already: unchanged")
            return await self._roll_out(what, target, None, before=before, fallback=None, on_cancel=on_cancel)

    def _scaled(self, replicas: int) -> Target:
        """Return what should run with so many instances; refused before anything is disturbed."""
        current = self._controller.target or self._known.last()
        if current is None:
            raise NotFoundError("nothing is deployed that could be scaled")
        if self._controller.paused:
            raise ConflictError("the rollout was stopped half-way; deploy first, then scale", sent=False)
        target = current.scaled(replicas)
        self._listeners.bind(target.config)
        return target

    async def rollback(self, version: str, *, on_cancel: OnCancel = "rollback") -> DeploymentResult:
        """See `DeploymentProvider.rollback`; `on_cancel` as in the config of who asks."""
        began = time.monotonic()
        what = f"rollback to {version}"
        with self._turn(what):
            self._known.find(version)
            await self._supersede()
            past, controller = self._journal.past, self._controller
            found = self._known.find(version)
            before = controller.target
            replicas = before.replicas if before else (past.replicas or self._config.replicas)
            config = self._known.config_of(found, before.config if before else None)
            config = config.model_copy(update={"replicas": replicas})
            running = before is not None and same_processes(before.config, config)
            if running and controller.settled:
                return self._result(began, f"version {found.version} runs already: unchanged")
            again = running or (before is None and found.revision == past.current)
            revision = found.revision if again else past.next_revision
            target = Target(revision, config)
            self._listeners.bind(config)
            cause = f"rollback to {found.version} (revision {found.revision})"
            release = None if again else new_release(revision, found.version, found.template, cause)
            return await self._roll_out(
                what, target, release, before=before, fallback=None, on_cancel=on_cancel
            )

    @contextmanager
    def _turn(self, what: str, version: str | None = None) -> Iterator[None]:
        """Hold the deployment; what was bound in vain is closed."""
        with self._rollouts.turn(what, version):
            try:
                yield
            except BaseException:
                if self._rollout is None or self._rollout.done.is_set():
                    self._release_ports()
                raise

    def _release_ports(self) -> None:
        """Close what no release listens on any more."""
        target = self._controller.target
        used = [member.config for member in self._controller.members]
        self._listeners.keep([*used, target.config] if target else used)

    async def _roll_out(  # noqa: PLR0913 - as much as there is to a rollout
        self,
        what: str,
        target: Target,
        release: ReleaseRecord | None,
        *,
        before: Target | None,
        fallback: Target | None,
        on_cancel: OnCancel,
    ) -> DeploymentResult:
        """Write down what is about to be done, begin it, and wait for it."""
        rollout = await self._begin(what, target, release, before=before, fallback=fallback)
        try:
            await rollout.done.wait()
        except anyio.get_cancelled_exc_class():
            if on_cancel == "leave":
                self._rollouts.leave()
            else:
                rollout.order(on_cancel)
                # It keeps to rollback_timeout_ms.
                with anyio.CancelScope(shield=True):
                    await rollout.done.wait()
            raise
        return rollout.result

    async def _begin(
        self,
        what: str,
        target: Target,
        release: ReleaseRecord | None,
        *,
        before: Target | None,
        fallback: Target | None,
    ) -> Rollout:
        await self._running.wait()
        past = self._journal.past
        was = (past.current, past.replicas)
        # What is written down is also begun.
        with anyio.CancelScope(shield=True):
            if release is None:
                await self._journal.current(target.revision, replicas=target.replicas)
            else:
                await self._journal.release(release, replicas=target.replicas)
                await self._journal.forget(target.config.history_limit, running=was[0])
            if self._task_group is None:
                raise ProviderStateError(f"the provider was closed before the {what}", sent=False)
            self._known.learn(target)
            self._controller.renew()
            rollout = self._rollout = Rollout(
                what,
                target,
                before=self._known.after_cancel(target, before),
                was=was,
                fallback=fallback,
                controller=self._controller,
                journal=self._journal,
                tell=self._rollouts.tell,
                logger=self._logger,
            )
            self._task_group.start_soon(self._see_through, rollout)
        return rollout

    async def _see_through(self, rollout: Rollout) -> None:
        await rollout.run()
        self._rollouts.end_left()
        self._release_ports()
        running = {member.name for member in self._controller.members}
        kept = set(self._journal.past.releases)
        with suppress(OSError):
            await to_thread.run_sync(forget_logs, self._config.directory, self._config.name, kept, running)

    async def _supersede(self) -> None:
        """End a rollout that whoever began it has left."""
        if self._rollout is not None and not self._rollout.done.is_set():
            self._rollout.order("abandon")
            await self._rollout.done.wait()

    # What it tells.

    async def get_status(self) -> DeploymentState:
        """See `DeploymentProvider.get_status`."""
        if self._controller.target is None:
            return state_of_past(self._config, self._journal)
        return state_of(self._controller, self._rollout)

    async def diff(self, config: ProcessDeploymentConfig) -> Sequence[Change]:
        """See `DeploymentProvider.diff`."""
        target = self._controller.target
        return changes_between(target.config if target else past_config(self._config, self._journal), config)

    async def history(self) -> Sequence[Release]:
        """See `DeploymentProvider.history`."""
        return self._journal.past.history(self._config.history_limit)

    def watch_rollout(self, *, wait: bool) -> AsyncGenerator[RolloutEvent, None]:
        """See `DeploymentProvider.watch_rollout`."""
        return self._rollouts.watch(wait=wait)

    async def logs(self, *, instance: str | None, lines: int, follow: bool) -> AsyncGenerator[LogLine, None]:
        """See `DeploymentProvider.logs`."""
        directory = self._config.directory
        if follow:
            async with aclosing(self._logs.follow(directory, instance, lines)) as told:
                async for line in told:
                    yield self._masked(line)
        else:
            for line in await read_logs(directory, instance, lines):
                yield self._masked(line)

    def _masked(self, line: LogLine) -> LogLine:
        """Return a line without any secret that is known here: who asks may know others, or none."""
        secrets = self._known.secrets
        if secrets != self._secrets:
            self._secrets, self._redactor = secrets, Redactor(secrets)
        return line.model_copy(update={"text": self._redactor.text(line.text)})

    def _result(self, began: float, message: str) -> DeploymentResult:
        target, config = self._controller.target, self._config
        status = standing(self._controller, self._rollout)[0] if target else DeploymentStatus.NOT_FOUND
        metadata = DeploymentMetadata(
            revision=target.revision if target else None,
            version=target.version if target else None,
            replicas=self._controller.replicas,
            images=(),
            duration_ms=round((time.monotonic() - began) * 1000, 3),
        )
        return DeploymentResult(
            success=True,
            deployment_id=f"{config.namespace}/{config.name}",
            status=status,
            message=message,
            metadata=metadata,
        )
