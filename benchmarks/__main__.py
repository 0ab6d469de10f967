"""Run the benchmarks named on the command line, or all of them, and print a table of ratios."""

import asyncio
import sys

from benchmarks import calls, sweeps

BENCHMARKS = {"calls": calls.run, "sweeps": sweeps.run}

unknown = set(sys.argv[1:]) - set(BENCHMARKS)
if unknown:
    print(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
    sys.exit(2)
for name in sys.argv[1:] or BENCHMARKS:
    base, taken = asyncio.run(BENCHMARKS[name]())
    print(f"\n{name:30} {'µs':>12} {'ratio':>7}")
    for contender, seconds in taken.items():
        print(f"{contender:30} {seconds * 1e6:12,.1f} {seconds / taken[base]:7.2f}")
