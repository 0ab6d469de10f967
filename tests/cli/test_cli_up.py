"""`up`, and the other commands on what it runs: real processes, several terminals."""

import json
import os
import signal
import sys
import urllib.request
from unittest.mock import ANY

import anyio
import pytest
from cli_processes import Reader, free_port, process_table, processes_of, start, until

from aioproviders.cli.deploying.opening import Target
from aioproviders.cli.deploying.running import _Output, _Running
from aioproviders.deployment.process import ProcessDeploymentConfig, ProcessDeploymentProvider


class Terminals:
    """A folder with a providers file, and commands run in it."""

    def __init__(self, folder):
        self.folder = folder
        self.port = free_port()
        self._ups = []
        (folder / "providers.toml").write_text(
            process_table("shop", folder, replicas=2, ports=[{"port": self.port}])
            + process_table("worker", folder)
        )

    def up(self, *names, wait=True):
        """Run `up` in the background; returns its `Reader` when all is up."""
        reader = Reader(start("up", *names, cwd=self.folder))
        self._ups.append(reader)
        if wait:
            for name in names or ("shop", "worker"):
                reader.wait_for(rf"^{name} +\| \* healthy, version")
        return reader

    def run(self, *arguments):
        """Run a command to its end; returns exit code, output, errors."""
        process = start(*arguments, cwd=self.folder)
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err

    def status(self, name="shop"):
        return json.loads(self.run("status", name, "--json")[1])

    def answer(self):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}/", timeout=5) as response:
            return response.read().decode()

    def close(self):
        for reader in self._ups:
            if reader.process.poll() is None:
                reader.process.kill()
            reader.end()


@pytest.fixture
def terminals(tmp_path):
    """Two deployments, and terminals to run commands in; in the end nothing is left of any of it."""
    opened = Terminals(tmp_path)
    yield opened
    opened.close()
    until(lambda: not processes_of(tmp_path), lambda: f"nothing is left of {processes_of(tmp_path)}")


def test_up_runs_all_and_another_terminal_changes_it(terminals):
    """Lines have their instance before them, a rollout from elsewhere is noted, SIGTERM ends it in order."""
    up = terminals.up()
    up.wait_for(r"^shop-\d+-\d +\| starting 1\.0\.0, token none$", count=2)
    up.wait_for(r"^worker-\d+-\d +\| starting 1\.0\.0")
    assert terminals.answer() == "1.0.0"

    code, out, err = terminals.run("deploy", "shop", "--version", "2.0.0")

    assert (code, err) == (0, "")
    assert out.splitlines()[-1].startswith("shop: healthy: ")
    assert "version 2.0.0 runs" in out.splitlines()[-1]
    assert "shop-2-0 is ready" in out
    assert terminals.answer() == "2.0.0"
    up.wait_for(r"^shop +\| \* .*rollout of 2\.0\.0 begins")
    up.wait_for(r"^shop-2-\d +\| starting 2\.0\.0")

    up.process.terminate()
    assert up.end() == 0
    assert up.err == []
    assert up.out[-1].endswith("* stopped\n")
    assert not processes_of(terminals.folder)


def test_all_commands_act_on_what_runs(terminals):
    """scale, rollback, status, history, logs: from another terminal, on what `up` runs."""
    terminals.up("shop")
    terminals.run("deploy", "shop", "--version", "2.0.0", "--set", "change_cause=more speed")

    code, out, err = terminals.run("scale", "shop", "3")
    assert (code, err) == (0, "")
    assert "3 available of 3" in out.splitlines()[-1]

    code, out, err = terminals.run("rollback", "shop", "previous")
    assert (code, err) == (0, "")
    state = terminals.status()
    assert (state["status"], state["version"], len(state["instances"])) == ("healthy", "1.0.0", 3)

    code, out, _ = terminals.run("history", "shop")
    assert code == 0
    assert [line.split()[:4] for line in out.splitlines()[2:]] == [
        ["*", "3", "1.0.0", "healthy"],
        ["2", "2.0.0", "healthy", ANY],
        ["1", "1.0.0", "healthy", ANY],
    ]
    assert "more speed" in out


def test_logs_and_changes_of_what_runs(terminals):
    """What an instance has written, and what a deploy would change, secrets masked."""
    terminals.up("shop")
    name = terminals.status()["instances"][0]["name"]

    code, out, _ = terminals.run("logs", "shop", "--instance", name)
    assert code == 0
    assert f"{name} | starting 1.0.0, token none\n" in out

    code, out, _ = terminals.run("deploy", "shop", "--diff", "--set", 'env.TOKEN={"secret": "geheim-1"}')
    assert code == 0
    assert "TOKEN" in out
    assert "geheim-1" not in out


