"""The public API as type checkers see it; read by mypy, never run.

Each ``type: ignore`` stands on a wrong use that must be flagged: with ``warn_unused_ignores`` mypy
fails when it is not.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, assert_type

from aioproviders import BaseProvder as _Misspelt  # type: ignore[attr-defined]  # noqa: F401 - is told
from aioproviders import (
    BaseProvider,
    Call,
    DeploymentConfig,
    DeploymentProvider,
    DeploymentResult,
    HealthCheck,
    HealthReport,
    HealthStatus,
    ProviderConfig,
    ProviderError,
    ProviderFactory,
    ProviderRegistry,
    ProviderState,
    ProviderType,
    SDKConfig,
    SDKProvider,
    SDKResponse,
    current_call,
    operation,
    trace_context,
)


class StoreConfig(ProviderConfig):
    bucket: str
    parts: int = 4


class StoreProvider(BaseProvider[StoreConfig]):
    async def initialize(self) -> None:
        assert_type(self.config, StoreConfig)
        assert_type(self.config.bucket, str)
        _ = self.config.nothing  # type: ignore[attr-defined]
        self.config.parts = 5  # type: ignore[misc]

    async def health_check(self) -> dict[str, Any]:
        return {"status": "healthy"}

    async def cleanup(self) -> None:
        self.logger.info("closed", parts=self.config.parts)

    @operation(idempotent=True)
    async def get(self, key: str, *, parts: int = 1) -> bytes:
        self.spawn(self.refresh, 5, name="refresh")
        self.conceal("token")
        return key.encode() * parts

    @operation
    async def put(self, key: str, data: bytes) -> None: ...

    @operation(idempotent=True, kind="stream")
    async def keys(self, prefix: str) -> AsyncIterator[str]:
        yield prefix

    async def refresh(self, seconds: int) -> None: ...


class PlainProvider(BaseProvider):
    async def initialize(self) -> None: ...
    async def health_check(self) -> HealthCheck:
        return HealthCheck(status=HealthStatus.HEALTHY)

    async def cleanup(self) -> None: ...


class Sdk(SDKProvider):
    async def initialize(self) -> None:
        assert_type(self.config, SDKConfig)

    async def health_check(self) -> dict[str, Any]:
        return {"status": "healthy"}

    async def cleanup(self) -> None: ...
    async def authenticate(self, credentials: dict[str, str]) -> bool:
        return bool(credentials)

    async def get_capabilities(self) -> dict[str, Any]:
        return {}

    async def make_request(self, endpoint: str, data: dict[str, Any] | None = None) -> SDKResponse:
        return SDKResponse(success=True, data=data, latency_ms=1, request_id=endpoint)


class ClusterConfig(DeploymentConfig):
    cluster: str = "c"


class Cluster(DeploymentProvider[ClusterConfig]):
    async def initialize(self) -> None:
        assert_type(self.config.cluster, str)

    async def health_check(self) -> dict[str, Any]:
        return {"status": "healthy"}

    async def cleanup(self) -> None: ...
    async def deploy(self, config: ClusterConfig) -> DeploymentResult:
        return DeploymentResult(success=True, deployment_id=config.cluster, status="deployed")

    async def scale(self, replicas: int) -> DeploymentResult:
        raise ProviderError("no", retryable=False)

    async def rollback(self, version: str) -> DeploymentResult:
        raise ProviderError("no")

    async def get_status(self) -> dict[str, Any]:
        return {}


class WrongReturn(PlainProvider):
    async def health_check(self) -> str:  # type: ignore[override]
        return "healthy"


class WrongConfig(BaseProvider[int]):  # type: ignore[type-var]
    pass


async def use(store: StoreProvider, plain: PlainProvider, sdk: Sdk, cluster: Cluster) -> None:
    assert_type(plain.config, ProviderConfig)
    assert_type(store.config, StoreConfig)
    assert_type(await store.get("a", parts=2), bytes)
    assert_type(store.keys("a"), AsyncIterator[str])
    async for key in store.keys("a"):
        assert_type(key, str)
    await store.get(1)  # type: ignore[arg-type]
    await store.get()  # type: ignore[call-arg]
    await store.put("a")  # type: ignore[call-arg]
    await store.got("a")  # type: ignore[attr-defined]
    async with store as entered:
        assert_type(entered, StoreProvider)
    assert_type(store.state, ProviderState)
    assert_type(store.name, str)
    assert_type(StoreProvider.provider_type, ProviderType | None)
    refresh: Callable[[int], Awaitable[None]] = store.refresh
    store.spawn(refresh, 5)
    store.spawn(print, 5)  # type: ignore[arg-type]

    answer = await sdk.make_request("/", {"a": 1})
    assert_type(answer, SDKResponse)
    assert_type(answer.raise_for_error(), SDKResponse)
    assert_type(await sdk.authenticate({"a": "b"}), bool)
    result = await cluster.scale(3)
    assert_type(result.raise_for_error(), DeploymentResult)
    await cluster.deploy(StoreConfig(name="a", version="1", bucket="b"))  # type: ignore[arg-type]
    await cluster.scale("3")  # type: ignore[arg-type]


async def find() -> None:
    async with ProviderRegistry() as registry:
        assert_type(registry, ProviderRegistry)
        assert_type(registry.get("a"), BaseProvider[Any])
        store = registry.get("a", StoreProvider)
        assert_type(store, StoreProvider)
        assert_type(store.config.bucket, str)
        sdk = registry.get("b", SDKProvider)
        assert_type((await sdk.make_request("/")).raise_for_error(), SDKResponse)
        await store.make_request("/")  # type: ignore[attr-defined]
        registry.get(5)  # type: ignore[call-overload]
        registry.register("a", "b")  # type: ignore[arg-type]
        assert_type(await registry.health_check_all(), dict[str, HealthCheck])
        assert_type(await registry.sweep(deadline=1), HealthReport)
        async for name, check in registry.iter_health():
            assert_type(name, str)
            assert_type(check, HealthCheck)
    ProviderFactory.register_provider(ProviderType.STORAGE, StoreProvider, "store")
    ProviderFactory.register_provider(ProviderType.STORAGE, StoreConfig)  # type: ignore[arg-type]


def make() -> None:
    config = StoreConfig(name="a", version="1", bucket="b")
    assert_type(StoreProvider(config), StoreProvider)
    StoreProvider(ProviderConfig(name="a", version="1"))  # type: ignore[arg-type]
    BaseProvider(config)  # type: ignore[abstract]
    ProviderConfig(name="a", version="1", timeout="5")  # type: ignore[call-arg]
    assert_type(config.model_copy(update={"parts": 5}), StoreConfig)


def look(report: HealthReport, check: HealthCheck, error: ProviderError) -> None:
    assert_type(report.checks["a"]["status"], HealthStatus)
    assert_type(report.counts(), dict[HealthStatus, int])
    assert_type(check["status"], HealthStatus)
    assert_type(check.get("latency_ms"), float | None)
    _ = check["staus"]  # type: ignore[typeddict-item]
    assert_type(error.retry_after, float | None)
    assert_type(error.retryable, bool)
    assert_type(current_call(), Call | None)
    with trace_context("00-") as trace_id:
        assert_type(trace_id, str)
