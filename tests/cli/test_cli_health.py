"""`health`: sweeps of real services, once and again and again."""

import io
import json
import re
import signal
import socket

import pytest
from cli_processes import PATIENCE, http_table, session_members, start, until

from aioproviders.cli.output import console_for
from aioproviders.cli.sweeping import _Board, deadline_of
from aioproviders.health import HealthCheck, HealthStatus

DOWN = http_table("down", "http://127.0.0.1:1", retry_attempts=1)


def lines_fit(text):
    return all(len(line) <= 80 for line in text.splitlines())


def test_all_well_is_exit_code_0(providers, run, shared_service):
    """A sweep of what works shows a row each, and ends with 0."""
    providers(http_table("service", shared_service.url, health_path="/status/200"))

    result = run("health")

    assert result.code == 0
    assert re.search(r"service +healthy +[\d.]+ ms +1", result.out)
    assert re.search(r"healthy: 1 healthy, in [\d.]+ m?s", result.out)
    assert result.err == ""
    assert lines_fit(result.out)


def test_anything_that_fails_is_exit_code_1(providers, run, shared_service):
    """What is down is told with the reason; nothing wider than the terminal, nothing cut off."""
    providers(DOWN + http_table("service", shared_service.url))

    result = run("health")

    assert result.code == 1
    assert re.search(r"down +error +[\d.]+ ms +1 +\S", result.out)
    assert "unhealthy: 1 healthy, 1 error" in result.out
    assert "…" not in result.out
    assert lines_fit(result.out)


def test_json_is_the_report(providers, run):
    """With --json the report is one document."""
    providers(DOWN)

    result = run("health", "--json")

    report = json.loads(result.out)
    assert result.code == 1
    assert report["status"] == "unhealthy"
    assert report["checks"]["down"]["status"] == "error"
    assert report["checks"]["down"]["attempts"] == 1


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--tag", "x"], ["a", "c"]),
        (["--tag", "x", "--tag", "y"], ["a", "b", "c"]),
        (["--only", "b", "--only", "c"], ["b", "c"]),
        (["--exclude", "a"], ["b", "c"]),
        (["--max-concurrency", "1", "--deadline", "5"], ["a", "b", "c"]),
    ],
)
def test_options_select(options, names, providers, run):
    """What is selected is checked, and nothing else."""
    providers(
        "".join(
            f'[providers.{name}]\ntype = "configuration"\ndriver = "environment"\n'
            f'version = "1"\ntags = ["{tag}"]\n'
            for name, tag in [("a", "x"), ("b", "y"), ("c", "x")]
        )
    )

    result = run("health", "--json", *options)

    assert list(json.loads(result.out)["checks"]) == names


def test_the_deadline_holds(providers, run, shared_service):
    """A check that hangs past the deadline is a timeout, and the rest is told."""
    providers(
        http_table("slow", shared_service.url, health_path="/delay/5", timeout_ms=9000)
        + http_table("quick", shared_service.url)
    )

    result = run("health", "--deadline", "1", "--json")

    report = json.loads(result.out)
    assert {name: check["status"] for name, check in report["checks"].items()} == {
        "slow": "timeout",
        "quick": "healthy",
    }
    assert 1000 <= report["duration_ms"] < 3000


def test_the_environment_is_laid_over(providers, run, shared_service):
    """--env takes the file's overlay."""
    providers(
        http_table("service", "http://127.0.0.1:1", retry_attempts=1)
        + f'[environments.production.providers.service]\napi_endpoint = "{shared_service.url}"\n'
    )

    assert run("health").code == 1
    assert run("health", "--env", "production").code == 0


def test_secrets_stay_inside(providers, run, shared_service):
    """Credentials of the config are in no table, document or error."""
    providers(
        http_table("service", shared_service.url.replace("//", "//user:canary-in-url@"), retry_attempts=1)
        + http_table(
            "down", "http://127.0.0.1:1", api_key="canary-key-x", headers={"X-Token": "canary-header"}
        )
        + http_table("wrong", shared_service.url, api_key="canary-key-y", health_path="/status/500")
    )
    printed = ""
    for arguments in (
        ["health"],
        ["health", "--json"],
        ["list"],
        ["list", "--json"],
        ["check"],
        ["check", "--json"],
    ):
        result = run(*arguments)
        printed += result.out + result.err

    assert "service" in printed
    assert "canary" not in printed


def test_the_live_table_follows_services_that_die_and_return(providers, terminal, own_service):
    """The watch shows a death and a return, and ends at Ctrl-C with one line and the cursor back."""
    providers(http_table("service", own_service.url, retry_attempts=1))
    own_service.start()
    screen = terminal("health", "--watch", "--interval", "0.2")

    screen.wait_for(r"service\s.*healthy.*swept")
    own_service.kill()
    screen.wait_for(r"service\s.*error.*unhealthy.*1 error")
    own_service.start()
    screen.wait_for(r"service\s.*healthy.*healthy.*: 1 healthy")
    code, rest = screen.interrupt()

    assert code == 130
    assert rest.rstrip().endswith("interrupted")
    assert screen.raw.rstrip().rfind("\x1b[?25h") > screen.raw.rfind("\x1b[?25l")
    assert "Traceback" not in rest
    assert session_members(screen.process.pid) == []


