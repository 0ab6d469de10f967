"""What is loaded by whom: time to start is spent on what is used, and on nothing else."""

import json
import subprocess
import sys

import pytest

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
    return set(json.loads(done.stderr.splitlines()[-1]))


def drivers(modules: set[str]) -> list[str]:
    kinds = ("aioproviders.sdk.", "aioproviders.deployment.", "aioproviders.configuration.")
    # The deployment kind's interface is in several modules.
    interface = {"aioproviders.deployment.config", "aioproviders.deployment.models"}
    return sorted(module for module in modules - interface if module.startswith(kinds))


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
    """A program of providers in a registry loads no kind it does not use, and nothing that reads files."""
    modules = loaded(USEFUL)
    assert modules & FOREIGN <= {"anyio", "pydantic", "pydantic_core", "structlog", "tenacity"}
    unused = ("cli", "configuration", "deployment", "loading", "sdk", "testing")
    assert not {f"aioproviders.{name}" for name in unused} & modules


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["health", "--help"], ["health", "--nope"], ["halth"]]
)
def test_help_and_mistakes_load_the_parser_alone(arguments):
    """What needs no provider needs nothing of the library: of foreign packages cyclopts is all."""
    program = f"from aioproviders.cli import main; main({arguments})"
    modules = loaded(program)
    assert modules & FOREIGN == {"cyclopts"}
    assert sorted(name for name in modules if name.startswith("aioproviders.")) == [
        "aioproviders.cli",
        "aioproviders.cli.app",
        "aioproviders.cli.boundary",
        "aioproviders.cli.options",
        "aioproviders.cli.output",
    ]


def test_a_check_loads_the_drivers_of_its_file(tmp_path):
    """`health` loads the drivers that its file names, and no other one's packages."""
    (tmp_path / "providers.toml").write_text(
        '[providers.settings]\ntype = "configuration"\ndriver = "environment"\nversion = "1"\n'
    )
    path = str(tmp_path / "providers.toml")
    modules = loaded(f"from aioproviders.cli import main; assert main(['health', '-c', {path!r}]) == 0")
    assert modules & FOREIGN <= {
        "anyio",
        "cyclopts",
        "packaging",
        "pydantic",
        "pydantic_core",
        "structlog",
        "tenacity",
    }
    assert drivers(modules) == ["aioproviders.configuration.environment"]
