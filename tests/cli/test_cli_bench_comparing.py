"""Whether one run was faster than another: statistics on runs that are known."""

import math
import random
from types import SimpleNamespace

import pytest

from aioproviders.cli.bench.comparing import compare
from aioproviders.cli.bench.histogram import Histogram

FIGURES = ["throughput", "mean", "p50", "p90", "p99"]


def run_of(seed, *, slices=40, requests=100, factor=1.0, dependence=0.0):
    """Return the slices of a run with log-normal latencies around 5 ms, neighbours alike by `dependence`."""
    generator = random.Random(seed)
    parts = []
    state = generator.gauss()
    for _ in range(slices):
        histogram, seconds = Histogram(), 0.0
        for _ in range(requests):
            state = dependence * state + math.sqrt(1 - dependence**2) * generator.gauss()
            latency = 0.005 * math.exp(0.3 * state) * factor
            histogram.record(latency)
            seconds += latency / 10
        parts.append(SimpleNamespace(requests=requests, seconds=seconds, histogram=histogram))
    return parts


def verdicts(changes):
    return {change.figure: change.verdict for change in changes}


def test_a_run_does_not_differ_from_itself():
    """Of the same run twice every change is 0, in the middle of its interval."""
    changes = compare(run_of(1), run_of(1))

    assert [change.figure for change in changes] == FIGURES
    for change in changes:
        assert change.percent == 0
        assert change.interval[0] < 0 < change.interval[1]
        assert change.verdict == "no difference to be seen"


@pytest.mark.parametrize("dependence", [0.0, 0.9])
def test_runs_of_the_same_kind_seldom_differ(dependence):
    """Of pairs from one distribution about one in 20 is told apart, also where neighbours are alike."""
    told = dict.fromkeys(FIGURES, 0)
    for seed in range(8):
        old, new = (run_of(seed + side, requests=25, dependence=dependence) for side in (0, 1000))
        for change in compare(old, new):
            told[change.figure] += change.verdict != "no difference to be seen"

    assert max(told.values()) <= 2


@pytest.mark.parametrize(("factor", "verdict"), [(1.1, "slower run"), (0.9, "faster run")])
def test_a_shifted_run_is_told(factor, verdict):
    """A tenth more or less time is seen in every figure, and lies in its interval."""
    changes = compare(run_of(1), run_of(2, factor=factor))

    assert verdicts(changes) == dict.fromkeys(FIGURES, verdict)
    for change in changes:
        truth = ((1 / factor if change.figure == "throughput" else factor) - 1) * 100
        assert change.interval[0] < truth < change.interval[1]


def test_a_slower_tail_is_the_tails_alone():
    """When only the slowest in fifty get slower, p99 tells it and the median does not."""
    old, new = run_of(1), run_of(2)
    for part in new:
        for _ in range(3):
            part.histogram.record(0.5)

    told = verdicts(compare(old, new))

    assert told["p99"] == "slower run"
    assert told["p50"] == "no difference to be seen"


def test_a_stall_in_one_slice_is_no_difference():
    """What happened once in one of the runs widens the interval, as it may happen in either."""
    old, new = run_of(1), run_of(2)
    new[7].seconds *= 3

    change = compare(old, new)[0]

    assert change.percent < -3
    assert change.verdict == "no difference to be seen"


def test_few_requests_tell_nothing():
    """A run of few slices gets no verdict, and one of few requests none on what few of them tell."""
    few = compare(run_of(1, slices=10), run_of(2))
    thin = compare(run_of(1, requests=10), run_of(2, requests=10))

    assert set(verdicts(few).values()) == {"too few requests to say"}
    assert few[0].interval is None
    assert verdicts(thin)["p99"] == "too few requests to say"
    assert verdicts(thin)["p90"] == "no difference to be seen"


def test_runs_that_never_vary_are_told_apart_exactly():
    """Without any variation the interval is a point."""

    def steady(latency):
        histogram = Histogram()
        for _ in range(100):
            histogram.record(latency)
        return [SimpleNamespace(requests=100, seconds=1.0, histogram=histogram) for _ in range(20)]

    changes = {change.figure: change for change in compare(steady(0.001), steady(0.002))}

    assert changes["throughput"].verdict == "no difference to be seen"
    assert changes["p50"].interval == (pytest.approx(100), pytest.approx(100))
    assert changes["p50"].verdict == "slower run"


def test_a_run_of_failures_has_no_latency_to_compare():
    """Where no request worked there is throughput alone."""
    failed = [SimpleNamespace(requests=100, seconds=1.0, histogram=Histogram()) for _ in range(20)]

    changes = {change.figure: change for change in compare(run_of(1, slices=20), failed)}

    assert changes["throughput"].interval is not None
    assert changes["p50"].percent is None
    assert changes["p50"].verdict == "too few requests to say"


def test_the_same_runs_are_always_told_the_same():
    """The resampling is not seen in the result."""
    assert compare(run_of(1), run_of(2)) == compare(run_of(1), run_of(2))


def test_unlike_runs_get_no_verdict():
    """Of runs made in different ways the figures and changes are told, without interval and verdict."""
    changes = compare(run_of(1), run_of(2, factor=1.5), alike=False)

    assert verdicts(changes) == dict.fromkeys(FIGURES, "unlike runs")
    for change in changes:
        assert change.percent is not None
        assert change.interval is None
