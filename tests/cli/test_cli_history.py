"""`history`: the releases that are kept."""

import json


def test_history_has_a_row_a_release(drivers, run):
    """Newest first, the current one marked."""
    run("deploy", "web")
    run("deploy", "web", "--version", "2.0.0", "--set", "change_cause=more speed")

    result = run("history", "web")

    assert (result.code, result.err) == (0, "")
    heading, _, first, second = result.out.splitlines()
    assert heading.split() == ["REVISION", "VERSION", "STATUS", "CREATED", "CAUSE"]
    assert first.split()[:4] == ["*", "2", "2.0.0", "healthy"]
    assert first.endswith("more speed")
    assert second.split()[:4] == ["1", "1.0.0", "healthy", "2030-01-02"]


def test_history_as_a_document(drivers, run):
    """With --json it is a list."""
    run("deploy", "web")

    document = json.loads(run("history", "web", "--json").out)

    assert [release["version"] for release in document["releases"]] == ["1.0.0"]


def test_no_history_yet(drivers, run):
    """Nothing deployed is said so, and is no failure."""
    result = run("history", "web")

    assert (result.code, result.out) == (0, "web: nothing was deployed yet\n")


def test_a_driver_without_history(drivers, run):
    """One that keeps none is told so in a line."""
    result = run("history", "strange")

    assert result.code == 1
    assert result.err == "error: strange.history: Plain has no history()\n"
