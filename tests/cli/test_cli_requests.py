"""`call` and `bench`: requests through providers to a real service."""

import json
import re
import signal
import socket

import pytest
from cli_processes import PATIENCE, http_table, session_members, start

from aioproviders.cli.measuring import percentile

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


def test_bench_tells_the_latencies(service, run):
    """So many requests, so many at a time, with percentiles and throughput, in 80 columns."""
    result = run("bench", "service", "/status/200", "-n", "40", "-c", "8")

    assert result.code == 0
    assert re.search(r"40 requests in [\d.]+ s: [\d.,]+ requests/s, 0 errors, 0 retries", result.out)
    assert re.search(r"LATENCY +P50 +P90 +P99 +MAX", result.out)
    assert re.search(r"service( +[\d.]+ m?s){4}\n", result.out)
    assert "held" not in result.out
    assert max(map(len, result.out.splitlines())) <= 80


def test_the_two_meanings_of_c_are_told_apart(service, run, tmp_path):
    """For bench `-c` with a number is the concurrency, and else the file."""
    service.rename(tmp_path / "other.toml")

    for concurrency in (["-c", "2"], ["-c2"], ["-c=2"], ["--concurrency", "2"]):
        result = run("bench", "service", "/status/200", "-n", "2", *concurrency, "-c", "other.toml", "--json")

        assert json.loads(result.out)["requests"] == 2


def test_bench_counts_errors_by_kind(service, run):
    """Failures are counted by kind with the first message of each, and make it exit code 1."""
    result = run("bench", "service", "/status/418", "-n", "5")
    document = json.loads(run("bench", "down", "/", "-n", "5", "--json").out)

    assert result.code == 1
    assert re.search(r"request_failed 418 +5 +\S", result.out)
    assert "P50" not in result.out
    assert document["errors"] == {"unavailable": 5}
    assert document["attempts"] == 10
    assert document["latency_ms"] is None
    assert document["complete"] is True


def test_bench_says_which_limit_held(service, run):
    """The provider's own limits hold, and it is said that it was them."""
    result = run("bench", "limited", "/status/200", "-n", "15", "-c", "8")

    assert "\nrate_limit = 20 held" in result.out
    assert "\nmax_concurrency = 4 held" in result.out


def test_bench_of_what_cannot_start_is_an_error(providers, run):
    """A provider that can't be initialized is told once, not per request."""
    providers(
        '[providers.package]\ntype = "sdk"\ndriver = "python"\nversion = "*"\n'
        'package_name = "no_such_package"\napi_endpoint = "x"\n'
    )

    result = run("bench", "package", "x")

    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "no_such_package" in result.err


def test_interrupted_bench_prints_what_it_has(service, terminal):
    """Ctrl-C ends the progress bar, prints the requests so far, and exits with 130."""
    screen = terminal("bench", "limited", "/status/200", "-n", "1000")

    screen.wait_for(r" [1-9]\d*/1000 .*/s")
    code, rest = screen.interrupt()

    assert code == 130
    assert re.search(r"\d+ of 1,000 requests in ", rest)
    assert rest.rstrip().endswith("interrupted")
    assert "Traceback" not in rest
    assert session_members(screen.process.pid) == []


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


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([7.0], 0.5, 7.0),
        ([1, 2, 3, 4], 0.5, 2),
        (list(range(1, 101)), 0.99, 99),
        ([1, 2, 3], 0.9, 3),
        ([1, 2], 1, 2),
    ],
)
def test_percentiles_are_by_nearest_rank(values, share, expected):
    """A percentile is the smallest value that covers its share."""
    assert percentile(values, share) == expected
