"""The steps of the demo: each does something with real providers, and says what came of it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import anyio
from pydantic_core import to_json

from aioproviders.cli.bench.load import Load, measure
from aioproviders.cli.bench.measurement import Measurement
from aioproviders.cli.bench.report import latency_table
from aioproviders.cli.demo.narration import Narrator
from aioproviders.cli.output import milliseconds, plural
from aioproviders.cli.sweeping import health_table, summary
from aioproviders.configuration import ConfigurationProvider
from aioproviders.health import HealthStatus
from aioproviders.registry import ProviderRegistry
from aioproviders.sdk import SDKProvider, SDKResponse

__all__ = ["Tour"]

_EXPECTED_HEALTH = {
    "service": HealthStatus.HEALTHY,
    "shop": HealthStatus.HEALTHY,
    "vendor": HealthStatus.HEALTHY,
    "flaky": HealthStatus.HEALTHY,
    "ledger": HealthStatus.UNHEALTHY,
    "warehouse": HealthStatus.ERROR,
    "reports": HealthStatus.BLOCKED,
    "settings": HealthStatus.HEALTHY,
}
_REFUSED_TWICE = 3
"""Attempts it takes where the service refuses twice."""


class Tour:
    """The steps of one run.

    Args:
        registry: The demo's providers.
        narrator: Tells of them.
    """

    REQUESTS = 500
    CONCURRENCY = 20

    def __init__(self, registry: ProviderRegistry, narrator: Narrator) -> None:
        self._registry = registry
        self._tell = narrator

    async def run(self) -> None:
        """Take all of them, in order."""
        await self._sweep()
        await self._requests()
        await self._retries()
        await self._breaker()
        await self._latency()

    def _sdk(self, name: str) -> Callable[..., Awaitable[SDKResponse]]:
        request: Callable[..., Awaitable[SDKResponse]] = self._registry.get(name, SDKProvider).make_request
        return request

    def _same_item(self) -> Mapping[str, Callable[[], Awaitable[SDKResponse]]]:
        """Return the same request by two drivers."""
        return {
            "shop": partial(self._sdk("shop"), "/items/1", method="GET"),
            "vendor": partial(self._sdk("vendor"), "/items/1"),
        }

    async def _sweep(self) -> None:
        self._tell.step("One sweep asks them all at once how they are")
        report = await self._registry.sweep(deadline=5)
        self._tell.draw(health_table(report.checks))
        self._tell.draw("")
        self._tell.draw(summary(report.checks, report.duration_ms))
        found = {name: check["status"] for name, check in report.checks.items()}
        self._tell.fact(
            "those that work are healthy; each of the others says what is wrong",
            ok=found == _EXPECTED_HEALTH,
            report=report,
        )

    async def _requests(self) -> None:
        self._tell.step("Requests: to an HTTP API, through a vendor's package; and a setting")
        for name, request in self._same_item().items():
            response = await request()
            self._tell.fact(
                f"{name}: {_answer(response)}, in {response.latency_ms} ms",
                ok=response.success,
                response=response,
            )
        settings = self._registry.get("settings", ConfigurationProvider)
        greeting = await settings.get_config("greeting")
        self._tell.fact(f"settings: greeting is {greeting!r}, from DEMO_GREETING", ok=greeting == "good day")
        config = self._registry.get("shop", SDKProvider).config
        key = config.api_key
        self._tell.fact(
            f"shop's key as its config shows it: {key}",
            ok=key is not None and key.get_secret_value() not in f"{key} {config!r}",
        )

    async def _retries(self) -> None:
        self._tell.step("Retries: 'flaky' answers 503 twice, then works")
        flaky = self._sdk("flaky")
        read = await flaky("/items/1", method="GET")
        self._tell.fact(
            f"GET: {_answer(read)}, after {plural(read.attempts, 'attempt')} in {read.latency_ms} ms",
            ok=read.success and read.attempts == _REFUSED_TWICE,
            response=read,
        )
        written = await flaky("/items", {"name": "kettle"})
        self._tell.fact(
            f"POST: {_answer(written)}, after {plural(written.attempts, 'attempt')} with one Idempotency-Key",
            ok=written.success and written.attempts == _REFUSED_TWICE,
            response=written,
        )

    async def _breaker(self) -> None:
        self._tell.step("A circuit breaker: 'ledger' is broken")
        ledger = partial(self._sdk("ledger"), "/items/1", method="GET")
        failures = [await ledger() for _ in range(3)]
        self._tell.fact(
            f"3 requests fail: {failures[-1].error}",
            ok=not any(failure.success for failure in failures),
            responses=failures,
        )
        begun = time.perf_counter()
        refused = await ledger()
        took = (time.perf_counter() - begun) * 1000
        self._tell.fact(
            f"the next one is not sent, it fails in {milliseconds(took)}: {refused.error}",
            ok=refused.error_detail is not None and refused.error_detail.code == "circuit_open",
            response=refused,
        )
        await self._sdk("shop")("/faults/ledger", {"broken": False}, method="PUT")
        # As long as open_ms in the providers file, and a bit.
        await anyio.sleep(1.1)
        probes = [await ledger(), await ledger()]
        self._tell.fact(
            f"mended; a second later a probe is let through, and closes it: {_answer(probes[0])}",
            ok=all(probe.success for probe in probes),
            responses=probes,
        )

    async def _latency(self) -> None:
        self._tell.step(f"Latency: {self.REQUESTS} requests each, {self.CONCURRENCY} at a time")
        found = {}
        for name, request in self._same_item().items():
            found[name] = Measurement()
            await measure(request, found[name], Load(self.CONCURRENCY, self.REQUESTS))
        latencies = {name: measurement.latencies() for name, measurement in found.items()}
        self._tell.draw(latency_table({name: row for name, row in latencies.items() if row is not None}))
        self._tell.draw("")
        rates = " and ".join(f"{measurement.throughput:,.0f}" for measurement in found.values())
        self._tell.fact(
            f"{rates} requests/s, {plural(sum(m.errors.total() for m in found.values()), 'error')}",
            ok=not any(measurement.errors for measurement in found.values()),
            latency_ms=latencies,
        )


def _answer(response: SDKResponse) -> str:
    if not response.success:
        return f"failed: {response.error}"
    status = "" if response.status_code is None else f"{response.status_code} "
    return status + to_json(response.data).decode()
