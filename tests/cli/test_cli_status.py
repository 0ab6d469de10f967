"""`status`: where a deployment stands, once and again, whatever the driver."""

import json

import pytest
from cli_processes import PATIENCE, Terminal
from deployment_double import Double

from aioproviders.deployment import DeploymentStatus, Instance
from aioproviders.errors import NotFoundError, ProviderUnavailableError


def test_status_tells_all_there_is(drivers, run):
    """Status, counts, endpoints, and a row an instance."""
    run("deploy", "web")

    result = run("status", "web")

    assert (result.code, result.err) == (0, "")
    *above, _, heading, _, row = result.out.splitlines()
    assert above == [
        "web: healthy, version 1.0.0, revision 1",
        "  replicas    1 updated, 1 available of 2",
        "  endpoints   127.0.0.1:8080",
    ]
    assert heading.split() == ["INSTANCE", "VERSION", "PHASE", "READY", "RESTARTS", "WHERE"]
    assert row.split() == ["web-1", "1.0.0", "ready", "yes", "0", "pid", "77"]


@pytest.fixture
def in_trouble(monkeypatch):
    """The deployment has an instance with a long name and a long reason; returns both."""
    name, reason = "payments-gateway-7886555c5b-g6b9z", "ImagePullBackOff: no such image, or no right to it"
    instance = Instance(
        name=name, version="1.0.0-rc.1", phase="pending", address="10.1.0.1:80", reason=reason
    )

    async def get_status(self):
        return {"name": "web", "status": DeploymentStatus.PROGRESSING, "instances": (instance,)}

    monkeypatch.setattr(Double, "get_status", get_status)
    return name, reason


def test_what_is_piped_is_not_folded(drivers, run, in_trouble, monkeypatch):
    """A row is one line then, however long: it can be searched, and names pasted."""
    monkeypatch.delenv("COLUMNS")

    *_, heading, rule, row = run("status", "web").out.splitlines()

    assert heading.split()[-1] == "REASON"
    assert row.startswith(f"{in_trouble[0]} ")
    assert row.endswith(f" {in_trouble[1]}")
    assert len(rule) == len(row)


def test_names_stay_whole_in_80_columns(drivers, run, in_trouble):
    """Other columns are folded instead."""
    out = run("status", "web").out

    assert in_trouble[0] in out
    assert in_trouble[1] not in out
    assert max(map(len, out.splitlines())) <= 80


def test_status_as_a_document(drivers, run):
    """With --json it is what the driver says."""
    run("deploy", "web")

    document = json.loads(run("status", "web", "--json").out)

    assert document["status"] == "healthy"
    assert document["instances"][0]["pid"] == 77


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (DeploymentStatus.HEALTHY, 0),
        (DeploymentStatus.DEGRADED, 0),
        (DeploymentStatus.SCALED_TO_ZERO, 0),
        (DeploymentStatus.FAILED, 1),
        (DeploymentStatus.NOT_FOUND, 1),
        (DeploymentStatus.UNKNOWN, 1),
    ],
)
def test_the_exit_code_says_whether_it_runs(status, code, drivers, run, monkeypatch):
    """A deployment that has failed or is not there is exit code 1."""

    async def get_status(self):
        return {"name": "web", "status": status, "message": "so it is"}

    monkeypatch.setattr(Double, "get_status", get_status)

    assert run("status", "web").code == code
    assert f"web: {status}: so it is\n" in run("status", "web").out


def test_a_strangers_status_is_shown(drivers, run):
    """A driver may say whatever it likes."""
    assert run("status", "strange").out == "strange: whatever\n"


def test_watching_on_a_terminal(program, tmp_path):
    """The state stands there in place until Ctrl-C."""
    screen = Terminal("status", "web", "--watch", cwd=tmp_path, program=[program])
    try:
        screen.wait_for(r"web: not_found: never deployed.*every 1 s, Ctrl-C ends")
        code, rest = screen.interrupt()
    finally:
        screen.close()
    assert code == 130
    assert rest.rstrip().endswith("interrupted")
    assert screen.process.wait(PATIENCE) == 130


def test_watching_what_is_lost_for_a_while(drivers, run, monkeypatch):
    """It goes on when the other side can't be reached, unless that was so from the beginning."""
    lost = ProviderUnavailableError("can't connect to https://cluster", sent=False)
    answers = [{"status": "healthy"}, lost, {"status": "degraded"}, NotFoundError("it is gone")]

    async def get_status(self):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(Double, "get_status", get_status)
    result = run("status", "web", "--watch", "--interval", "0.001")
    assert result.out.split("\n\n") == [
        "web: healthy",
        "web: unknown: can't connect to https://cluster; trying again",
        "web: degraded",
        "",
    ]
    assert (result.code, "it is gone" in result.err, answers) == (1, True, [])
    answers.append(lost)
    result = run("status", "web", "--watch")
    assert (result.code, "can't connect" in result.err, result.out) == (1, True, "")


def test_watching_in_a_pipe(program, run_program):
    """Each change is told once, as a line of JSON with --json."""
    process = run_program("status", "web", "--watch", "--interval", "0.01", "--json")
    first = json.loads(process.stdout.readline())
    process.terminate()
    rest, err = process.communicate(timeout=PATIENCE)

    assert first["status"] == "not_found"
    assert (rest, err) == ("", "terminated\n")
    assert process.returncode == 143
