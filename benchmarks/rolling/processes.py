"""A service of two processes is updated while requests come in, each on a connection of its own."""

from __future__ import annotations

import asyncio
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import quantiles

import anyio

from aioproviders.deployment.process import ProcessDeploymentConfig, ProcessDeploymentProvider
from benchmarks.results import Table
from benchmarks.rounds import rounds_of

__all__ = ["run"]

SERVICE = Path(__file__).parents[2] / "tests" / "deployment" / "apps" / "versioned.py"
RATE = 200
PATIENCE = 5.0
KINDS = {"a rolling update": "rolling_update", "all stopped, then started anew": "recreate"}
NOTHING = "no update"


@dataclass
class Traffic:
    """What came of the requests of one round."""

    seconds: list[float] = field(default_factory=list)
    lost: int = 0

    @property
    def p99(self) -> float:
        """The slowest of a hundred, in milliseconds."""
        return quantiles(self.seconds, n=100)[98] * 1e3


def run(*, quick: bool) -> Iterator[Table]:
    """Measure; yields the tables."""
    updates, rounds = (1, 1) if quick else (10, 5)
    contenders = {
        NOTHING: partial(_updated, 0, "rolling_update"),
        **{name: partial(_updated, updates, kind) for name, kind in KINDS.items()},
    }
    found = asyncio.run(rounds_of(contenders, rounds))
    sent = {name: sum(len(item.seconds) + item.lost for item in items) for name, items in found.items()}
    note = "Open loop: a request is due every 5 ms, however slow the others are. Two replicas; the socket is "
    yield Table(
        f"{updates} updates of a service under {RATE} requests/s: requests lost",
        "requests lost",
        {
            f"{name}, {sent[name]:,} requests": [float(item.lost) for item in items]
            for name, items in found.items()
        },
        note=f"{note}handed from process to process.",
    )
    yield Table(
        f"{updates} updates of a service under {RATE} requests/s: the slowest of a hundred",
        "milliseconds, p99",
        {name: [item.p99 for item in items] for name, items in found.items()},
        base=NOTHING,
        note="From when a request was due to its answer.",
    )


async def _updated(updates: int, kind: str) -> Traffic:
    """Update the service so many times, one after the other, and return what came of the requests."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        config = ProcessDeploymentConfig.model_validate(
            {
                "name": "shop",
                "version": "0",
                "replicas": 2,
                "command": [sys.executable, "-IS", str(SERVICE), "{version}"],
                "ports": [{"port": port}],
                "readiness_probe": {"kind": "notify"},
                "strategy": {"kind": kind},
                "state_directory": folder,
            }
        )
        async with ProcessDeploymentProvider(config) as provider:
            (await provider.deploy(config)).raise_for_error()
            async with _traffic(port) as traffic:
                for number in range(1, updates + 1):
                    newer = config.model_copy(update={"version": str(number)})
                    (await provider.deploy(newer)).raise_for_error()
                # Also where there is nothing to update there should be something to count.
                await anyio.sleep(1)
    return traffic


@asynccontextmanager
async def _traffic(port: int) -> AsyncIterator[Traffic]:
    """Make requests while the block runs; all are answered or lost when it has been left."""
    traffic = Traffic()
    over = anyio.Event()

    async def send() -> None:
        async with anyio.create_task_group() as requests:
            due = time.perf_counter()
            while not over.is_set():
                requests.start_soon(_request, port, due, traffic)
                due += 1 / RATE
                await anyio.sleep(max(0.0, due - time.perf_counter()))

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(send)
        try:
            yield traffic
        finally:
            over.set()


async def _request(port: int, due: float, traffic: Traffic) -> None:
    answer = b""
    try:
        with anyio.fail_after(PATIENCE):
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
                async for chunk in stream:
                    answer += chunk
    except (OSError, anyio.BrokenResourceError):
        answer = b""
    if answer.startswith(b"HTTP/1.1 200 "):
        traffic.seconds.append(time.perf_counter() - due)
    else:
        traffic.lost += 1
