"""Peak memory of one contender under two loads: ``python -m benchmarks.http.memory URL CONTENDER``."""

from __future__ import annotations

import asyncio
import json
import sys

import psutil

from benchmarks.http.contenders import CONTENDERS, logging_at_info
from benchmarks.http.load import Load, put_under

_LOADS = tuple(Load(in_flight, warming=0.3, window=0.7, patience=0.7) for in_flight in (100, 1000))


async def _watch(peaks: list[int]) -> None:
    """Append the resident memory of this process, in bytes, and keep its highest there."""
    process = psutil.Process()
    peaks.append(0)
    while True:
        peaks[-1] = max(peaks[-1], process.memory_info().rss)
        await asyncio.sleep(0.01)


async def _measure(url: str, contender: str) -> dict[str, object]:
    peaks: list[int] = []
    answered = given_up = 0
    async with logging_at_info():
        for load in _LOADS:
            watch = asyncio.create_task(_watch(peaks))
            async with CONTENDERS[contender](url) as client:
                seen = await put_under(load, client.get)
            watch.cancel()
            answered += seen.answered
            given_up += seen.given_up
    return {"peaks": peaks, "answered": answered, "given_up": given_up}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure(*sys.argv[1:]))))
