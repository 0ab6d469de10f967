"""Sweep a fleet from a providers file, then watch it while a service dies and returns."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import anyio
from anyio.abc import Process

from aioproviders import HealthReport, ProviderRegistry

HERE = Path(__file__).parent


async def serve(port: int) -> Process:
    """Start a real web server in a process of its own, and wait until it answers."""
    server = await anyio.open_process(
        [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(HERE), str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with anyio.fail_after(10):
        while True:
            try:
                await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
            except OSError:
                await anyio.sleep(0.05)
            else:
                return server


async def stop(server: Process) -> None:
    """End a process that `serve` has started."""
    if server.returncode is None:
        server.terminate()
        await server.wait()


def free_port() -> int:
    """Ask the system for a port that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def show(report: HealthReport) -> None:
    """Print a report, a line a provider."""
    print(f"fleet is {report.status} after {report.duration_ms:.0f} ms")
    for name, check in report.checks.items():
        print(f"  {name:10} {check['status']:10} {check.get('error', '')}")


async def main() -> None:
    """Sweep once, then watch."""
    port = free_port()
    os.environ["SITE_URL"] = f"http://127.0.0.1:{port}"
    server = await serve(port)
    try:
        async with ProviderRegistry.from_file(HERE / "providers.toml", start=False) as registry:
            show(await registry.sweep(deadline=5))
            show(await registry.sweep(deadline=5, tags=["web"]))

            seen: asyncio.Queue[str] = asyncio.Queue()
            async with registry.monitor(interval=0.2, deadline=5, failure_threshold=2) as monitor:
                monitor.subscribe(
                    lambda change: seen.put_nowait(f"{change.name}: {change.old} -> {change.new}")
                )
                await expect(seen, "site: unknown -> healthy")
                await stop(server)
                await expect(seen, "site: healthy -> error")
                server = await serve(port)
                await expect(seen, "site: error -> healthy")
    finally:
        await stop(server)


async def expect(seen: "asyncio.Queue[str]", change: str) -> None:
    """Print the changes of health as they come, up to the one that is expected."""
    with anyio.fail_after(20):
        while True:
            news = await seen.get()
            print(f"  {news}")
            if news == change:
                return


asyncio.run(main())
