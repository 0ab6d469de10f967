"""`call`: a request through a provider to a real service."""

import json
import re
import signal
import socket

import pytest
from cli_processes import PATIENCE, http_table, session_members, start

SECRET = "canary-7f3a-secret"


@pytest.fixture
def service(providers, shared_service):
    """A file with a provider of the service, and one of nothing."""
    return providers(
        http_table("service", shared_service.url, api_key=SECRET, rate_limit=100_000)
        + http_table("down", "http://127.0.0.1:1", retry_attempts=2, backoff_initial_ms=1)
        + http_table("limited", shared_service.url, rate_limit=20, rate_limit_burst=1, max_concurrency=4)
    )


def test_the_answer_is_printed(service, run):
    """The answer goes to standard output as JSON, its status to standard error."""
    result = run("call", "service", "/anything", "-H", "X-One: 1", "-p", "a=1", "-p", "a=2")

    answer = json.loads(result.out)
    assert result.code == 0
    assert answer["method"] == "GET"
    assert answer["args"] == {"a": ["1", "2"]}
    assert answer["headers"]["X-One"] == "1"
    assert re.fullmatch(r"status 200, \d+ ms, 1 attempt\n", result.err)


@pytest.mark.parametrize("how", ["argument", "file", "input"])
def test_data_comes_from_argument_file_or_input(how, service, run, tmp_path, monkeypatch):
    """DATA may be JSON, `@file`, or `-`; with it the method is POST."""
    text = '{"amount": 100, "note": "ä"}'
    (tmp_path / "data.json").write_text(text, encoding="utf-8")
    with (tmp_path / "data.json").open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        result = run(
            "call", "service", "/anything", {"argument": text, "file": "@data.json", "input": "-"}[how]
        )

    answer = json.loads(result.out)
    assert answer["method"] == "POST"
    assert answer["json"] == {"amount": 100, "note": "ä"}


def test_the_method_can_be_chosen(service, run):
    """-X takes any method, in any case."""
    assert json.loads(run("call", "service", "/anything", "{}", "-X", "put").out)["method"] == "PUT"


def test_an_echoed_secret_is_masked(service, run):
    """A service that echoes the key does not make the command print it."""
    for options in ([], ["--json"]):
        result = run("call", "service", "/anything", *options)

        assert "**********" in result.out
        assert SECRET not in result.out + result.err


def test_text_is_printed_as_it_is(service, run):
    """An answer that is no JSON is printed as text."""
    result = run("call", "service", "/robots.txt")

    assert result.out.startswith("User-agent: *\n")


def test_binary_answers_are_left_as_they_are(service, tmp_path):
    """Bytes go through to a pipe or file unchanged."""
    process = start("call", "service", "/image/png", cwd=tmp_path)
    process.stdout.reconfigure(encoding="latin-1")
    out, _ = process.communicate(timeout=PATIENCE)

    assert out.startswith("\x89PNG\n")


def test_binary_answers_stay_off_a_terminal(service, terminal):
    """A terminal is told how many bytes there were."""
    screen = terminal("call", "service", "/image/png")

    screen.wait_for(r"[\d,]+ bytes that are no text")


def test_a_failure_is_exit_code_1(service, run):
    """A refusal is one line on standard error, and in the document of --json."""
    result = run("call", "service", "/status/404", "--json")

    document = json.loads(result.out)
    assert result.code == 1
    assert document["success"] is False
    assert document["error_detail"]["code"] == "not_found"
    assert result.err.startswith("error: service: ")
    assert "404" in result.err.splitlines()[0]


def test_a_service_that_is_down_is_told_with_the_attempts(service, run):
    """What can't be reached is an error that says so, and how often it was tried."""
    result = run("call", "down", "/")

    assert result.code == 1
    assert result.out == ""
    error, status = result.err.splitlines()
    assert "127.0.0.1:1" in error
    assert status.endswith("2 attempts")


def test_a_package_is_called_without_options(providers, run, tmp_path):
    """A provider whose requests take only endpoint and data gets nothing else."""
    (tmp_path / "vendor_of_call.py").write_text(
        "class Client:\n"
        "    def __init__(self, endpoint, api_key): pass\n"
        "    def request(self, endpoint, data): return [endpoint, data]\n"
    )
    providers(
        '[providers.package]\ntype = "sdk"\ndriver = "python"\nversion = "*"\n'
        'package_name = "vendor_of_call"\n'
        'api_endpoint = "x"\ninstall_path = "."\n'
    )

    result = run("call", "package", "orders", '{"a": 1}')

    assert json.loads(result.out) == ["orders", {"a": 1}]
    assert re.fullmatch(r"\d+ ms, 1 attempt\n", result.err)


@pytest.mark.parametrize(
    "command",
    [["call", "silent", "/"], ["bench", "silent", "/", "--json"], ["health"], ["health", "--watch"]],
)
def test_an_interrupted_command_is_one_line(command, providers, tmp_path):
    """Ctrl-C while a service keeps silent leaves one line, no traceback and no process."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE)
        providers(http_table("silent", f"http://127.0.0.1:{silent.getsockname()[1]}"))
        process = start(*command, cwd=tmp_path)
        connection, _ = silent.accept()
        with connection:
            assert connection.recv(1000)
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=PATIENCE)

    assert process.returncode == 130
    assert errors == "interrupted\n"
    if "--json" in command:
        assert json.loads(out)["complete"] is False
    else:
        assert out == ""
    assert session_members(process.pid) == []
