"""`demo`: what it claims is so, and nothing of it stays behind."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from cli_processes import PATIENCE, Terminal, environment, processes_of, session_members, start, until

from aioproviders.cli import demo, main
from aioproviders.cli.demo import serving
from aioproviders.cli.demo.client import Client, ClientError
from aioproviders.cli.demo.service import DEFAULT_API_KEY
from aioproviders.errors import ProviderUnavailableError
from aioproviders.loading import load_providers


def nothing_is_left(session, port):
    """Whether neither the demo's processes live nor those of its service, which know their port."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if b"\0DEMO_API_KEY=" in (entry / "environ").read_bytes() and f"\0PORT={port}\0".encode() in (
                    b"\0" + (entry / "environ").read_bytes()
                ):
                    return False
    return session_members(session) == [] and not _answers(f"http://127.0.0.1:{port}")


def test_the_demo_shows_what_it_claims(tmp_path):
    """As a process, in 80 columns and under 20 seconds: retries, a breaker, latencies, and a clean end."""
    begun = time.monotonic()
    process = start("demo", cwd=tmp_path)
    out, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (0, "")
    assert time.monotonic() - begun < 20
    for name, status in demo.tour._EXPECTED_HEALTH.items():
        assert re.search(rf"^{name} +{status} ", out, re.MULTILINE)
    assert re.search(r"GET: 200 .* after 3 attempts", out)
    assert re.search(r"POST: 201 .* after 3 attempts", out)
    assert "the circuit breaker is open" in out
    assert "a probe is let through, and closes it: 200" in out
    for name in ("shop", "vendor"):
        assert re.search(rf"^{name}( +[\d.]+ m?s){{4}}$", out, re.MULTILINE)
    assert re.search(r"[1-9]\d* requests meanwhile: \d+ by 1.0.0, \d+ by 2.0.0; 0 failed, 0 repeated", out)
    assert re.search(r"rolled_back: the rollout of 3.0.0 failed: service-3-\d: CrashLoop", out)
    assert re.search(r"exit code 1, and it wrote: can't start: .*No such file\s+or directory", out)
    assert "scaled to 3 processes" in out
    assert "All as it should be" in out
    assert " ! " not in out
    assert DEFAULT_API_KEY not in out
    assert not [line for line in out.splitlines() if len(line) > 80 and "aioproviders" not in line]
    assert nothing_is_left(process.pid, re.search(r"http://127\.0\.0\.1:(\d+)", out)[1])
    assert [path.name for path in (tmp_path / "aioproviders-demo").iterdir()] == ["providers.toml"]


def test_the_demo_as_a_document(tmp_path, monkeypatch, capfd):
    """With --json all of it is one document, and the environment is as before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEMO_GREETING", "mine")

    code = main(["demo", "--json", "--directory", "here"])

    captured = capfd.readouterr()
    document = json.loads(captured.out)
    assert code == 0
    assert captured.err == ""
    assert document["ok"] is True
    assert len(document["steps"]) == 10
    assert all(fact["ok"] for step in document["steps"] for fact in step["facts"])
    assert document["file"] == "here/providers.toml"
    assert document["try_next"]["commands"][0] == "cd here"
    assert os.environ["DEMO_GREETING"] == "mine"
    assert "DEMO_PORT" not in os.environ
    assert DEFAULT_API_KEY not in captured.out


def test_what_is_not_as_shown_is_told(tmp_path, monkeypatch, capfd):
    """A step that turns out otherwise is marked, and the exit code is 1."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setitem(demo.tour._EXPECTED_HEALTH, "warehouse", "healthy")

    code = main(["demo"])

    out = capfd.readouterr().out
    assert code == 1
    assert re.search(r"^ ! those that work are healthy", out, re.MULTILINE)
    assert "Not all as it should be" in out


def test_a_changed_file_is_left_alone(tmp_path):
    """What the user has changed is not overwritten, which is said; what is as shipped is kept."""
    path = tmp_path / "providers.toml"
    assert serving.leave_file(tmp_path).told == "written"
    assert serving.leave_file(tmp_path).told == "there already"
    path.write_text("# mine")
    assert serving.leave_file(tmp_path).told == "there already and changed, left as it is"
    assert path.read_text() == "# mine"


def test_the_file_left_does_from_any_folder(tmp_path, run):
    """It says where the program, its service and the state are, and is valid."""
    left = serving.leave_file(tmp_path / 'a "folder"')

    assert run("check", "-c", str(left.path)).code == 0
    service = next(spec for spec in load_providers(left.path).specs if spec.name == "service")
    assert service.config.command[0] == sys.executable
    assert Path(service.config.command[2]).is_file()
    assert service.config.state_directory == tmp_path / 'a "folder"' / "state"


def test_a_directory_that_cannot_be_written_is_told(run):
    """The demo needs a place for its file and its state."""
    result = run("demo", "--directory", "/proc/none")

    assert result.code == 2
    assert result.err.startswith("error: --directory: /proc/none can't be written: ")
    assert result.err.count("\n") == 1


