"""Async providers with timeouts, retries, limits, logs and health from config alone.

The layers, each importing only what stands below it:

    cli, testing                          the command line; what authors of drivers test with
    sdk, deployment, configuration        the kinds of providers: interfaces, and drivers beside them
    registry                              many providers: start, sweep, watch, swap, stop
    loading                               providers files
    factory                               drivers by type and name
    provider                              BaseProvider: read this first
    lifecycle, operations                 one provider's states; what wraps its methods
    resilience                            deadline, retry, limits, timeout around a method
    limits, logs                          rate limit, retry budget, circuit breaker; structured logs
    calls                                 the call under way and its trace
    config, health, results               what goes in, what comes out
    redaction, errors

The core knows no driver: they are found through entry points, ours like anybody else's.
"""

from aioproviders.calls import Call, current_call, trace_context
from aioproviders.config import ProviderConfig
from aioproviders.configuration import ConfigurationProvider
from aioproviders.deployment import DeploymentConfig, DeploymentProvider, DeploymentResult
from aioproviders.errors import (
    AuthenticationError,
    CircuitOpenError,
    ConfigurationError,
    ConfigurationWarning,
    ConflictError,
    ErrorDetail,
    NotFoundError,
    ProviderError,
    ProviderNotFoundError,
    ProviderStateError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitedError,
    RequestError,
    UnsupportedCapabilityError,
)
from aioproviders.factory import ProviderFactory
from aioproviders.health import HealthCheck, HealthReport, HealthStatus
from aioproviders.logs import configure_logging
from aioproviders.operations import operation
from aioproviders.provider import BaseProvider, ProviderState, ProviderType
from aioproviders.registry import ProviderRegistry
from aioproviders.sdk import SDKConfig, SDKProvider, SDKResponse

__all__ = [
    "AuthenticationError",
    "BaseProvider",
    "Call",
    "CircuitOpenError",
    "ConfigurationError",
    "ConfigurationProvider",
    "ConfigurationWarning",
    "ConflictError",
    "DeploymentConfig",
    "DeploymentProvider",
    "DeploymentResult",
    "ErrorDetail",
    "HealthCheck",
    "HealthReport",
    "HealthStatus",
    "NotFoundError",
    "ProviderConfig",
    "ProviderError",
    "ProviderFactory",
    "ProviderNotFoundError",
    "ProviderRegistry",
    "ProviderState",
    "ProviderStateError",
    "ProviderTimeoutError",
    "ProviderType",
    "ProviderUnavailableError",
    "RateLimitedError",
    "RequestError",
    "SDKConfig",
    "SDKProvider",
    "SDKResponse",
    "UnsupportedCapabilityError",
    "configure_logging",
    "current_call",
    "operation",
    "trace_context",
]
