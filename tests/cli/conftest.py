"""What the tests of the command line share."""

from types import SimpleNamespace

import pytest
from cli_processes import Service, Terminal

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
