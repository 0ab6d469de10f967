"""`bench` as a user runs it: load on a real service, tables, JSON, plots and comparisons."""

import asyncio
import json
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from cli_processes import PATIENCE, environment, http_table, session_members, start

from aioproviders.cli.bench.histogram import Histogram
from aioproviders.testing.faults import FaultServer

A_TIME = "a time in ms, s, m or h, above 0 and up to 1000h,"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def service(providers, shared_service):
    """A file with a provider of the service, one of nothing, and one with limits of its own."""
    return providers(
        http_table("service", shared_service.url, rate_limit=100_000)
        + http_table("down", "http://127.0.0.1:1", retry_attempts=2, backoff_initial_ms=1)
        + http_table("limited", shared_service.url, rate_limit=20, rate_limit_burst=5, max_concurrency=4)
    )


@pytest.fixture
def bench(service, run):
    """Run `bench` with --json; returns the document."""

    def bench_json(*arguments):
        return json.loads(run("bench", *arguments, "--json").out)

    return bench_json


def test_bench_tells_what_the_requests_took(service, run):
    """Throughput, statuses, percentiles, where the time went and a histogram, in 80 columns."""
    result = run("bench", "service", "/status/200", "-n", "100", "-c", "8")

    assert result.code == 0
    assert re.search(r"100 requests in [\d.]+ s: [\d.,]+ requests/s, 0 errors, 0 retries", result.out)
    assert "\nstatus 200: 100\nafter 8 requests to warm up\n" in result.out
    assert re.search(r"LATENCY, MS +P50 +P75 +P90 +P95 +P99 +P99.9 +P99.99 +MAX\n", result.out)
    assert re.search(r"service( +[\d.,]+){5} +- +- +[\d.,]+\n", result.out)
    assert re.search(r"to the first byte( +[\d.,]+){3} +[\d.]+%\n", result.out)
    assert re.search(r"\nLATENCY: from what is on the left, how many requests\n +\S+ m?s +\d+ +█", result.out)
    assert "that worked" not in result.out
    assert "held" not in result.out
    assert "response" not in result.out
    assert max(map(len, result.out.splitlines())) <= 80


def test_the_tables_need_no_unicode(service, tmp_path):
    """Where standard output takes ASCII only, bars and lines are drawn in that."""
    ascii_only = environment(PYTHONIOENCODING="ascii")
    out, errors = start(
        "bench", "service", "/status/200", "-n", "20", cwd=tmp_path, env=ascii_only
    ).communicate(timeout=PATIENCE)

    assert errors == ""
    assert out.isascii()
    assert re.search(r"m?s +\d+ +#", out)


def test_the_document_tells_all_of_it(bench):
    """--json has every figure, the histograms in HdrHistogram's own format, and the run in slices."""
    document = bench("service", "/status/200", "-n", "40", "-c", "4", "-X", "get")

    assert document["kind"] == "aioproviders bench"
    assert document["complete"] is True
    assert document["requests"] == document["attempts"] == 40
    assert document["statuses"] == {"200": 40}
    assert document["method"] == "GET"
    assert document["load"] == {"concurrency": 4, "requests": 40, "seconds": None, "rate": None}
    assert list(document["latency_ms"]) == [
        *("p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99"),
        *("max", "mean", "stddev"),
    ]
    assert Histogram.decode(document["histogram"]).count == 40
    assert [part["requests"] for part in document["slices"]] == [10, 10, 10, 10]
    assert sum(Histogram.decode(part["histogram"]).count for part in document["slices"]) == 40
    assert document["most_in_flight"] <= 4
    assert sum(phase["share"] for phase in document["phases_ms"].values()) == pytest.approx(1, abs=0.01)
    assert document["phases_ms"]["first_byte"]["share"] > 0


@pytest.mark.parametrize(("warmup", "seen"), [(["--warmup", "30"], 40), (["--warmup", "0"], 10), ([], 14)])
def test_the_warm_up_is_not_counted(warmup, seen, providers, run):
    """Warm-up requests are made before, as many as asked for or as run at a time, and are in no figure."""
    with FaultServer() as server:
        providers(http_table("service", server.url, rate_limit=100_000))
        result = run("bench", "service", "/echo", "-n", "10", "-c", "4", *warmup, "--json")
        requests = asyncio.run(server.requests("/echo"))

    document = json.loads(result.out)
    assert (document["requests"], document["warmup"]) == (10, seen - 10)
    assert len(requests) == seen


