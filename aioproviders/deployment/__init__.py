"""The deployment kind: providers that run an application somewhere. The interface and its models."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from typing_extensions import TypeVar

from aioproviders.calls import Call
from aioproviders.config import ProviderConfig
from aioproviders.errors import ProviderError
from aioproviders.operations import operation
from aioproviders.provider import BaseProvider, ProviderType
from aioproviders.results import OperationResult

__all__ = ["DeploymentConfig", "DeploymentProvider", "DeploymentResult"]


class DeploymentConfig(ProviderConfig):
    """Configuration of deployment providers.

    Attributes:
        environment: Which of the application's environments this is.
        namespace: Where in the target the application lives.
        replicas: Instances to run.
        resources: What each instance may use, in the target's own terms.
    """

    environment: str = "development"
    namespace: str = "default"
    replicas: int = 1
    resources: Mapping[str, Any] = {}


class DeploymentResult(OperationResult):
    """What a deployment operation came to.

    Attributes:
        success: Whether it worked; if not, `message` and `error_detail` say why.
        deployment_id: The target's name for the deployment; empty where there is none.
        status: Where the deployment stands.
        message: What happened, in one line.
        metadata: What else the driver has to say.
        error_detail: The error as data.
    """

    deployment_id: str
    status: str
    message: str | None = None
    metadata: Mapping[str, Any] = {}

    @classmethod
    def from_error(cls, error: ProviderError, _: Call) -> Self:
        """Make the result of a call that failed with `error`."""
        result = cls(success=False, deployment_id="", status="failed", message=error.message)
        return result.because_of(error)

    def _plain_error(self) -> ProviderError:
        return ProviderError(self.message or "the deployment failed")


DeploymentConfigT = TypeVar("DeploymentConfigT", bound=DeploymentConfig, default=DeploymentConfig)


class DeploymentProvider(BaseProvider[DeploymentConfigT]):
    """Interface of deployment providers."""

    provider_type: ClassVar[ProviderType | None] = ProviderType.DEPLOYMENT

    @operation(failure=DeploymentResult.from_error)
    @abstractmethod
    async def deploy(self, config: DeploymentConfigT) -> DeploymentResult:
        """Bring the application to what `config` says."""

    @operation(failure=DeploymentResult.from_error)
    @abstractmethod
    async def scale(self, replicas: int) -> DeploymentResult:
        """Change the number of instances."""

    @operation(failure=DeploymentResult.from_error)
    @abstractmethod
    async def rollback(self, version: str) -> DeploymentResult:
        """Go back to `version`."""

    @operation(idempotent=True)
    @abstractmethod
    async def get_status(self) -> dict[str, Any]:
        """Tell where the deployment stands."""
