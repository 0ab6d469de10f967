"""One rollout: from the change to all instances available, or to what it was undone to."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import anyio

from aioproviders.deployment.models import (
    DeploymentMetadata,
    DeploymentResult,
    DeploymentStatus,
    Diagnosis,
    Instance,
    Replicas,
)
from aioproviders.deployment.process.controller import Controller, Target
from aioproviders.deployment.process.diagnosis import diagnose
from aioproviders.deployment.process.journal import Journal
from aioproviders.errors import ProviderError, ProviderStateError, ProviderTimeoutError, RequestError
from aioproviders.logs import ProviderLogger

__all__ = ["Order", "Rollout"]

Order = Literal["rollback", "pause", "abandon"]


class _RolloutError(Exception):
    """The new release can't be brought up."""

    def __init__(self, diagnosis: Diagnosis, *, timeout: bool = False) -> None:
        super().__init__(str(diagnosis))
        self.diagnosis, self.timeout = diagnosis, timeout


class _OrderedError(Exception):
    """Whoever began the rollout wants something else of it now."""


class Rollout:
    """Brings a controller to a target, and back if that fails.

    It runs in the background; whoever waits for it may leave.

    Args:
        what: What is being done, for messages: ``rollout of 1.4.0``.
        target: Where to.
        before: Where to go back to when it is cancelled; None for nothing at all.
        was: The revision and the number of replicas that the journal had before.
        fallback: Where to go back to after a failure; None leaves things as they are then.
        controller: Does the work.
        journal: Is told the outcome.
        tell: Publishes events, see `Rollouts.tell`.
        logger: Logs the steps.

    Attributes:
        done: Is set when it is over.
    """

    def __init__(  # noqa: PLR0913 - a rollout brings all its parties together
        self,
        what: str,
        target: Target,
        *,
        before: Target | None,
        was: tuple[int | None, int],
        fallback: Target | None,
        controller: Controller,
        journal: Journal,
        tell: Callable[..., None],
        logger: ProviderLogger,
    ) -> None:
        self.target = target
        self.done = anyio.Event()
        self._what, self._before, self._was, self._fallback = what, before, was, fallback
        self._controller, self._journal = controller, journal
        self._tell, self._logger = tell, logger
        self._order: Order | None = None
        self._undoing = False
        self._status = DeploymentStatus.PROGRESSING
        self._began = time.monotonic()
        self._outcome: DeploymentResult | Exception | None = None
        self._told: Replicas | None = None
        self._steps: dict[str, tuple[Any, ...]] = {}

    @property
    def result(self) -> DeploymentResult:
        """What it came to, once it is over.

        Raises:
            ProviderError: It could not be seen through.
        """
        if isinstance(self._outcome, DeploymentResult):
            return self._outcome
        if isinstance(self._outcome, Exception):
            raise self._outcome
        raise ProviderStateError(f"the provider was closed during the {self._what}")

    @property
    def left_failed(self) -> bool:
        """Whether it failed, and was not undone."""
        return self._status is DeploymentStatus.FAILED

    def order(self, order: Order) -> None:
        """Do something else than going on: undo it, stop half-way, or leave the field to another."""
        # What is being undone already isn't stopped half-way.
        if order == "abandon" or not self._undoing:
            self._order = order
            self._controller.notify()

    async def run(self) -> None:
        """See it through; tells and logs how it went."""
        try:
            self._outcome = await self._run()
        except Exception as error:  # noqa: BLE001 - whoever waits for it gets it; the processes live on
            self._status = DeploymentStatus.FAILED
            self._outcome = error
        finally:
            self._finish()
            self.done.set()

    def _finish(self) -> None:
        if self._order == "abandon":
            return
        outcome = self._outcome
        if outcome is None:
            self._status = DeploymentStatus.UNKNOWN
        closed = f"the provider was closed during the {self._what}"
        message = outcome.message if isinstance(outcome, DeploymentResult) else str(outcome or closed)
        self._say("finished", message or "", status=self._status)

    async def _run(self) -> DeploymentResult:
        target = self.target
        self._log("rollout.started")
        self._say("started", f"{self._what} begins")
        self._controller.aim(target)
        try:
            await self._settle(target.config.rollout_timeout_ms / 1000)
        except _OrderedError:
            return await self._follow_order()
        except _RolloutError as error:
            return await self._fail(error)
        self._status = DeploymentStatus.HEALTHY if target.replicas else DeploymentStatus.SCALED_TO_ZERO
        replicas = self._controller.replicas  # one that ends while that is written down is another matter
        await self._journal.outcome(target.revision, self._status, healthy=True)
        self._log("rollout.completed")
        runs = f"runs, {replicas}" if target.replicas else "is scaled to zero"
        return self._make_result(True, f"version {target.version} {runs}", replicas=replicas)

    async def _settle(self, limit: float) -> None:
        """Wait until the controller has what it is after."""
        with anyio.move_on_after(limit):
            while True:
                changed = self._controller.changed
                self._progress()
                if self._order is not None:
                    raise _OrderedError
                if self._controller.settled:
                    return
                doomed = next((member for member in self._controller.current if member.doomed), None)
                if doomed is not None:
                    raise _RolloutError(diagnose(doomed))
                await changed.wait()
        waiting = [member for member in self._controller.current if not member.available]
        raise _RolloutError(diagnose(waiting[0] if waiting else None, limit=limit), timeout=True)

    async def _fail(self, error: _RolloutError) -> DeploymentResult:
        diagnosis, fallback = error.diagnosis, self._fallback
        failed = f"the {self._what} failed: {diagnosis}"
        self._log("rollout.failed", reason=diagnosis.reason, error=diagnosis.message)
        why = _error_of(failed, timeout=error.timeout)
        if fallback is None:
            self._status = DeploymentStatus.FAILED
            await self._journal.outcome(self.target.revision, self._status)
            return self._make_result(False, failed, diagnosis=diagnosis).because_of(why)
        self._say("rollback", f"{failed}; rolling back to {fallback.version}")
        undone = await self._restore(fallback)
        if undone is not None:
            self._status = DeploymentStatus.FAILED
            told = f"{failed}; going back to {fallback.version} failed, too: {undone}"
            why = _error_of(told, timeout=error.timeout)
        else:
            self._status = DeploymentStatus.ROLLED_BACK
            told = f"{failed}; went back to {fallback.version}"
        return self._make_result(False, told, diagnosis=diagnosis).because_of(why)

    async def _restore(self, target: Target) -> Diagnosis | None:
        """Go back to `target`; return what hinders it, if anything does."""
        self._begin_undoing()
        same = target.revision == self.target.revision
        if not same:
            await self._journal.outcome(self.target.revision, DeploymentStatus.ROLLED_BACK)
        await self._journal.current(target.revision, replicas=target.replicas)
        self._controller.renew()
        self._controller.aim(target)
        try:
            await self._settle(self.target.config.rollback_timeout_ms / 1000)
        except _RolloutError as error:
            return error.diagnosis
        except _OrderedError:
            return Diagnosis(reason="Abandoned", message="another rollout has begun")
        self._log("rollout.rolled_back", to=target.version)
        return None

    def _begin_undoing(self) -> None:
        self._undoing, self._order = True, None

    async def _follow_order(self) -> DeploymentResult:
        if self._order == "abandon":
            if self._journal.past.is_pending(self.target.revision):
                await self._journal.outcome(self.target.revision, DeploymentStatus.UNKNOWN)
            return self._make_result(False, f"the {self._what} was left to another")
        if self._order == "pause":
            self._status = DeploymentStatus.PAUSED
            self._controller.pause()
            await self._journal.outcome(self.target.revision, self._status)
            self._log("rollout.paused")
            return self._make_result(False, f"the {self._what} is paused")
        self._say("rollback", f"the {self._what} was cancelled; undoing it")
        if self._before is None:
            self._begin_undoing()
            await self._journal.outcome(self.target.revision, DeploymentStatus.ROLLED_BACK)
            revision, replicas = self._was
            await self._journal.current(revision, replicas=replicas)
            self._controller.aim(None)
            await self._settle_on_nothing()
        elif (hindrance := await self._restore(self._before)) is not None:
            self._status = DeploymentStatus.FAILED
            return self._make_result(
                False, f"the {self._what} was cancelled, and undoing it failed: {hindrance}"
            )
        self._status = DeploymentStatus.ROLLED_BACK
        return self._make_result(False, f"the {self._what} was cancelled and undone")

    async def _settle_on_nothing(self) -> None:
        with anyio.move_on_after(self.target.config.rollback_timeout_ms / 1000):
            while not self._controller.settled:
                await self._controller.changed.wait()

    def _progress(self) -> None:
        replicas = self._controller.replicas
        if replicas != self._told:
            self._told = replicas
            self._log("rollout.progressed")
            self._say("progress", str(replicas))
        instances = self._controller.instances
        for name in self._steps.keys() - {instance.name for instance in instances}:
            del self._steps[name]
            self._say("instance", f"{name} is stopped", instance=Instance(name=name, phase="stopped"))
        for instance in instances:
            step = (instance.phase, instance.reason, instance.pid)
            if self._steps.get(instance.name) != step:
                self._steps[instance.name] = step
                told = f"{instance.name} is {instance.phase}"
                self._say(
                    "instance", f"{told}: {instance.reason}" if instance.reason else told, instance=instance
                )

    def _make_result(self, success: bool, message: str, **more: Any) -> DeploymentResult:
        target = self._controller.target
        config = self.target.config
        metadata = DeploymentMetadata(
            revision=target.revision if target else None,
            version=target.version if target else None,
            replicas=self._controller.replicas,
            images=(),
            duration_ms=round((time.monotonic() - self._began) * 1000, 3),
        )
        return DeploymentResult(
            success=success,
            deployment_id=f"{config.namespace}/{config.name}",
            status=self._status,
            message=message,
            metadata={**metadata, **more},
        )

    def _say(
        self,
        kind: str,
        message: str,
        status: DeploymentStatus = DeploymentStatus.PROGRESSING,
        instance: Instance | None = None,
    ) -> None:
        self._tell(
            kind,
            status,
            message,
            version=self.target.version,
            replicas=self._controller.replicas,
            instance=instance,
        )

    def _log(self, event: str, **values: Any) -> None:
        counts = self._controller.replicas.model_dump()
        log = self._logger.error if event == "rollout.failed" else self._logger.info
        log(event, version=self.target.version, revision=self.target.revision, **counts, **values)


def _error_of(message: str, *, timeout: bool) -> ProviderError:
    if timeout:
        return ProviderTimeoutError(message, retryable=False, outage=False)
    return RequestError(message, retryable=False, outage=False)
