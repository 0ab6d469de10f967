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
    calls, phases                         the call under way and its trace; where its time goes
    config, health, results               what goes in, what comes out
    redaction, errors

The core knows no driver: they are found through entry points, ours like anybody else's.
"""

# Type checkers take this for true; to import it from typing would cost more than all else here.
TYPE_CHECKING = False
if TYPE_CHECKING:
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

# Where each is defined.
_HOMES = {
    "AuthenticationError": "errors",
    "BaseProvider": "provider",
    "Call": "calls",
    "CircuitOpenError": "errors",
    "ConfigurationError": "errors",
    "ConfigurationProvider": "configuration",
    "ConfigurationWarning": "errors",
    "ConflictError": "errors",
    "DeploymentConfig": "deployment",
    "DeploymentProvider": "deployment",
    "DeploymentResult": "deployment",
    "ErrorDetail": "errors",
    "HealthCheck": "health",
    "HealthReport": "health",
    "HealthStatus": "health",
    "NotFoundError": "errors",
    "ProviderConfig": "config",
    "ProviderError": "errors",
    "ProviderFactory": "factory",
    "ProviderNotFoundError": "errors",
    "ProviderRegistry": "registry",
    "ProviderState": "provider",
    "ProviderStateError": "errors",
    "ProviderTimeoutError": "errors",
    "ProviderType": "provider",
    "ProviderUnavailableError": "errors",
    "RateLimitedError": "errors",
    "RequestError": "errors",
    "SDKConfig": "sdk",
    "SDKProvider": "sdk",
    "SDKResponse": "sdk",
    "UnsupportedCapabilityError": "errors",
    "configure_logging": "logs",
    "current_call": "calls",
    "operation": "operations",
    "trace_context": "calls",
}

if not TYPE_CHECKING:  # which would take any name for one of ours

    def __getattr__(name: str) -> object:
        """Import a public name when it is first asked for: who uses a part waits for no other (PEP 562)."""
        from importlib import import_module  # noqa: PLC0415 - `import aioproviders` alone is all but free

        if name in _HOMES:
            value = getattr(import_module(f"aioproviders.{_HOMES[name]}"), name)
        elif name in _HOMES.values():
            value = import_module(f"aioproviders.{name}")
        else:
            raise AttributeError(f"module 'aioproviders' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__} - {"TYPE_CHECKING"})
