"""Kills process groups when the supervisor has gone: ``python -IS guardian_script.py``.

Standard input tells the groups, ``+PGID`` and ``-PGID`` a line; it ends when the supervisor does, however.
"""

import os
import signal
import sys
from contextlib import suppress


def main() -> None:
    """Take groups into care until standard input ends, then kill those that are left."""
    groups = set()
    for line in sys.stdin:
        with suppress(ValueError):
            group = int(line[1:])
            if line.startswith("+"):
                groups.add(group)
            else:
                groups.discard(group)
    for group in groups:
        with suppress(OSError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
