"""The types of the public API, as users' type checkers see them."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(180)  # the first run types all dependencies
def test_api(tmp_path):
    """Right uses have the types that users expect, wrong ones are flagged."""
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\nplugins = pydantic.mypy\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", str(config), "--follow-imports", "silent",
         "--cache-dir", str(ROOT / ".mypy_cache" / "typing"), str(ROOT / "tests" / "typing" / "api.py")],
        check=False, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout.startswith("Success"), done.stdout + done.stderr
