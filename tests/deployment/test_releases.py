"""Finding the release to go back to."""

import pytest

from aioproviders.deployment import Release
from aioproviders.deployment.releases import find_release
from aioproviders.errors import ConfigurationError, NotFoundError

HISTORY = [
    Release(revision=5, version="1.3.0", current=True, healthy=True),
    Release(revision=4, version="1.2.0", healthy=False),
    Release(revision=3, version="1.1.0", healthy=True),
    Release(revision=2, version="1.2.0", healthy=True),
    Release(revision=1, version="revision:9", healthy=True),
]


@pytest.mark.parametrize(
    ("wanted", "revision"),
    [("1.1.0", 3), ("1.2.0", 4), ("previous", 3), ("revision:2", 2), ("revision:9", 1), ("1.3.0", 5)],
)
@pytest.mark.parametrize("order", [1, -1])
def test_what_is_there_is_found(wanted, revision, order):
    """A version's latest release, the last one that was healthy, a revision; in whatever order they come."""
    assert find_release(HISTORY[::order], wanted).revision == revision


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ("1.1.1", "did you mean '1.1.0'"),
        ("spring", "there are: 1.3.0, 1.2.0, 1.1.0, revision:9"),
        ("revision:7", "there are: 5, 4, 3, 2, 1"),
    ],
)
def test_what_is_not_there(wanted, told):
    """The error says what there is."""
    with pytest.raises(NotFoundError) as raised:
        find_release(HISTORY, wanted)
    assert told in raised.value.message


def test_nothing_healthy_before():
    """A first release has no previous one."""
    with pytest.raises(NotFoundError, match="no earlier release that was healthy"):
        find_release([Release(revision=1, version="1", current=True, healthy=True)], "previous")
    unknown = [Release(revision=2, version="2", current=True, healthy=True), Release(revision=1, version="1")]
    with pytest.raises(NotFoundError, match=r"healthy; there are: 1 \(revision:1\)$"):
        find_release(unknown, "previous")


@pytest.mark.parametrize("wanted", ["", " ", "revision:", "revision:x"])
def test_bad_input(wanted):
    """What can name no release at all is the caller's mistake."""
    with pytest.raises(ConfigurationError):
        find_release(HISTORY, wanted)


def test_previous_of_what_has_no_current_release():
    """Then the last healthy one is meant."""
    assert find_release([Release(revision=1, version="1", healthy=True)], "previous").revision == 1