def test_a_duration_ends_the_run(bench):
    """--duration makes requests until it is over, however many that are."""
    document = bench("service", "/status/200", "-d", "300ms", "--warmup", "0")

    assert document["complete"] is True
    assert document["load"]["requests"] is None
    assert document["requests"] > 0


def test_the_open_loop_tells_both_times(service, run):
    """With --rate there are response times beside service times, and what is still to start has its row."""
    result = run("bench", "service", "/status/200", "-n", "20", "--rate", "200")

    assert result.code == 0
    assert re.search(r"\nresponse( +\S+){8}\nservice( +\S+){8}\n", result.out)
    assert "\ndue, not started yet" in result.out
    assert max(map(len, result.out.splitlines())) <= 80


def test_what_could_not_be_started_is_told(service, run):
    """Requests that were due in an open loop and never made are told, and why."""
    arguments = ("bench", "service", "/delay/1", "-R", "20", "-c", "1", "-d", "500ms", "--warmup", "0")
    result = run(*arguments)
    document = json.loads(run(*arguments, "--json").out)

    assert "9 requests due but never started, in no figure above: 1 in flight is" in result.out
    assert re.search(r"1 request in \S+ s: [\d.]+ of 20 requests/s asked for, 0 errors", result.out)
    assert document["unstarted"] == 9
    assert document["requests"] == 1


def test_what_waited_for_a_limit_is_not_blamed_on_the_concurrency(service, run):
    """Where a limit of the provider's took the time, it is named for what started late, and not -c."""
    result = run("bench", "limited", "/status/200", "-n", "30", "-R", "300", "-c", "8", "--warmup", "0")

    assert re.search(r"\n\d+ requests started late: those in flight mostly waited for a limit\n", result.out)
    assert "of 300 requests/s asked for" in result.out
    assert "\nrate_limit = 20 held" in result.out
    assert "(-c)" not in result.out


def test_the_two_meanings_of_c_are_told_apart(service, run, tmp_path):
    """For bench `-c` with a number is the concurrency, and else the file."""
    service.rename(tmp_path / "other.toml")

    for concurrency in (["-c", "2"], ["-c2"], ["-c=2"], ["--concurrency", "2"]):
        result = run("bench", "service", "/status/200", "-n", "2", *concurrency, "-c", "other.toml", "--json")

        assert json.loads(result.out)["requests"] == 2


def test_bench_counts_errors_by_kind(service, run):
    """Failures are counted by kind with the first message of each, and make it exit code 1."""
    result = run("bench", "service", "/status/418", "-n", "5")
    document = json.loads(run("bench", "down", "/", "-n", "5", "--warmup", "0", "--json").out)

    assert result.code == 1
    assert re.search(r"ERROR +COUNT +P50 +MAX +FIRST MESSAGE\n", result.out)
    assert re.search(r"request_failed 418 +5 +\S+ m?s +\S+ m?s +\S", result.out)
    assert "LATENCY" not in result.out
    assert "\nstatus 418: 5\n" in result.out
    assert document["errors"] == {"unavailable": 5}
    times = document["errors_ms"]["unavailable"]
    assert 0 < times["p50"] <= times["max"]
    assert document["attempts"] == 10
    assert document["latency_ms"] is None
    assert document["complete"] is True


def test_percentiles_say_that_failures_are_not_in_them(run, providers):
    """Where some requests failed, the headings say how many worked, whose latencies alone they are."""
    with FaultServer() as server:
        providers(http_table("service", server.url, retry_attempts=1))
        result = run("bench", "service", "/flaky", "-p", "times=2", "-n", "5", "-c", "1", "--warmup", "0")

    assert result.out.count(" of the 3 that worked") == 3
    assert "2 errors" in result.out


def test_bench_says_which_limit_held(service, run):
    """The provider's own limits hold, and it is said that it was them."""
    result = run("bench", "limited", "/status/200", "-n", "20", "-c", "8")

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


