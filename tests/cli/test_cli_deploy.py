"""`deploy`, `scale`, `rollback`: what they override, show and answer, whatever the driver."""

import json
import re
import signal
import time

import pytest
from cli_processes import PATIENCE, Terminal
from deployment_double import ROLE, SECRET, Double
from pydantic import SecretStr


def test_a_deploy_tells_its_steps_and_its_result(drivers, run):
    """Without a terminal each step is a line, and the last one says what came of it, once."""
    result = run("deploy", "web")

    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "rolling out 1.0.0",
        "web-1: is ready",
        "web-2: is ready",
        "web: healthy: rolled out (version 1.0.0, revision 1, 2 of 2 available, in 12.0 ms)",
    ]


def test_a_deploy_as_a_document(drivers, run):
    """With --json standard output is the result alone."""
    result = run("deploy", "web", "--json")

    document = json.loads(result.out)
    assert (result.code, result.err) == (0, "")
    assert document["success"] is True
    assert document["metadata"]["replicas"]["available"] == 2


def test_settings_are_overridden(drivers, run):
    """--version and --set replace single settings, each as its type wants it; the others stay."""
    assignments = [
        "replicas=3",
        "env.MODE=fast",
        "env.LIMIT=12",
        "env.LIST=[1]",
        f'env.OTHER={{"secret": "{SECRET}"}}',
        "strategy.max_surge=2",
        "readiness_probe.port=8081",
        "ports.0.port=8081",
        'command=["run", "it"]',
        'labels."app.kubernetes.io/name"=shop',
        "grace=true",
        "image=null",
        "env.NONE=null",
        "resources.cpu=2",
        "change_cause=a=b",
    ]
    options = [part for text in assignments for part in ("--set", text)]

    result = run("deploy", "web", "--version", "2.0.0", *options)

    assert result.code == 0, result.err
    [config] = Double.deployed
    assert (config.version, config.replicas, config.grace) == ("2.0.0", 3, True)
    assert (config.env["MODE"], config.env["LIMIT"], config.env["LIST"]) == ("fast", "12", "[1]")
    assert config.env["OTHER"].get_secret_value() == config.env["TOKEN"].get_secret_value() == SECRET
    assert (config.image, config.env["NONE"]) == (None, "null")
    assert config.strategy.max_surge == 2
    assert (config.readiness_probe.port, config.ports[0].port, config.ports[0].name) == (8081, 8081, "http")
    assert config.command == ("run", "it")
    assert config.labels == {"app.kubernetes.io/name": "shop"}
    assert config.resources == {"cpu": "2"}
    assert config.change_cause == "a=b"


def test_what_was_secret_stays_so(drivers, run):
    """A secret variable with another value is one still."""
    run("deploy", "web", "--set", "env.TOKEN=another")

    assert repr(Double.deployed[0].env["TOKEN"]) == "SecretStr('**********')"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["deploy", "web", "--set", "replcas=3"],
            "--set: replcas: is no known setting; did you mean 'replicas'?",
        ),
        (["deploy", "web", "--set", "strategy.max_surg=3"], "did you mean 'max_surge'?"),
        (
            ["deploy", "web", "--set", "strategy.max_surge=0"],
            "--set: strategy: 'max_surge' and 'max_unavailable' can't both be zero",
        ),
        (
            ["deploy", "web", "--set", 'strategy={"max_surge": 2'],
            "--set: strategy: should be a table (it is no JSON: Expecting ',' delimiter at character 16)",
        ),
        (["deploy", "web", "--set", "replicas=many"], "--set: replicas: should be a whole number"),
        (["deploy", "web", "--set", "replicas=-1"], "--set: replicas: should be greater than or equal to 0"),
        (
            ["deploy", "web", "--set", "history_limit=0"],
            "--set: history_limit: should be greater than 0\n",
        ),
        (["deploy", "web", "--set", "ports.1.port=1"], "--set: ports[1]: should be one of the 1 there are"),
        (["deploy", "web", "--set", "ports.²=1"], "should be one of the 1 there are"),
        (["deploy", "web", "--set", "image.tag=1"], "--set: image.tag: is no known setting"),
        (["deploy", "web", "--set", "name=other"], "--set: name: is the file's"),
        (["deploy", "web", "--set", "replicas"], "--set: should be 'key=value'"),
        (["deploy", "web", "--set", 'env.OTHER={"secrt": "x"}'], 'should be a string, or { secret = "..." }'),
        (["deploy", "web", "--set", "=3"], "--set: should be 'key=value'"),
        (["deploy", "web", "--set", "a..b=3"], "--set: should be 'key=value'"),
        (["deploy", "web", "--set", "readiness_probe.port=https"], "which 'ports' does not have"),
        (["deploy", "wep"], "no provider 'wep'; did you mean 'web'?"),
        (["deploy", "zebra"], "no provider 'zebra'; the file's deployments: web, strange"),
        (["deploy", "settings"], "'settings' is no deployment, but of type configuration"),
        (["status", "settings"], "the file's deployments: web, strange"),
        (["deploy", "web", "--version", ""], "error: --version: should have at least 1 character"),
        (["deploy", "web", "--set", "version="], "error: --set: version: should have at least 1 character"),
        (["rollback", "web", "--version", "1.0.0"], "--version"),
        (["scale", "web", "3", "--version"], "--version"),
        (["list", "--version"], "--version"),
        (["deploy", "strange", "--dry-run"], "--dry-run: 'strange' is a Plain, which can't try a deploy out"),
        (["deploy", "strange", "--diff"], "--diff: 'strange' is a Plain, which can't tell"),
        (["scale", "web", "-1"], "REPLICAS"),
        (["scale", "web", "some"], "'some' should be a whole number"),
        (["scale", "web", "1.5"], "'1.5' should be a whole number"),
        (["scale", "web", "0x3"], "'0x3' should be a whole number"),
        (["logs", "web", "--lines", "1.6"], "--lines: '1.6' should be a whole number"),
        (["logs", "web", "--lines", "-1"], "--lines"),
        (["up", "web"], "'web' is no process deployment, but of type deployment, driver double"),
        (["up"], "nothing to run: the file has no process deployment"),
    ],
)
def test_bad_usage_is_told_in_a_line(arguments, said, drivers, run):
    """Whatever can't be is told in one line with what would be right, and nothing is deployed."""
    result = run(*arguments)

    assert result.code == 2, result.err
    assert said in result.err
    assert result.err.count("\n") == 1
    assert result.out == ""
    assert Double.deployed == []


