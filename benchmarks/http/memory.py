"""Peak memory of one contender under two loads: ``python -m benchmarks.http.memory URL CONTENDER``."""

from __future__ import annotations

import asyncio
import json
import resource
import sys

from benchmarks.http.contenders import CONTENDERS, logging_at_info
from benchmarks.http.load import Load, put_under

_LOADS = (Load(100, 0.5, 1, 1.5), Load(1000, 0.5, 1, 1.5))


async def _measure(url: str, contender: str) -> dict[str, object]:
    peaks = []
    answered = given_up = 0
    async with logging_at_info():
        for load in _LOADS:
            async with CONTENDERS[contender](url) as client:
                seen = await put_under(load, client.get)
            # The highest of the process so far, in KiB on Linux.
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
            answered += seen.answered
            given_up += seen.given_up
    return {"peaks": peaks, "answered": answered, "given_up": given_up}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure(*sys.argv[1:]))))