def test_bench_of_a_package_tells_no_times_of_the_wire(providers, run, tmp_path):
    """Nobody can see into it, and nothing is said to take no time."""
    (tmp_path / "vendor_of_bench.py").write_text(
        "class Client:\n"
        "    def __init__(self, endpoint, api_key): pass\n"
        "    def request(self, endpoint, data): return {}\n"
    )
    providers(
        '[providers.package]\ntype = "sdk"\ndriver = "python"\nversion = "*"\n'
        'package_name = "vendor_of_bench"\napi_endpoint = "x"\ninstall_path = "."\n'
    )

    result = run("bench", "package", "orders", "-n", "5")

    assert (result.code, result.err) == (0, "")
    assert re.search(r"waiting for a limit .*\nthe package, backoff, the framework .*\n", result.out)
    assert "first byte" not in result.out


def test_a_run_is_drawn_live(service, terminal):
    """On a terminal the warm-up, then the requests so far, their rate and a histogram are drawn."""
    screen = terminal("bench", "limited", "/status/200", "-n", "30")

    screen.wait_for(r"warming up: \d+/10 requests")
    screen.wait_for(r"\n?[1-9]\d*/30 requests, \d+ s, [\d,]+/s, \d in flight")
    screen.wait_for(r"ms +\d+ +█")
    screen.wait_for(r"30 requests in .*\nrate_limit = 20 held[^\n]*\n")


def test_errors_are_drawn_live(service, terminal):
    """What has failed so far is told while the run goes on."""
    screen = terminal("bench", "limited", "/status/418", "-n", "1000", "--warmup", "0")

    screen.wait_for(r"/1000 requests, [^\n]*, [1-9]\d* error")
    screen.interrupt()


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_interrupted_bench_prints_what_it_has(options, service, terminal, tmp_path):
    """Ctrl-C takes the drawing away, prints and draws the requests so far, and exits with 130."""
    screen = terminal("bench", "limited", "/status/200", "-n", "1000", "--svg", "run.svg", *options)

    screen.wait_for(r"[1-9]\d*/1000 requests")
    code, rest = screen.interrupt()

    assert code == 130
    assert '"complete": false' in rest if options else re.search(r"\d+ of 1,000 requests in ", rest)
    assert rest.rstrip().endswith("interrupted")
    assert "Traceback" not in rest
    assert ET.parse(tmp_path / "run.svg").getroot().tag == f"{SVG}svg"
    assert session_members(screen.process.pid) == []


def test_an_earlier_run_is_compared_with(service, run, tmp_path):
    """--compare tells each figure of both runs, the change and a verdict, below the run's own tables."""
    arguments = ("bench", "service", "/status/200", "-n", "220", "-c", "4")
    (tmp_path / "old.json").write_text(run(*arguments, "--json").out)

    result = run(*arguments, "--compare", "old.json")
    document = json.loads(run(*arguments, "--compare", "old.json", "--json").out)

    assert result.code == 0
    assert result.err == ""
    assert re.search(r" +OLD +NEW +CHANGE +95 % SURE", result.out)
    verdict = r"(faster run|slower run|no difference)"
    assert re.search(rf"\nreq/s +\S+ +\S+ +\S+ % +\S+ to \S+ +{verdict}", result.out)
    assert re.search(r"\np99 .* too few requests to say", result.out)
    assert "\nknow: repeat both before you believe it.\n" in result.out
    assert document["unlike"] == []
    assert max(map(len, result.out.splitlines())) <= 80
    assert [change["figure"] for change in document["comparison"]] == [
        *("throughput", "mean", "p50", "p90", "p99")
    ]