def test_a_secret_is_set_as_the_file_has_it(drivers, run):
    """By the name that it has there, whether it was secret before or not."""
    for name in ("TOKEN", "OTHER"):
        assert run("deploy", "web", "--set", f"env.{name}.secret=geheim-2").code == 0
        config = Double.deployed[-1]
        assert config.env[name] == SecretStr("geheim-2")


def test_a_value_that_is_not_right_is_not_shown(drivers, run):
    """It may well be a secret."""
    result = run("deploy", "web", "--set", "replicas=geheim")

    assert "geheim" not in result.out + result.err


def test_a_role_can_be_used_as_it_is_printed(drivers, run):
    """What comes with an error to be pasted keeps its lines, and does nothing to a terminal."""
    result = run("deploy", "web", "--version", "2.0-unallowed")

    assert result.code == 1
    error, _, below = result.err.partition("\n")
    assert error == "error: web: failed: missing: get things; this would do:"
    assert below == f"{ROLE}\n"
    document = json.loads(run("deploy", "web", "--version", "2.0-unallowed", "--json").out)
    assert ROLE in document["message"]


def test_a_failure_is_laid_out(drivers, run):
    """What is known of it stands part by part; the last line says what it came to; secrets are masked."""
    result = run("deploy", "web", "--version", "2.0-bad")

    assert result.code == 1
    told = result.out.partition("\n\n")[2]
    assert told.rstrip().splitlines() == [
        "  instance    web-2, container app",
        "  reason      CrashLoop: ended 3 times in a row",
        "  exit code   3",
        "  events      12:00:00 started",
        "              12:00:01 ended with exit code 3",
        "  last lines      Traceback:",
        "              boom \\x07 token=**********",
        "  suggestion  look at the last lines",
    ]
    assert result.err == (
        "error: web: rolled_back: CrashLoop: ended 3 times in a row "
        "(version 2.0-bad, revision 0, 2 of 2 available, in 12.0 ms)\n"
    )


def test_a_failure_as_a_document(drivers, run):
    """With --json the diagnosis is in the result."""
    result = run("deploy", "web", "--version", "2.0-bad", "--json")

    document = json.loads(result.out)
    assert result.code == 1
    assert document["metadata"]["diagnosis"]["exit_code"] == 3
    assert document["error_detail"]["code"] == "request_failed"
    assert SECRET not in result.out + result.err


def test_changes_are_told_and_not_made(drivers, run):
    """--diff prints a line a change, and deploys nothing."""
    result = run("deploy", "web", "--diff", "--set", "replicas=3")

    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "~ process replicas: 1 -> 3",
        "+ process env.TOKEN: '**********'",
        "- process labels.old: 'x'",
    ]
    assert Double.deployed == []


