"""``python -m aioproviders`` is the command ``aioproviders``."""

from __future__ import annotations

import sys

from aioproviders.cli import main

if __name__ == "__main__":
    sys.exit(main())