def test_other_settings_are_warned_of(service, run, tmp_path):
    """An old run of another endpoint, load or outcome is compared with, and that is said in a line each."""
    old = run("bench", "service", "/status/418", "-n", "12", "-c", "4", "--json").out
    (tmp_path / "old.json").write_text(old.replace('"complete": true', '"complete": false'))

    result = run(
        "bench", "service", "/status/200", "-n", "3", "--compare", "old.json", "-X", "PUT", "-R", "50"
    )

    assert result.err.splitlines() == [
        "warning: old.json is of another run: endpoint was /status/418, now is /status/200",
        "warning: old.json is of another run: method was the usual, now is PUT",
        "warning: old.json is of another run: --concurrency was 4, now is 1000",
        "warning: old.json is of another run: --rate was none, now is 50.0",
        "warning: old.json is of a run that was interrupted",
        "warning: old.json is of a run with 12 errors: only what worked has a latency",
    ]


def test_unlike_runs_are_told_apart_in_the_report(service, run, tmp_path):
    """Of runs made in different ways there is no verdict, and the report and the document say in what."""
    arguments = ("bench", "service", "/status/200", "-n", "220", "--warmup", "0")
    (tmp_path / "old.json").write_text(run(*arguments, "-c", "4", "--json").out)

    compared = (*arguments, "-c", "2", "--compare", "old.json")
    result = run(*compared)
    document = json.loads(run(*compared, "--json").out)

    assert re.search(r"\nreq/s +\S+ +\S+ +\S+ % +- +unlike runs\n", result.out)
    assert "different ways:\n  --concurrency was 4, now is 2\n" in result.out
    assert "repeat both" not in result.out
    assert document["unlike"] == ["--concurrency was 4, now is 2"]
    assert {change["verdict"] for change in document["comparison"]} == {"unlike runs"}


def test_nothing_is_compared_with_a_run_of_nothing(service, terminal, tmp_path, run):
    """A run interrupted before its first request has no figures to compare."""
    (tmp_path / "old.json").write_text(run("bench", "service", "/status/200", "-n", "3", "--json").out)
    screen = terminal("bench", "service", "/delay/9", "--warmup", "0", "--compare", "old.json")

    screen.wait_for(r"\n?0/100 requests, .*10 in flight")
    code, rest = screen.interrupt()

    assert code == 130
    assert "0 of 100 requests in " in rest
    assert "95 % SURE" not in rest


@pytest.mark.parametrize(("warmup", "interrupted"), [("0", "run"), ("4", "warm-up")])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_what_an_interruption_leaves_unanswered_is_told(warmup, interrupted, options, service, terminal):
    """After Ctrl-C the requests in flight are counted, with the oldest one's time, also in the warm-up."""
    screen = terminal("bench", "service", "/delay/9", "--warmup", warmup, "-c", "4", *options)

    screen.wait_for(r"0/(100|4) requests, .* 4 in flight")
    _, rest = screen.interrupt()

    if options:
        document = json.JSONDecoder().raw_decode(rest, rest.index("{"))[0]
        assert (document["interrupted"], document["in_flight"]) == (interrupted, 4)
        assert document["oldest_in_flight_ms"] > 0
    else:
        assert re.search(
            r"\n4 requests in flight not answered, in no figure above: the oldest after \S+ m?s", rest
        )
        assert ("interrupted in the warm-up, before the run" in rest) == (interrupted == "warm-up")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "can't be read: No such file"),
        ("no JSON", "should be what 'aioproviders bench --json' prints: Invalid JSON"),
        ("[]", "should be what 'aioproviders bench --json' prints: "),
        ('{"kind": "other"}', "should be what 'aioproviders bench --json' prints: kind: "),
    ],
)
def test_what_is_no_run_is_not_compared_with(content, why, service, run, tmp_path):
    """A file that is no such document is refused before the run, in one line."""
    if content is not None:
        (tmp_path / "old.json").write_text(content)

    result = run("bench", "service", "/status/200", "--compare", "old.json")

    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith(f"error: --compare: old.json: {why}")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"slices": []}, "slices: Value error, should have at least one"),
        ({"histogram": "SElTVA=="}, "histogram: Value error, should be an encoded HdrHistogram"),
        ({"histogram": 7}, "histogram: "),
    ],
)
def test_a_broken_run_is_not_compared_with(change, why, run, tmp_path, bench):
    """What is missing from or wrong in an old run is named."""
    old = bench("service", "/status/200", "-n", "3")
    (tmp_path / "old.json").write_text(json.dumps({**old, **change}))

    result = run("bench", "service", "/status/200", "--compare", "old.json")

    assert result.code == 2
    assert f"prints: {why}" in result.err


