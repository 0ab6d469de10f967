"""What `bench` keeps of its requests: histograms, slices, settings, and bars."""

import random
import sys

import pytest

from aioproviders.cli.bench.bars import draw_bars
from aioproviders.cli.bench.histogram import Histogram
from aioproviders.cli.bench.load import Load
from aioproviders.cli.bench.measurement import Measurement
from aioproviders.cli.bench.plot import plot
from aioproviders.cli.bench.settings import read_settings
from aioproviders.cli.boundary import UsageError
from aioproviders.cli.options import LoadOptions
from aioproviders.errors import ProviderError
from aioproviders.phases import Phases
from aioproviders.sdk import SDKResponse

OK = SDKResponse(success=True, latency_ms=1, request_id="1", status_code=200)


def histogram_of(*seconds):
    histogram = Histogram()
    for each in seconds:
        histogram.record(each)
    return histogram


def fill(measurement, number, response=OK):
    """Let `number` requests end, one a second."""
    measurement.start(0.0)
    for ended in range(1, number + 1):
        measurement.begin_request()
        measurement.end_request(response, Phases(), due=ended - 0.5, began=ended - 0.25, ended=float(ended))
    return measurement


def test_percentiles_are_kept_to_three_digits():
    """Percentiles, mean and deviation are within a thousandth of those of the values themselves."""
    values = [0.001 * number for number in range(1, 1001)]
    random.Random(1).shuffle(values)

    found = histogram_of(*values).summary()

    assert found == {
        "p50": pytest.approx(500, rel=0.001),
        "p75": pytest.approx(750, rel=0.001),
        "p90": pytest.approx(900, rel=0.001),
        "p95": pytest.approx(950, rel=0.001),
        "p99": pytest.approx(990, rel=0.001),
        "p99.9": pytest.approx(999, rel=0.001),
        "p99.99": 1000.0,
        "max": 1000.0,
        "mean": pytest.approx(500.5, rel=0.001),
        "stddev": pytest.approx(288.67, rel=0.001),
    }


def test_a_histogram_has_microseconds():
    """Short durations are told apart to the microsecond."""
    assert histogram_of(0.000001, 0.000002, 0.001234).counts() == [(1, 1), (2, 1), (1234, 1)]


def test_what_is_out_of_bounds_is_counted_all_the_same():
    """A clock that went backwards and a duration above an hour are counted at the ends."""
    histogram = histogram_of(-0.5, 99_999.0)

    assert histogram.count == 2
    assert histogram.percentile(50) == 0.0
    assert histogram.percentile(100) == 3_600_000.0


def test_an_encoded_histogram_comes_back():
    """What is encoded decodes to the same counts, also where there are none."""
    histogram = histogram_of(0.001, 0.001, 2.5)

    assert Histogram.decode(histogram.encode()).counts() == histogram.counts()
    assert Histogram.decode(Histogram().encode()).count == 0


@pytest.mark.parametrize(
    "text", ["", "!", "HISTFAAA", "SElTVEZBQUE=", "ä", histogram_of(0.1, 7).encode()[:-8]]
)
def test_what_is_no_histogram_is_refused(text):
    """Anything but an encoded histogram is a ValueError that says so."""
    with pytest.raises(ValueError, match="should be an encoded HdrHistogram"):
        Histogram.decode(text)


def test_an_empty_histogram_has_zeros():
    """Of no durations the mean and the percentiles are 0."""
    assert (Histogram().mean(), Histogram().percentile(50)) == (0.0, 0.0)