def test_a_bad_version_is_told_and_rolled_back(terminals):
    """In the other terminal the diagnosis is laid out, and the old version runs on."""
    terminals.up("shop")

    code, out, err = terminals.run("deploy", "shop", "--version", "2.0.0-crash-loop")

    assert code == 1
    assert "  exit code   1\n" in out
    assert "panic: bad configuration" in out
    assert "  suggestion  " in out
    assert err.startswith("error: shop: rolled_back: ")
    assert terminals.answer() == "1.0.0"


@pytest.mark.parametrize(
    ("number", "word", "code"), [(signal.SIGINT, "interrupted", 130), (signal.SIGTERM, "terminated", 143)]
)
def test_an_interrupted_deploy_is_undone(number, word, code, terminals):
    """Ctrl-C in mid-rollout says that it rolls back, and does."""
    terminals.up("shop")
    deploy = Reader(start("deploy", "shop", "--version", "2.0.0-never-ready", cwd=terminals.folder))
    deploy.wait_for(r"shop-2-\d is ")

    deploy.process.send_signal(number)

    assert deploy.end() == code
    assert deploy.err[0] == f"{word}: rolling back…\n"
    assert deploy.err[1].startswith("shop: ")
    until(lambda: terminals.status()["status"] == "healthy", "the old version runs alone")
    assert terminals.status()["version"] == "1.0.0"


def test_two_deploys_at_once(terminals):
    """The second one is refused, and the first goes on."""
    terminals.up("shop")
    first = Reader(start("deploy", "shop", "--version", "2.0.0-never-ready", cwd=terminals.folder))
    first.wait_for("shop-2-0 is ")

    code, out, err = terminals.run("deploy", "shop", "--version", "3.0.0")

    assert (code, out) == (1, "")
    assert "under way" in err
    assert terminals.status()["status"] == "progressing"
    first.process.terminate()
    assert first.end() == 143


def test_without_up_there_is_nothing_to_deploy_to(terminals):
    """What would end with the command is not started; status and history know the past."""
    for command in (["deploy", "shop"], ["scale", "shop", "2"], ["rollback", "shop", "previous"]):
        code, out, err = terminals.run(*command)
        assert (code, out) == (1, "")
        assert "start 'aioproviders up shop'" in err
        assert err.count("\n") == 1
    assert terminals.run("history", "shop")[1] == "shop: nothing was deployed yet\n"
    assert terminals.run("status", "shop")[0] == 1

    terminals.up("shop").process.terminate()
    terminals.close()

    assert "1.0.0" in terminals.run("history", "shop")[1]
    code, out, _ = terminals.run("status", "shop", "--json")
    assert json.loads(out)["version"] == "1.0.0"


def test_what_runs_already_is_not_run_twice(terminals):
    """A second `up` of the same is refused and disturbs nothing."""
    terminals.up("shop")

    code, out, err = terminals.run("up", "shop")

    assert (code, out) == (1, "")
    assert err == "error: shop: runs already, started by another 'aioproviders up'\n"
    assert terminals.answer() == "1.0.0"


def test_up_fails_where_one_does_not_come_up(terminals):
    """The diagnosis is told, all the others are stopped, and the exit code is 1."""
    text = (terminals.folder / "providers.toml").read_text()
    head, _, tail = text.rpartition('version = "1.0.0"')
    (terminals.folder / "providers.toml").write_text(f'{head}version = "1.0.0-crash-loop"{tail}')

    code, out, err = terminals.run("up")

    assert code == 1
    assert "panic: bad configuration" in out
    assert "error: worker: failed: " in err
    assert not processes_of(terminals.folder)


def test_up_starts_nothing_older(terminals):
    """A version that does not come up ends it; what ran before, which no file names now, is not run."""
    up = terminals.up("worker")
    up.process.send_signal(signal.SIGTERM)
    assert up.end() == 0
    file = terminals.folder / "providers.toml"
    shop, _, worker = file.read_text().partition("[providers.worker]")
    file.write_text(shop + "[providers.worker]" + worker.replace('"1.0.0"', '"2.0.0-crash-loop"', 1))
    again = terminals.up("worker", wait=False)
    assert again.end() == 1
    assert "worker: failed: the rollout of 2.0.0-crash-loop failed" in "".join(again.err)
    assert not [line for line in again.out if "1.0.0" in line]


