"""The deployment kind: providers that run an application somewhere. The interface and its models."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr
from typing_extensions import TypeVar

from aioproviders.calls import Call
from aioproviders.config import ProviderConfig
from aioproviders.errors import ErrorDetail, ProviderError
from aioproviders.operations import operation
from aioproviders.provider import BaseProvider, ProviderType

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


class DeploymentResult(BaseModel):
    """What a deployment operation came to.

    Attributes:
        success: Whether it worked; if not, `message` and `error_detail` say why.
        deployment_id: The target's name for the deployment; empty where there is none.
        status: Where the deployment stands.
        message: What happened, in one line.
        metadata: What else the driver has to say.
        error_detail: The error as data.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    success: bool
    deployment_id: str
    status: str
    message: str | None = None
    metadata: Mapping[str, Any] = {}
    error_detail: ErrorDetail | None = None
    _error: ProviderError | None = PrivateAttr(default=None)

    @classmethod
    def from_error(cls, error: ProviderError, _: Call) -> Self:
        """Make the result of a call that failed with `error`."""
        result = cls(
            success=False,
            deployment_id="",
            status="failed",
            message=error.message,
            error_detail=ErrorDetail.from_error(error),
        )
        result._error = error
        return result

    def raise_for_error(self) -> Self:
        """Return the result, if it is a success.

        Raises:
            ProviderError: It is not; the class tells the kind of failure.
        """
        if self.success:
            return self
        if self._error is not None:
            raise self._error
        if self.error_detail is not None:
            raise self.error_detail.to_error()
        raise ProviderError(self.message or "the deployment failed")


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