def test_changes_as_a_document(drivers, run):
    """With --json they are a list."""
    document = json.loads(run("deploy", "web", "--diff", "--json").out)

    assert [change["action"] for change in document["changes"]] == ["changed", "added", "removed"]


def test_a_dry_run_goes_through_the_driver(drivers, run):
    """--dry-run asks the driver, and tells what would change."""
    result = run("deploy", "web", "--dry-run")

    assert result.code == 0
    assert result.out.startswith("~ process replicas: 1 -> 2\n")
    assert result.out.endswith("web: dry run: tried out\n")
    assert Double.deployed == []


def test_scale_and_rollback(drivers, run):
    """They change what is deployed, and say so as deploy does."""
    run("deploy", "web")
    scaled = run("scale", "web", "5")
    back = run("rollback", "web", "1.0.0")
    unknown = run("rollback", "web", "0.9")

    assert scaled.out.splitlines()[-1].startswith(
        "web: healthy: rolled out (version 1.0.0, revision 2, 5 of 5"
    )
    assert back.out.splitlines()[-1].startswith("web: healthy: rolled out (version 1.0.0, revision 3, 2 of 2")
    assert (scaled.code, back.code, unknown.code) == (0, 0, 1)
    assert unknown.err == "error: web: failed: no release has the version '0.9'\n"


def test_a_strangers_driver_will_do(drivers, run):
    """A driver of the four methods alone, with statuses of its own, is shown as far as it tells."""
    assert run("deploy", "strange").out == "strange: deployed\n"
    assert run("scale", "strange", "2").out == "strange: deployed: 2 run\n"
    failed = run("rollback", "strange", "1")
    assert (failed.code, failed.err) == (1, "error: strange: stuck\n")


@pytest.mark.parametrize(
    ("number", "word", "code"), [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "terminated", 143)]
)
@pytest.mark.parametrize(
    ("on_cancel", "told"),
    [
        ("rollback", "rolling back…"),
        ("leave", "the rollout goes on by itself"),
        ("pause", "pausing the rollout; "),
    ],
)
def test_a_signal_does_what_the_config_says(  # noqa: PLR0917 - two axes
    number, word, code, on_cancel, told, run_program
):
    """In mid-rollout Ctrl-C and SIGTERM tell what becomes of it, then where the deployment stands."""
    process = run_program("deploy", "web", "--version", "2-slow", "--set", f"on_cancel={on_cancel}")
    assert process.stdout.readline() == "rolling out 2-slow\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == code
    assert out == "going back\nall is as before\n"
    assert re.match(f"{word}: {told}.*\nweb: not_found: never deployed\n$", err), err


def test_an_interrupted_document(run_program, tmp_path):
    """With --json, too, there is something to read: also what became of the rollout."""
    process = run_program("deploy", "web", "--version", "2-slow", "--json")
    while not (tmp_path / "under-way").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=PATIENCE)

    assert json.loads(out) == {
        "error": "interrupted",
        "outcome": "all is as before",
        "exit_code": 130,
    }


def test_a_second_signal_does_not_hurry_a_rollback(run_program):
    """It is told that the rollback goes on, and nothing is left half-way."""
    process = run_program("deploy", "web", "--version", "2-slower")
    assert process.stdout.readline() == "rolling out 2-slower\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "going back\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == 130
    assert err.splitlines()[:2] == ["interrupted: rolling back…", "still at it: rolling back…"]


def test_on_a_terminal_there_is_a_line_an_instance(program, tmp_path):
    """While it goes on, the instances are shown in place; in the end only the result stays."""
    screen = Terminal("deploy", "web", cwd=tmp_path, program=[program])
    try:
        screen.wait_for(r"web-1 +1\.0\.0 +ready +yes +0 .*web-2 +1\.0\.0 +ready +yes")
        screen.wait_for(r"web: healthy: rolled out \(version 1\.0\.0")
        assert screen.process.wait(PATIENCE) == 0
    finally:
        screen.close()


def test_on_a_terminal_an_interruption_is_told(program, tmp_path):
    """What was drawn has gone in the end; what has become of the rollout stays."""
    screen = Terminal("deploy", "web", "--version", "2-slow", cwd=tmp_path, program=[program])
    try:
        screen.wait_for("rolling out 2-slow")
        code, _ = screen.interrupt()
        assert code == 130
        left = screen.raw.rpartition("\x1b[2K")[2]
        told = [line.strip() for line in left.splitlines() if line.strip()]
        assert told == ["interrupted: rolling back…", "all is as before", "web: not_found: never deployed"]
    finally:
        screen.close()
