"""The deployment kind: providers that run an application somewhere.

    config      DeploymentConfig: what to deploy, and how
    models      what the operations tell: statuses, results, releases, events
    releases    finding a release by name
    rollouts    one thing at a time, told to all who watch

Here is the interface; the drivers are modules of their own beside it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, ClassVar

from typing_extensions import TypeVar

from aioproviders.calls import current_call
from aioproviders.deployment.config import DeploymentConfig, Port, Probe, Strategy
from aioproviders.deployment.models import (
    Change,
    DeploymentMetadata,
    DeploymentResult,
    DeploymentState,
    DeploymentStatus,
    Diagnosis,
    Instance,
    LogLine,
    Release,
    Replicas,
    RolloutEvent,
)
from aioproviders.errors import UnsupportedCapabilityError
from aioproviders.operations import operation
from aioproviders.provider import BaseProvider, ProviderType

__all__ = [
    "Change",
    "DeploymentConfig",
    "DeploymentMetadata",
    "DeploymentProvider",
    "DeploymentResult",
    "DeploymentState",
    "DeploymentStatus",
    "Diagnosis",
    "Instance",
    "LogLine",
    "Port",
    "Probe",
    "Release",
    "Replicas",
    "RolloutEvent",
    "Strategy",
]

DeploymentConfigT = TypeVar("DeploymentConfigT", bound=DeploymentConfig, default=DeploymentConfig)


class DeploymentProvider(BaseProvider[DeploymentConfigT]):
    """Interface of deployment providers.

    The first four methods are a driver's duty; the others raise `UnsupportedCapabilityError` until it
    overrides them. A provider takes care of one deployment: the one that was deployed last through it,
    before that the one that its own config names; some drivers take no other than that.
    """

    provider_type: ClassVar[ProviderType | None] = ProviderType.DEPLOYMENT

    @operation(failure=DeploymentResult.from_error, self_timed=True)
    @abstractmethod
    async def deploy(self, config: DeploymentConfigT) -> DeploymentResult:
        """Bring the application to what `config` says, and wait until it is well.

        A rollout that fails is undone, where `config` says so, and the result tells why it failed:
        ``result.diagnosis``. The same config again changes nothing.

        Our drivers take any `DeploymentConfig`, and what only their own config has from their own; and
        they take ``dry_run=True``: nothing is changed, ``metadata["changes"]`` tells what would be.
        """

    @operation(failure=DeploymentResult.from_error, self_timed=True)
    @abstractmethod
    async def scale(self, replicas: int) -> DeploymentResult:
        """Change the number of instances, and wait until there are as many."""

    @operation(failure=DeploymentResult.from_error, self_timed=True)
    @abstractmethod
    async def rollback(self, version: str) -> DeploymentResult:
        """Go back to an earlier release, and wait until it is well.

        Args:
            version: A version; or "previous", the last release that was healthy; or "revision:7".
        """

    @operation(idempotent=True)
    @abstractmethod
    async def get_status(self) -> Mapping[str, Any]:
        """Tell where the deployment stands; from our drivers a `DeploymentState`."""

    @operation(idempotent=True)
    async def diff(self, config: DeploymentConfigT) -> Sequence[Change]:  # noqa: ARG002 - what overrides take
        """Tell what `deploy` would change, and change nothing.

        Raises:
            UnsupportedCapabilityError: This driver can't tell.
        """
        raise self._lacks("diff")

    @operation(idempotent=True)
    async def history(self) -> Sequence[Release]:
        """Return the releases that are kept, newest first.

        Raises:
            UnsupportedCapabilityError: This driver keeps no history.
        """
        raise self._lacks("history")

    @operation(kind="stream", idempotent=True, self_timed=True)
    async def watch_rollout(self, *, wait: bool = False) -> AsyncGenerator[RolloutEvent, None]:  # noqa: ARG002 - likewise
        """Yield the steps of the rollout that is under way until it ends; none where none is.

        Args:
            wait: Where none is under way, whether to wait for one.

        Raises:
            UnsupportedCapabilityError: This driver can't tell.
        """
        raise self._lacks("watch_rollout")
        yield

    @operation(kind="stream", idempotent=True, self_timed=True)
    async def logs(
        self,
        *,
        instance: str | None = None,  # noqa: ARG002 - likewise
        lines: int = 100,  # noqa: ARG002 - likewise
        follow: bool = False,  # noqa: ARG002 - likewise
    ) -> AsyncGenerator[LogLine, None]:
        """Yield what the instances have written.

        Args:
            instance: Only of this one.
            lines: The last lines of each, so many.
            follow: Whether to go on with what they write from now on.

        Raises:
            UnsupportedCapabilityError: This driver has no logs.
        """
        raise self._lacks("logs")
        yield

    def _signed(self, result: DeploymentResult) -> DeploymentResult:
        """Return a driver's result with a failure that says whose it is, as one that is raised does."""
        call, detail = current_call(), result.error_detail
        if call is None or detail is None or detail.provider is not None:
            return result
        error = detail.error
        error.provider, error.operation = self.name, call.operation
        error.attempts, error.elapsed = call.attempt, call.elapsed
        return result.because_of(error)

    def _lacks(self, method: str) -> UnsupportedCapabilityError:
        return UnsupportedCapabilityError(f"{type(self).__name__} has no {method}()")