@pytest.fixture
def served(tmp_path):
    """`demo --serve --json` as a process, and what it says of itself."""
    process = start("demo", "--serve", "--json", cwd=tmp_path)
    yield process, json.loads(process.stdout.readline())
    if process.poll() is None:
        process.kill()
    process.communicate()


@pytest.mark.timeout(180)  # a dozen processes, one after the other
def test_the_commands_to_try_work_as_they_are(served, tmp_path):
    """While the service runs, every command that the demo prints can be pasted."""
    _, said = served
    codes = {}
    for command in said["try"]:
        if command.endswith("--watch"):
            continue
        prepared = " && ".join(line for line in said["try"] if line.startswith(("cd ", "export ")))
        done = subprocess.run(
            f"{prepared} && {command}" if not command.startswith(("cd ", "export ")) else prepared,
            shell=True, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        codes[re.sub(r"^.* -m aioproviders ", "", command)] = done.returncode
        assert "Traceback" not in done.stderr

    wrong = {
        command: code
        for command, code in codes.items()
        # The sweep finds what is down, and the impatient request is not retried.
        if code != (1 if command == "health" or "impatient" in command else 0)
    }
    assert wrong == {}
    assert len(codes) == len(said["try"]) - 1


def test_the_service_ends_with_ctrl_c(served):
    """Ctrl-C, which the whole group gets, closes all with one line and 130."""
    process, said = served
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)

    assert process.returncode == 130
    assert errors == "interrupted\n"
    assert nothing_is_left(process.pid, said["url"].rpartition(":")[2])


def test_no_service_outlives_a_demo_that_is_killed(served):
    """Even after kill -9 nothing stays."""
    process, said = served
    assert _answers(said["url"])

    process.kill()
    process.wait()

    until(lambda: nothing_is_left(process.pid, said["url"].rpartition(":")[2]), "the service has ended")


def test_a_service_that_dies_comes_back(served):
    """When its process is killed, there is another one soon."""
    _, said = served
    os.kill(said["pids"][0], signal.SIGKILL)

    until(lambda: _answers(said["url"]), "it answers again")