def test_a_plot_stands_alone(service, run, tmp_path):
    """--svg draws a line a run on an axis of percentiles, without scripts and links to anywhere."""
    (tmp_path / "old.json").write_text(run("bench", "service", "/status/200", "-n", "200", "--json").out)

    result = run("bench", "service", "/status/200", "-n", "200", "--svg", "run.svg", "--compare", "old.json")

    root = ET.parse(tmp_path / "run.svg").getroot()
    texts = {element.text for element in root.iter(f"{SVG}text")}
    assert result.code == 0
    assert {"service /status/200", "0 %", "90 %", "99 %", "99.9 %", "new: latency", "old: old.json"} <= texts
    assert not list(root.iter(f"{SVG}script"))
    text = (tmp_path / "run.svg").read_text()
    assert "href" not in text
    assert "//" not in re.sub(r"<!--.*?-->|/\*.*?\*/|http://www.w3.org/", "", text, flags=re.DOTALL)


def test_an_open_loop_is_drawn_with_both_times(service, run, tmp_path):
    """With --rate the plot has response and service times."""
    run("bench", "service", "/status/200", "-n", "10", "-R", "100", "--svg", "run.svg")

    texts = {element.text for element in ET.parse(tmp_path / "run.svg").getroot().iter(f"{SVG}text")}
    assert {"response time", "service time"} <= texts


def test_nothing_is_drawn_of_failures(service, run, tmp_path):
    """Where no request worked there is no plot, and that is said."""
    result = run("bench", "down", "/", "-n", "3", "--svg", "run.svg")

    assert result.code == 1
    assert result.err == "warning: run.svg is not written: no request worked\n"
    assert not (tmp_path / "run.svg").exists()


def test_a_plot_that_fails_is_one_line(service, run, tmp_path):
    """A file that can't be written after all is an error, after the results."""
    (tmp_path / "run.svg").symlink_to("gone/run.svg")

    result = run("bench", "service", "/status/200", "-n", "3", "--svg", "run.svg")

    assert result.code == 1
    assert "3 requests in " in result.out
    assert result.err == "error: can't write run.svg: No such file or directory\n"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--duration", "30"], f"--duration: should be {A_TIME} such as 500ms, 30s, 1m30s or 2h"),
        (["--duration", "1001h"], f"--duration: should be {A_TIME} such as 500ms, 30s, 1m30s or 2h"),
        (["--duration", "0s"], f"--duration: should be {A_TIME} such as 500ms, 30s, 1m30s or 2h"),
        (["--warmup", "soon"], f"--warmup: should be a number of requests or {A_TIME} such as 5s"),
        (["--rate", "inf"], "--rate: should be a number of requests per second"),
        (["--svg", "."], "--svg: should name a file such as latency.svg, not the folder ."),
        (["--svg", ""], "--svg: should name a file such as latency.svg, not the folder ."),
        (["--svg", "gone/run.svg"], "--svg: gone is no folder"),
    ],
)
def test_wrong_options_are_refused_before_the_run(options, why, service, run):
    """An option that can't work is one line and exit code 2."""
    result = run("bench", "service", "/status/200", *options)

    assert result.code == 2
    assert result.out == ""
    assert result.err == f"error: {why}\n"


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs a folder where not even root may write")
@pytest.mark.parametrize("path", ["/proc/run.svg", "/proc/version"])
def test_a_plot_that_cannot_be_written_is_refused_before_the_run(path, service, run):
    """A file that is not to be written, or in a folder that is not, ends it before the first request."""
    result = run("bench", "service", "/status/200", "--svg", path)

    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith(f"error: --svg: {path} can't be written: ")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("package", ["hdrh", "pygal"])
def test_a_missing_package_is_one_line(package, service, run, monkeypatch):
    """Without one of its packages the command names the extra that has it."""
    for name in [name for name in sys.modules if name.startswith(("aioproviders.cli.bench", package))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)

    result = run("bench", "service", "/status/200", "--svg", "run.svg")

    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "pip install 'aioproviders[cli]'" in result.err
