"""Measure the latency of a service through two transports, side by side."""

import asyncio
import os
import sys
from pathlib import Path
from statistics import quantiles

import anyio
from anyio.abc import Process

from aioproviders import ProviderRegistry, SDKProvider

HERE = Path(__file__).parent
REQUESTS = int(os.environ.get("REQUESTS", "500"))
ROUNDS = 3

SERVICE = """
import asyncio, sys
async def answer(reader, writer):
    try:
        while await reader.readuntil(b"\\r\\n\\r\\n"):
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\n")
            writer.write(b'Content-Length: 12\\r\\n\\r\\n{"ok": true}')
    except asyncio.IncompleteReadError:
        writer.close()
async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


async def measure(provider: SDKProvider, in_flight: int) -> list[float]:
    """Return the latencies of `REQUESTS` requests, in milliseconds."""
    latencies: list[float] = []
    numbers = iter(range(REQUESTS))

    async def work() -> None:
        for _ in numbers:
            begun = anyio.current_time()
            (await provider.make_request("/", method="GET")).raise_for_error()
            latencies.append((anyio.current_time() - begun) * 1000)

    async with anyio.create_task_group() as workers:
        for _ in range(in_flight):
            workers.start_soon(work)
    return latencies


async def main() -> None:
    """Start the service, measure, print a table."""
    async with await anyio.open_process([sys.executable, "-c", SERVICE], stderr=None) as service:
        try:
            os.environ["SERVICE_URL"] = f"http://127.0.0.1:{await port_of(service)}"
            async with ProviderRegistry.from_file(HERE / "providers.toml") as registry:
                print(f"{'transport':10} {'in flight':>9} {'p50 ms':>8} {'p90 ms':>8} {'p99 ms':>8}")
                for in_flight in (1, 50):
                    taken: dict[str, list[float]] = {name: [] for name in registry}
                    for _ in range(ROUNDS):
                        for name in registry:
                            taken[name] += await measure(registry.get(name, SDKProvider), in_flight)
                    for name, latencies in taken.items():
                        cuts = quantiles(latencies, n=100)
                        print(f"{name:10} {in_flight:>9} {cuts[49]:8.2f} {cuts[89]:8.2f} {cuts[98]:8.2f}")
        finally:
            service.terminate()


async def port_of(service: Process) -> int:
    """Read the port that the service prints when it is ready."""
    assert service.stdout is not None
    return int(await service.stdout.receive())


asyncio.run(main())