@pytest.mark.parametrize("number", [9, 10, 640, 641, 5000, 20_000])
def test_a_run_is_kept_in_at_most_64_slices(number):
    """However long a run, its slices are few, cover all of it, and are as long as each other."""
    slices = fill(Measurement(), number).slices

    assert len(slices) <= 64
    assert len(slices) >= min(number // 10, 32)
    assert sum(part.requests for part in slices) == sum(part.latencies.count for part in slices) == number
    assert sum(part.seconds for part in slices) == number
    assert len({part.requests for part in slices[:-1]}) <= 1


def test_failures_are_no_latencies():
    """A request that failed is counted by kind and slice, and has no part in latencies and phases."""
    error = SDKResponse(success=False, error="refused", latency_ms=1, request_id="1", attempts=3)
    odd = SDKResponse(success=False, latency_ms=1, request_id="1", status_code=500).because_of(
        ProviderError("x")
    )

    found = Measurement()
    for response in (error, odd):
        fill(found, 1, response)

    assert found.errors == {"error": 1, f"{odd.error_detail.code} 500": 1}
    assert found.examples["error"] == "refused"
    assert (found.requests, found.attempts, found.latencies()) == (2, 4, None)
    assert found.phases["rest"].count == 0
    assert [part.errors for part in found.slices] == [2]


def test_phases_add_up_to_the_response_time():
    """Late start, the phases known and the rest make up the time from when the request was due."""
    found = Measurement()
    found.start(0.0)
    phases = Phases(waiting=0.1, connecting=0.2, first_byte=0.3, body=0.15)
    found.end_request(OK, phases, due=1.0, began=2.0, ended=3.0)

    means = {phase: histogram.mean() for phase, histogram in found.phases.items()}
    expected = {"start": 1000, "waiting": 100, "connecting": 200, "first_byte": 300, "body": 150, "rest": 250}
    assert means == {phase: pytest.approx(each, rel=0.001) for phase, each in expected.items()}


def test_a_measurement_not_started_took_no_time():
    """Before the start there is neither time nor throughput."""
    assert (Measurement().seconds, Measurement().throughput) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("options", "load"),
    [
        ({}, Load(10, 100)),
        ({"requests": 7, "concurrency": 3}, Load(3, 7)),
        ({"duration": "1m30s"}, Load(10, seconds=90.0)),
        ({"duration": "1.5s", "requests": 5}, Load(10, 5, 1.5)),
        ({"duration": "250ms"}, Load(10, seconds=0.25)),
        ({"rate": 50.0}, Load(1000, 100, rate=50.0)),
    ],
)
def test_options_say_how_to_make_requests(options, load):
    """Requests, durations in common units and the defaults of both loops make the load."""
    assert read_settings(LoadOptions(**options)).load == load


@pytest.mark.parametrize(
    ("options", "warmup"),
    [
        ({}, Load(10, 10)),
        ({"concurrency": 500}, Load(500, 100)),
        ({"concurrency": 500, "requests": 3}, Load(500, 3)),
        ({"concurrency": 500, "duration": "9s"}, Load(500, 100)),
        ({"rate": 4.5}, Load(1000, 5, rate=4.5)),
        ({"warmup": "7"}, Load(10, 7)),
        ({"warmup": "2s", "rate": 9.0}, Load(1000, seconds=2.0, rate=9.0)),
        ({"warmup": "0"}, None),
        ({"warmup": "0s"}, None),
    ],
)
def test_the_warm_up_is_of_the_same_kind(options, warmup):
    """It is a number of requests or a time, at the same rate; by default short."""
    assert read_settings(LoadOptions(**options)).warmup == warmup


@pytest.mark.parametrize("text", ["", "5x", "-3", "1s2", "s", "1e3", "9999999999"])
def test_what_is_no_warm_up_is_refused(text):
    """Neither number nor time is an error."""
    with pytest.raises(UsageError, match="--warmup: should be"):
        read_settings(LoadOptions(warmup=text))


def test_bars_are_as_long_as_their_counts():
    """Each row starts at a round latency and has a bar to scale, down to an eighth of a column."""
    assert draw_bars({30: 80, 31: 40, 33: 1}, width=28, ascii_only=False) == [
        "  1.0 ms  80  ██████████████",
        "  1.3 ms  40  ███████",
        "  1.6 ms   0",
        "  2.0 ms   1  ▏",
    ]


@pytest.mark.parametrize("last", [14, 29, 60, 95])
def test_a_wide_histogram_has_wider_rows(last):
    """However far latencies are apart, there are few rows, and no request is lost."""
    rows = draw_bars(dict.fromkeys(range(last + 1), 1), width=60, ascii_only=False)

    assert 5 <= len(rows) <= 15
    assert sum(int(row.split()[2]) for row in rows) == last + 1


def test_of_nothing_there_are_no_bars():
    """Before the first answer there is nothing to draw."""
    assert draw_bars({}, width=80, ascii_only=False) == []


def test_the_axis_has_as_many_nines_as_the_requests():
    """A plot of 10,000 requests reaches beyond 99.99 %, one of 10 not beyond 99 %."""
    many, few = Histogram(), histogram_of(*[0.001] * 10)
    for number in range(10_000):
        many.record(number * 1e-5)

    assert ">99.999 %<" in plot("t", {"many": many})
    assert ">99 %<" in plot("t", {"few": few})
    assert ">99.9 %<" not in plot("t", {"few": few})


def test_drawing_leaves_imports_alone():
    """The plotting library's hook into every import is taken out again."""
    assert [finder for finder in sys.meta_path if type(finder).__module__ == "pygal"] == []


def test_names_are_no_markup_in_a_plot():
    """A name with markup in it is shown as it is."""
    drawn = plot("<b>&", {"<script>": histogram_of(0.001)})

    assert "<script" not in drawn
    assert "&lt;b&gt;&amp;" in drawn
