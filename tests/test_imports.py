"""What is loaded by whom: time to start is spent on what is used, and on nothing else."""

import json
import subprocess
import sys

FOREIGN = {
    "aiohttp",
    "anyio",
    "cyclopts",
    "httpcore",
    "httpx",
    "kubernetes_asyncio",
    "opentelemetry",
    "packaging",
    "pydantic",
    "pydantic_core",
    "structlog",
    "tenacity",
    "tomlkit",
    "watchfiles",
    "yaml",
}
USEFUL = "from aioproviders import BaseProvider, ProviderConfig, ProviderRegistry, operation"


def loaded(program: str) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after `program`."""
    ending = "; import json, sys; print(json.dumps(list(sys.modules)), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program + ending], capture_output=True, text=True, check=True
    )
    (modules,) = done.stderr.splitlines()
    return set(json.loads(modules))


def drivers(modules: set[str]) -> list[str]:
    kinds = ("aioproviders.sdk.", "aioproviders.deployment.", "aioproviders.configuration.")
    return sorted(module for module in modules if module.startswith(kinds))


def test_the_package_alone_loads_nothing():
    """`import aioproviders` loads no package but itself, and none of its own modules."""
    modules = loaded("import aioproviders")
    assert modules & FOREIGN == set()
    assert sorted(name for name in modules if name.startswith("aioproviders")) == ["aioproviders"]


def test_all_names_load_no_driver():
    """The public names, all of them, load no foreign client, no driver and nothing of the command line."""
    modules = loaded("from aioproviders import *")
    assert modules & FOREIGN == {"anyio", "pydantic", "pydantic_core", "structlog", "tenacity"}
    assert drivers(modules) == []
    assert not {"aioproviders.cli", "aioproviders.testing"} & modules


def test_what_programs_need_loads_the_core_alone():
    """Of foreign packages a program of providers in a registry loads only those the core stands on."""
    assert loaded(USEFUL) & FOREIGN <= {"anyio", "pydantic", "pydantic_core", "structlog", "tenacity"}