def test_a_watch_without_a_terminal_prints_each_sweep(providers, tmp_path, own_service):
    """Into a pipe goes a JSON line a sweep, through a death and a return of the service."""
    providers(http_table("service", own_service.url, retry_attempts=1))
    process = start("health", "--watch", "--json", "--interval", "0.1", cwd=tmp_path)

    def status():
        return json.loads(process.stdout.readline())["status"]

    assert status() == "unhealthy"
    own_service.start()
    until(lambda: status() == "healthy", "the service is seen")
    own_service.kill()
    until(lambda: status() == "unhealthy", "the service is missed")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)

    assert process.returncode == 130
    assert errors == "interrupted\n"


def test_a_watch_into_a_pipe_prints_tables(providers, tmp_path):
    """Without --json each sweep is a table; SIGTERM ends it as orderly as Ctrl-C."""
    providers(DOWN)
    process = start("health", "--watch", "--interval", "0.1", cwd=tmp_path)
    printed = ""
    while printed.count("unhealthy: 1 error") < 2:
        printed += process.stdout.readline()
    process.terminate()
    _, errors = process.communicate(timeout=PATIENCE)

    assert "\x1b" not in printed
    assert lines_fit(printed)
    assert process.returncode == 143
    assert errors == "terminated\n"


@pytest.fixture
def board(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "10")
    console = console_for(io.StringIO())
    console._force_terminal = True
    board = _Board(console, "every 5 s")

    def drawn(checks, pending=0):
        board._checks, board._pending = checks, pending
        with console.capture() as captured:
            console.print(board.draw())
        return re.sub(r"\x1b\[[\d;]*m", "", captured.get())

    return drawn


def test_a_live_table_that_fits_folds_its_errors(board):
    """With room for it, the whole error is there."""
    drawn = board({"a": HealthCheck(status=HealthStatus.ERROR, error="word " * 15 + "END")}, pending=1)

    assert "END" in drawn
    assert "checking, 1 to go; every 5 s" in drawn


def test_a_live_table_that_does_not_fit_shows_what_is_wrong_first(board):
    """With too many providers there is a line each, failures first, and the number of the others."""
    checks = {f"good-{n}": HealthCheck(status=HealthStatus.HEALTHY) for n in range(20)}
    checks["bad"] = HealthCheck(status=HealthStatus.ERROR, error="word " * 15 + "END")

    lines = board(checks).splitlines()

    assert len(lines) <= 10
    assert lines[2].startswith("bad ")
    assert "END" not in lines[2]
    assert any(re.fullmatch(r"… and 1\d more", line) for line in lines)


@pytest.fixture
def silent():
    """The URL of a service that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_a_hanging_provider_does_not_hold_up_the_live_table(providers, terminal, shared_service, silent):
    """All rows are there from the beginning, fill as checks end, and are refreshed though one hangs."""
    providers(
        http_table("hung", silent, timeout_ms=60_000)
        + http_table("service", shared_service.url, retry_attempts=1)
    )
    screen = terminal("health", "--watch", "--interval", "0.2", "--deadline", "0.6")

    screen.wait_for(r"hung +checking.*service +healthy.*1 healthy.*checking, 1 to go")
    screen.wait_for(r"hung +timeout.*service +healthy.*1 timeout.*swept")
    screen.wait_for(r"swept.*checking, 1 to go")

    assert screen.interrupt()[0] == 130


def test_an_interrupted_sweep_shows_what_has_finished(providers, terminal, shared_service, silent):
    """Ctrl-C during a sweep on a terminal leaves the checks that have ended."""
    providers(http_table("hung", silent, timeout_ms=60_000) + http_table("service", shared_service.url))
    screen = terminal("health")

    screen.wait_for("1 of 2: waiting for hung")
    code, rest = screen.interrupt()

    assert code == 130
    assert re.search(r"service +healthy.*1 of 2 had finished.*interrupted", rest, re.DOTALL)


@pytest.mark.parametrize(("interval", "deadline"), [(None, 30), (1, 5), (60, 60)])
def test_every_sweep_has_an_end(interval, deadline):
    """Without a deadline asked for, a sweep ends after 30 s, one of a watch after its interval or 5 s."""
    assert deadline_of(interval) == deadline


def test_a_file_without_providers_has_nothing_to_check(providers, run):
    """An empty file is no matter of --tag, --only and --exclude, and is said to be empty."""
    providers("[providers]\n")

    result = run("health")

    assert (result.code, result.err) == (2, "error: nothing to check: the file has no providers\n")


def test_a_long_check_is_waited_for_in_sight(providers, terminal, shared_service):
    """On a terminal one sees that a single sweep is under way."""
    providers(http_table("slow", shared_service.url, health_path="/delay/1"))
    screen = terminal("health")

    screen.wait_for("checking")
    screen.wait_for("healthy: 1 healthy")

    assert screen.process.wait(PATIENCE) == 0
