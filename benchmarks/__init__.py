"""What the framework costs, as ratios of figures taken side by side: ``python -m benchmarks``."""

import importlib
import sys

# Where sniffio is installed, anyio asks it which loop is running at every step, for half a microsecond each.
# Nobody has it but for one of the peers (openai), so anyio is imported as everywhere else: without.
if "anyio" not in sys.modules:
    sys.modules["sniffio"] = None  # type: ignore[assignment]  # what makes an import fail
    importlib.import_module("anyio._core._eventloop")
    del sys.modules["sniffio"]
