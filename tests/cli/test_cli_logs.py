"""`logs`: what the instances have written."""

import json

from deployment_double import SECRET


def test_each_line_stands_after_its_instance(drivers, run):
    """Indented as it was, harmless to a terminal, without secrets."""
    result = run("logs", "web")

    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[:2] == ["web-1 |   line 0 **********", "web-1 |   line 1 **********"]
    assert len(result.out.splitlines()) == 6


def test_of_one_instance(drivers, run):
    """--instance and --lines choose."""
    result = run("logs", "web", "--instance", "web-2", "--lines", "1")

    assert result.out == "web-2 |   line 2 **********\n"


def test_lines_as_documents(drivers, run):
    """With --json each is a line of JSON."""
    lines = [json.loads(line) for line in run("logs", "web", "--json").out.splitlines()]

    assert {line["instance"] for line in lines} == {"web-1", "web-2"}
    assert SECRET not in str(lines)


def test_a_driver_without_logs(drivers, run):
    """One that has none is told so in a line."""
    result = run("logs", "strange")

    assert (result.code, result.err) == (1, "error: strange.logs: Plain has no logs()\n")
