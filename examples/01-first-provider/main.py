"""A provider in a few lines, used directly."""

import asyncio
import shutil
from typing import Any

import anyio

from aioproviders import BaseProvider, ProviderConfig, ProviderError, configure_logging, operation


class DiskConfig(ProviderConfig):
    """Which file system, and when it counts as full."""

    path: str = "/"
    least_free: float = 0.01


class DiskProvider(BaseProvider[DiskConfig]):
    """How full a file system is."""

    async def initialize(self) -> None:
        """Look once, so that a wrong path shows at the start."""
        self.total = (await self.usage()).total

    async def health_check(self) -> dict[str, Any]:
        """Degraded when the file system is nearly full."""
        free = (await self.usage()).free / self.total
        return {"status": "healthy" if free >= self.config.least_free else "degraded", "free": round(free, 3)}

    async def cleanup(self) -> None:
        """Forget what was seen; there is nothing to close."""
        self.total = 0

    @operation(idempotent=True)
    async def usage(self) -> Any:
        """Ask the file system; a thread keeps the event loop free meanwhile."""
        return await anyio.to_thread.run_sync(shutil.disk_usage, self.config.path, abandon_on_cancel=True)


async def main() -> None:
    """Use it as it should be, then point it at a path that is not there."""
    configure_logging("console", "info")
    async with DiskProvider(DiskConfig(name="root", version="1", timeout_ms=500)) as disk:
        print(f"{(await disk.usage()).free / 1e9:.1f} GB free")
        print((await disk.health_check())["status"])

    missing = DiskProvider(DiskConfig(name="missing", version="1", path="/no/such/path"))
    try:
        await missing.usage()
    except ProviderError as error:
        print(f"failed as it should: {error}")
    await missing.cleanup()


asyncio.run(main())
