"""The command ``aioproviders``: parses, calls the library, prints.

    health   check the providers of a file, once or again and again
    list     the providers of a file, and the drivers that are installed
    call     make one request through an SDK provider
    bench    make many, and tell their latencies
    deploy   bring a deployment to what the file says; scale, rollback, status, history, logs: likewise
    up       run the file's process deployments in the foreground
    check    validate a providers file
    schema   print the JSON Schema of providers files
    demo     see it all at work on a small service of its own

Each answers with exit code 0 when all is well, 1 when something is unhealthy or failed, 2 when the
command line or the providers file is wrong, and 130 after Ctrl-C. Results go to standard output,
as JSON with ``--json``; errors go to standard error, a line each.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Its arguments, without the program's name; by default those of the process.

    Returns:
        The exit code.
    """
    if argv is None:
        # This process is ours. By default every 700 objects start a garbage collection, which with a thousand
        # requests in flight is a fifth of the time.
        gc.set_threshold(10_000, 20, 50)
    try:
        return _main(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        # Before or after the command itself; what came while it ran is told by `guarded`.
        sys.stderr.write("interrupted\n")
        return 130


def _main(arguments: list[str]) -> int:
    try:
        # Imported only now: the rest of the library does without these packages, and starts faster.
        from aioproviders.cli.app import run  # noqa: PLC0415 - see above
        from aioproviders.cli.boundary import guarded  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"cyclopts", "rich"}:
            raise
        sys.stderr.write("error: the command line needs more packages: pip install 'aioproviders[cli]'\n")
        return 2
    return guarded(lambda: run(arguments), json="--json" in arguments)