def test_up_from_another_folder(tmp_path):
    """What a file says by relative paths is beside it: the program, its folder, the state."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "shop" / "work.py").write_text("import time; print('at work', flush=True); time.sleep(600)")
    (tmp_path / "shop" / "providers.toml").write_text(
        f"""
        [providers.worker]
        type = "deployment"
        driver = "process"
        version = "1.0.0"
        command = ["{sys.executable}", "work.py"]
        state_directory = "state"
        """
    )
    file, elsewhere = tmp_path / "shop" / "providers.toml", tmp_path / "elsewhere"
    up = Reader(start("up", "-c", "../shop/providers.toml", cwd=elsewhere))
    try:
        up.wait_for("at work")
        state = start("status", "worker", "-c", str(file), "--json", cwd=tmp_path)
        assert json.loads(state.communicate(timeout=30)[0])["status"] == "healthy"
        assert (tmp_path / "shop" / "state" / "default" / "worker").is_dir()
        assert list(elsewhere.iterdir()) == []
    finally:
        up.process.send_signal(signal.SIGTERM)
        assert up.end() == 0


def test_a_restart_is_noted(terminals):
    """An instance that is killed comes back, and that is told."""
    up = terminals.up("shop")
    os.kill(terminals.status()["instances"][0]["pid"], signal.SIGKILL)

    up.wait_for(r"^shop +\| \* shop-1-\d (has ended, and was started anew|is no longer ready)")
    until(lambda: terminals.status()["status"] == "healthy", "it is back")


def test_a_second_signal_hurries(terminals):
    """What does not end in time is killed by the second Ctrl-C, and the end is orderly all the same."""
    text = (terminals.folder / "providers.toml").read_text().replace("ms = 5000", "ms = 60000")
    stubborn = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('here', flush=True)\n"
        "time.sleep(600)\n"
    )
    (terminals.folder / "stubborn.py").write_text(stubborn)
    (terminals.folder / "providers.toml").write_text(
        text.replace(str(terminals.folder / "versioned.py"), str(terminals.folder / "stubborn.py")).replace(
            'readiness_probe = {"kind" = "notify"}\n', ""
        )
    )
    up = terminals.up("worker")
    up.wait_for(r"\| here$")

    up.process.send_signal(signal.SIGINT)
    up.wait_for("interrupted: stopping; once more to kill what is left")
    assert processes_of(terminals.folder)
    up.process.send_signal(signal.SIGINT)

    assert up.end() == 0


def test_nothing_outlives_an_up_that_is_killed(terminals):
    """Even after kill -9 no process stays, and the next `up` works."""
    up = terminals.up("shop")
    up.process.kill()
    up.end()

    until(lambda: not processes_of(terminals.folder), "all processes have gone")
    terminals.up("shop")
    assert terminals.answer() == "1.0.0"


def test_up_as_lines_of_json(terminals):
    """With --json each line is a document: an application's line, or a note."""
    up = Reader(start("up", "shop", "--json", cwd=terminals.folder))
    up.wait_for('"note":"healthy, version 1.0.0')
    up.process.terminate()

    assert up.end() == 0
    documents = [json.loads(line) for line in up.out]
    assert any(each.get("text") == "starting 1.0.0, token none" for each in documents)
    assert documents[-1] == {"deployment": None, "note": "stopped"}


def test_a_failure_is_a_line_of_json(terminals):
    """Also the result of a deployment that does not come up, with its diagnosis."""
    text = (terminals.folder / "providers.toml").read_text()
    (terminals.folder / "providers.toml").write_text(text.replace('"1.0.0"', '"1.0.0-crash-loop"'))
    code, out, err = terminals.run("up", "worker", "--json")

    assert (code, err.startswith("error: worker: failed: ")) == (1, True)
    [result] = [each for line in out.splitlines() if "success" in (each := json.loads(line))]
    assert result["metadata"]["diagnosis"]["reason"] == "CrashLoop"


def test_up_ends_when_nothing_runs_any_more(tmp_path, capfd):
    """Whatever has ended the supervisor: it is said, and it is a failure."""
    config = ProcessDeploymentConfig(
        name="worker", version="1", command=["sleep", "600"], state_directory=tmp_path
    )
    failures = []

    async def main():
        stopping = anyio.Event()
        async with ProcessDeploymentProvider(config) as provider:
            running = _Running(Target("worker", provider, config), _Output(json=False, width=8))
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(running.run, failures, stopping)
                with anyio.fail_after(20):
                    while not provider.supervises or running._before == {}:  # noqa: ASYNC110 - it tells people only
                        await anyio.sleep(0.01)
                    await provider._supervisor.close()
                    await stopping.wait()

    anyio.run(main)
    assert failures == ["worker"]
    assert "* nothing runs any more: its supervisor has failed\n" in capfd.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_up_stops_while_it_starts(number, terminals):
    """A signal before all is up is an orderly end, too: nothing is left, exit code 0."""
    text = (terminals.folder / "providers.toml").read_text()
    (terminals.folder / "providers.toml").write_text(text.replace('"1.0.0"', '"1.0.0-never-ready"'))
    up = terminals.up("shop", wait=False)
    up.wait_for(r"starting 1\.0\.0-never-ready")

    up.process.send_signal(number)

    assert up.end() == 0
    assert not processes_of(terminals.folder)


def test_a_signal_that_is_ignored_stays_so(terminals):
    """Under nohup the end of the terminal does not end what runs."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        up = terminals.up("worker")
    finally:
        signal.signal(signal.SIGHUP, before)
    up.process.send_signal(signal.SIGHUP)

    assert terminals.status("worker")["status"] == "healthy"
    up.process.terminate()
    assert up.end() == 0
