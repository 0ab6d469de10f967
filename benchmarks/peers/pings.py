"""Health checks by other means: svcs' pings, and what one would write with asyncio alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import svcs

__all__ = ["checked_within", "one_by_one", "pings"]

Check = Callable[[], Awaitable[object]]


def pings(checks: Sequence[Check]) -> Callable[[], Awaitable[dict[str, list[str]]]]:
    """Return the health endpoint of svcs' documentation, with a service for each check."""
    registry = svcs.Registry()
    for number, check in enumerate(checks):
        # svcs finds services by their types.
        service = type(f"Service{number}", (), {})
        registry.register_factory(service, service, ping=_ping(check))

    async def healthy() -> dict[str, list[str]]:
        ok: list[str] = []
        failing: list[str] = []
        async with svcs.Container(registry) as container:
            for service in container.get_pings():
                try:
                    await service.aping()
                    ok.append(service.name)
                except Exception as error:  # noqa: BLE001 - as documented
                    failing.append(f"{service.name}: {error!r}")
        return {"ok": ok, "failing": failing}

    return healthy


def _ping(check: Check) -> Callable[[object], Awaitable[None]]:
    async def ping(_: object) -> None:
        await check()

    return ping


async def one_by_one(checks: Sequence[Check]) -> list[object]:
    """Await one check after the other."""
    return [await check() for check in checks]


async def checked_within(checks: Sequence[Check], seconds: float) -> list[object]:
    """Check side by side, and give up what is not done after `seconds`; returns what was found."""
    tasks = [asyncio.create_task(check()) for check in checks]  # type: ignore[arg-type]  # coroutine functions
    done, late = await asyncio.wait(tasks, timeout=seconds)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    return [task.result() for task in done]
