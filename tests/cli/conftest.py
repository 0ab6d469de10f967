"""What the tests of the command line share."""

import subprocess
import sys
from types import SimpleNamespace

import deployment_double
import pytest
from cli_processes import Service, Terminal, environment
from deployment_double import Double, Plain

from aioproviders import ProviderFactory
from aioproviders.cli import main


@pytest.fixture(scope="session")
def shared_service():
    """One service for all tests that leave it alone."""
    service = Service()
    service.start()
    yield service
    service.kill()


@pytest.fixture
def own_service():
    """A service for one test, not started, to be killed and restarted by it."""
    service = Service()
    yield service
    service.kill()


@pytest.fixture
def providers(tmp_path, monkeypatch):
    """Write a providers file, and make its folder the current one."""
    monkeypatch.chdir(tmp_path)

    def write(text, name="providers.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def run(capfd, monkeypatch):
    """Run a command in this process; returns its exit code and what it printed."""
    monkeypatch.setenv("COLUMNS", "80")

    def run_main(*arguments):
        capfd.readouterr()
        code = main(list(arguments))
        captured = capfd.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return run_main


@pytest.fixture
def terminal(tmp_path):
    """Run a command on a terminal."""
    opened = []

    def open_terminal(*arguments, **options):
        opened.append(Terminal(*arguments, cwd=tmp_path, **options))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.close()


@pytest.fixture
def drivers(providers, monkeypatch):
    """A file with deployments by drivers that are registered here."""
    providers(deployment_double.FILE)
    monkeypatch.setattr(ProviderFactory, "_drivers", dict(ProviderFactory._drivers))
    monkeypatch.setattr(Double, "deployed", [])
    ProviderFactory.register_provider("deployment", Double, driver="double")
    ProviderFactory.register_provider("deployment", Plain, driver="plain")


@pytest.fixture
def program(drivers, tmp_path):
    """The command line with the drivers registered, as a script of its own."""
    path = tmp_path / "program.py"
    path.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(deployment_double.__file__.rpartition('/')[0])!r})\n"
        "from deployment_double import Double, Plain\n"
        "from aioproviders import ProviderFactory\n"
        "from aioproviders.cli import main\n"
        "ProviderFactory.register_provider('deployment', Double, driver='double')\n"
        "ProviderFactory.register_provider('deployment', Plain, driver='plain')\n"
        "sys.exit(main())\n"
    )
    return path


@pytest.fixture
def run_program(program, tmp_path):
    """Start a command with those drivers as a process."""
    started = []

    def start_program(*arguments):
        started.append(
            subprocess.Popen(
                [sys.executable, program, *arguments],
                cwd=tmp_path,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start_program
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