def test_a_taken_port_is_another_one_or_an_error(tmp_path, monkeypatch):
    """The usual port, if taken, is replaced and the commands say so; a port asked for is an error."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        program = (
            f"import sys; from aioproviders.cli import demo, main; demo.DEFAULT_PORT = {port}; "
            "sys.argv[0] = '/nowhere/aioproviders'; sys.exit(main(['demo', '--serve']))"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        lines = "".join(process.stdout.readline() for _ in range(7))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
        refused = subprocess.run(
            [sys.executable, "-m", "aioproviders", "demo", "--serve", "--port", str(port)],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert re.search(r"  export DEMO_PORT=\d+\n", lines)
    assert f":{port}" not in lines
    assert refused.returncode == 1
    assert refused.stderr == (
        f"error: the demo's service did not start: 127.0.0.1:{port} is taken by another program\n"
    )


def test_interrupted_demo_leaves_nothing(tmp_path):
    """Ctrl-C in the middle of the demo ends it with one line, without a process or a traceback."""
    screen = Terminal("demo", cwd=tmp_path)
    try:
        screen.wait_for("A circuit breaker")
        code, rest = screen.interrupt()
    finally:
        screen.close()

    assert code == 130
    assert rest.rstrip().endswith("interrupted")
    assert "Traceback" not in rest
    assert session_members(screen.process.pid) == []


def alone(*arguments, **variables):
    """Start the service without a supervisor."""
    return subprocess.Popen(
        [sys.executable, "-IS", os.fspath(serving._SCRIPT), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **variables},
        text=True,
    )


@pytest.fixture
def service():
    """The service alone, as the demo starts it."""
    process = alone("1.0.0")
    yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    process.terminate()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def _answers(url):
    try:
        return _ask(f"{url}/health")[0] == 200
    except OSError:
        return False


def _ask(url, method="GET", body=None, **headers):
    request = urllib.request.Request(url, method=method, data=body, headers=headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


KEY = {"Authorization": f"Bearer {DEFAULT_API_KEY}"}


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        ("/health", {}, 200),
        ("/items/1", KEY, 200),
        ("/items/1?x=1", KEY, 200),
        ("/items/1", {}, 401),
        ("/items/1", {"Authorization": "Bearer wrong"}, 401),
        ("/items/99", KEY, 404),
        ("/", KEY, 404),
        ("/flaky/health", {}, 200),
        ("/flaky/items/1", KEY, 503),
        ("/ledger/health", {}, 503),
        ("/items", {"method": "POST", "body": b"[1]", **KEY}, 404),
        ("/items", {"method": "POST", "body": b"{bad", **KEY}, 400),
        ("/items", {"method": "POST", "body": b'{"name": "x"}', **KEY}, 201),
        ("/faults/ledger", {"method": "PUT", "body": b'{"broken": false}', **KEY}, 200),
    ],
)
def test_the_service_answers(path, options, status, service):
    """Each route of the service does what its docstring says."""
    assert _ask(service + path, **options)[0] == status


def test_the_same_key_stores_once(service):
    """A POST repeated with its Idempotency-Key is the same item."""
    post = {"method": "POST", "body": b'{"name": "x"}', **KEY}

    first = _ask(f"{service}/items", **post, **{"Idempotency-Key": "k"})
    again = _ask(f"{service}/items", **post, **{"Idempotency-Key": "k"})
    other = _ask(f"{service}/items", **post, **{"Idempotency-Key": "l"})

    assert first == again
    assert other[1]["id"] != first[1]["id"]


def test_the_vendors_client_works(service):
    """The Python client gets, posts, pings, and raises what the service refuses."""
    client = Client(service, DEFAULT_API_KEY)

    assert client.ping()
    assert client.request("/items/1")["name"] == "lantern"
    assert client.request("/items", {"name": "x"})["id"] == "2"
    with pytest.raises(ClientError) as caught:
        client.request("/items/99")
    assert caught.value.status == 404


def test_the_service_finishes_what_was_begun():
    """After SIGTERM a kept connection is answered once more, and told that this was the last time."""
    process = alone("1.0.0")
    port = int(process.stdout.readline())
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/version")
    assert json.load(connection.getresponse())["version"] == "1.0.0"

    process.terminate()
    until(lambda: "finishing" in process.stdout.readline(), "it drains")
    connection.request("GET", "/health")
    response = connection.getresponse()

    assert (response.status, response.getheader("Connection")) == (200, "close")
    connection.close()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0


def test_a_catalogue_that_is_not_there_ends_the_service():
    """It says so in one line, with exit code 1."""
    process = alone("3.0.0", DEMO_CATALOGUE="/nowhere/catalogue.json")
    _, errors = process.communicate(timeout=PATIENCE)

    assert process.returncode == 1
    assert errors == "can't start: [Errno 2] No such file or directory: '/nowhere/catalogue.json'\n"


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import sys; sys.exit('no luck')", "did not start: .*CrashLoop"),
        ("import sys; sys.stdin.read()", "did not start: .*CrashLoop"),
    ],
)
async def test_a_service_that_does_not_start_is_an_error(script, said, tmp_path, monkeypatch):
    """Whatever keeps the service from starting is told in one line, and its process is ended."""
    path = tmp_path / "script.py"
    path.write_text(script)
    monkeypatch.setattr(serving, "_SCRIPT", path)

    with pytest.raises(ProviderUnavailableError, match=said):
        async with serving.running_service(tmp_path / "state"):
            pytest.fail("it did start")

    assert processes_of(tmp_path) == []


async def test_a_port_that_is_taken_at_the_last_moment(tmp_path, free_port):
    """The next is tried, and the history knows of one start; without a next it is an error."""
    state = tmp_path / "state"
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        async with serving.running_service(state, (taken, taken, free_port, taken)) as service:
            assert service.port == free_port
            assert len(await service.provider.history()) == 1
        with pytest.raises(ProviderUnavailableError, match=f"127.0.0.1:{taken} is taken"):
            async with serving.running_service(state, (taken,)):
                pytest.fail("it did start")
    assert processes_of(tmp_path) == []


async def test_one_state_has_one_service(tmp_path):
    """A second demo in the same place is refused, and the first one's service is left alone."""
    async with serving.running_service(tmp_path / "state") as service:
        with pytest.raises(ProviderUnavailableError, match="another demo runs the service of"):
            async with serving.running_service(tmp_path / "state", forgotten=True):
                pytest.fail("it did start")
        assert len(await service.processes()) == 1
        assert list((tmp_path / "state").rglob("journal.jsonl"))


async def test_what_is_not_kept_is_removed(tmp_path):
    """History and logs go with the service, where it is only shown."""
    async with serving.running_service(tmp_path / "state", forgotten=True):
        assert list((tmp_path / "state").rglob("journal.jsonl"))
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("argv", "path", "directory", "typed"),
    [
        ("/usr/bin/env-of-mine/aioproviders", "", "/usr/bin", "env-of-mine/aioproviders"),
        ("/a/aioproviders", "", "/some/place/far/below", "/a/aioproviders"),
        ("/x/aioproviders", "/x", "/anywhere", "aioproviders"),
        (
            "/x/__main__.py",
            "",
            os.fspath(Path(sys.executable).parent),
            f"{Path(sys.executable).name} -m aioproviders",
        ),
    ],
)
def test_commands_name_the_program_as_it_was_started(argv, path, directory, typed, monkeypatch):
    """From the path, by the shorter of its relative and absolute paths, or as a module."""
    monkeypatch.setattr(sys, "argv", [argv])
    monkeypatch.setattr(demo.shutil, "which", lambda name: f"{path}/{name}" if path else None)

    assert demo._program(Path(directory)) == typed
