"""What the command line does with mistakes, and at its edges: one line each, never a traceback."""

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cli_processes import environment, http_table, start

from aioproviders import ProviderFactory, logs
from aioproviders.cli import main
from aioproviders.cli.boundary import guarded
from aioproviders.errors import ConfigurationError, ProviderUnavailableError
from aioproviders.factory import DriverInfo

GOOD = http_table("payments", "http://127.0.0.1:1", retry_attempts=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], 'Unknown command "nope"'),
        (["halth"], "Did you mean"),
        (["health", "--deadlin", "3"], "Did you mean --deadline"),
        (["health", "--deadline", "-1"], "--deadline"),
        (["health", "--deadline", "nan"], "--deadline"),
        (["health", "--deadline", "soon"], "--deadline"),
        (["health", "--interval", "0", "--watch"], "--interval"),
        (["health", "--max-concurrency", "0"], "--max-concurrency"),
        (["health", "--only", "payment"], "did you mean 'payments'?"),
        (["health", "--exclude", "payment"], "did you mean 'payments'?"),
        (["health", "--tag", "nobody-has-it"], "no provider has the tag 'nobody-has-it'"),
        (["health", "--watch", "--tag", "nobody-has-it"], "no provider has the tag 'nobody-has-it'"),
        (["health", "--only", "payments", "--exclude", "payments"], "nothing to check"),
        (["health", "--watch", "--only", "payments", "--exclude", "payments"], "nothing to check"),
        (["health", "-c", "missing.toml"], "missing.toml"),
        (["health", "-c", "broken.toml"], "broken.toml"),
        (["health", "--env", "prodction"], "prodction"),
        (["list", "-c", "missing.toml"], "missing.toml"),
        (["check", "-c", "missing.toml"], "missing.toml"),
        (["check", "-c", "."], "."),
        (["call", "payments"], "requires an argument"),
        (["call", "paymants", "/"], "did you mean 'payments'?"),
        (["call", "settings", "/"], "SDKProvider"),
        (["call", "payments", "/", "{bad"], "DATA: should be JSON"),
        (["call", "payments", "/", "[" * 100_000], "DATA: "),
        (["call", "payments", "/", "@missing.json"], "missing.json: can't be read"),
        (["call", "payments", "/", "@binary.json"], "binary.json: should be UTF-8"),
        (["call", "payments", "/", "-H", "no colon"], "--header: should be 'Name: value'"),
        (["call", "payments", "/", "-p", "=x"], "--param: should be 'name=value'"),
        (["call", "package", "x", "-X", "GET"], "--method: 'package' is a PythonSDKProvider"),
        (["call", "package", "x", "-H", "a: b"], "--header: 'package'"),
        (["call", "package", "x", "-p", "a=b"], "--param: 'package'"),
        (["bench", "payments", "/", "-n", "0"], "-n"),
        (["bench", "payments", "/", "-c", "0"], "--concurrency"),
        (["bench", "payments", "/", "-c=-5"], "--concurrency"),
        (["bench", "payments", "/", "-c", "1.5"], "--concurrency: should be a whole number of at least 1"),
        (["bench", "payments", "/", "-c.5"], "--concurrency: should be a whole number of at least 1"),
        (["bench", "payments", "/", "--concurrency", "1.5"], "--concurrency: should be a whole number"),
        (["bench", "payments", "/", "-n", "many"], "-n"),
        (["bench", "payments", "/", "{bad"], "DATA: should be JSON"),
        (["demo", "--port", "-1"], "--port"),
        (["demo", "--port", "99999"], "--port"),
        (["demo", "--serve", "--port", "65536"], "--port"),
        (["check", "b", "c"], "too many arguments: b c."),
        (["call", "zebra", "/"], "no provider 'zebra'; there are payments, settings, package"),
        (["call", "payments", "/get", "-X", "FOO"], "payments: method should be one of "),
        (["call", "payments", "http://evil.example/x"], "payments: endpoint "),
        (["call", "payments", "../x"], "payments: endpoint should have no '.' or '..'"),
        (["call", "payments", "//x"], "payments: endpoint should begin with one slash"),
        (["call", "payments", "/", "-H", "X: a\nb"], "payments: header X should be one line"),
        (["bench", "payments", "../x", "-n", "3"], "payments: endpoint should have no '.' or '..'"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(arguments, said, providers, run):
    """Whatever is wrong with the command line, one line says what, and the exit code is 2."""
    providers(
        GOOD
        + '[providers.settings]\ntype = "configuration"\ndriver = "environment"\nversion = "1"\n'
        + '[providers.package]\ntype = "sdk"\ndriver = "python"\nversion = "*"\npackage_name = "x"\n'
        + 'api_endpoint = "x"\n[environments.production.providers.payments]\ntimeout_ms = 1\n'
    )
    providers("[providers.x\n", "broken.toml")
    Path("binary.json").write_bytes(b"\xff\xfe")

    result = run(*arguments)

    assert result.code == 2
    assert result.out == ""
    assert result.err.count("\n") == 1
    assert said in result.err
    assert result.err.startswith("error: ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["health", "-c", "missing.toml"], "missing.toml: does not exist"),
        (["call", "paymants", "/"], "did you mean 'payments'?"),
        (["call", "payments", "../x"], "endpoint should have no '.' or '..'"),
        (["list", "--nope"], "--nope"),
        (["bench", "payments", "/", "-n", "0"], "-n"),
    ],
)
def test_with_json_a_failure_is_a_document(arguments, said, providers, run):
    """With --json standard output always holds a document, and the error's line is there as well."""
    providers(GOOD)

    result = run(*arguments, "--json")

    document = json.loads(result.out)
    assert document["exit_code"] == result.code == 2
    assert said in document["error"]
    assert result.err == f"error: {document['error']}\n"


def test_every_problem_of_a_file_is_a_line(providers, run):
    """`check` tells all that is wrong at once, with a line and a place for each, and no value."""
    providers(
        http_table("payments", "canary-no-url", retry_attempts=0)
        + http_table("payouts", "http://127.0.0.1:1", api_kye="canary")
    )

    result = run("check")

    assert result.code == 2
    assert [line.split(": ")[2] for line in result.err.splitlines()] == [
        "providers.payments.retry_attempts",
        "providers.payments.api_endpoint",
        "providers.payouts.api_kye",
    ]
    assert "canary" not in result.err + result.out


def test_no_command_prints_the_help(run):
    """Without a command the help is printed, and names them all."""
    result = run()

    assert result.code == 0
    for command in ("health", "list", "call", "bench", "check", "schema", "demo"):
        assert f" {command} " in result.out
    assert max(map(len, result.out.splitlines())) <= 80


@pytest.mark.parametrize("command", ["health", "list", "call", "bench", "check", "schema", "demo"])
def test_help_fits_the_terminal(command, run):
    """The help of a command names its options, in 80 columns."""
    result = run(command, "--help")

    assert result.code == 0
    assert "--json" in result.out
    assert max(map(len, result.out.splitlines())) <= 80


def test_a_missing_extra_is_named():
    """Without the `cli` extra one line tells how to get it."""
    without = (
        "import sys; sys.modules['cyclopts'] = None; from aioproviders.cli import main; sys.exit(main([]))"
    )

    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr == "error: the command line needs more packages: pip install 'aioproviders[cli]'\n"


@pytest.mark.parametrize("module", ["aioproviders.cli.app", "cyclopts", "pydantic"])
def test_an_interrupt_while_the_command_line_is_loaded_is_one_line(module):
    """Ctrl-C during the imports ends like any other."""
    program = (
        "import builtins, signal, sys\n"
        "from aioproviders.cli import main\n"
        "plain = builtins.__import__\n"
        "def loading(name, *rest):\n"
        f"    if name == '{module}': signal.raise_signal(signal.SIGINT)\n"
        "    return plain(name, *rest)\n"
        "builtins.__import__ = loading\n"
        "sys.exit(main(['list']))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_another_missing_module_is_no_missing_extra():
    """A module that is missing for another reason is not explained away."""
    without = (
        "import sys; sys.modules['aioproviders.cli.options'] = None; "
        "from aioproviders.cli import main; sys.exit(main([]))"
    )

    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "aioproviders.cli.options" in done.stderr.splitlines()[-1]


def test_the_package_alone_loads_nothing_of_the_command_line():
    """Importing the entry point loads neither cyclopts nor rich's drawing; a check loads no table."""
    program = (
        "import sys, aioproviders.cli; assert 'cyclopts' not in sys.modules; "
        "assert 'rich.live' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", program], check=True)


def raising(error):
    def command():
        raise error

    return guarded(command)


def test_an_unexpected_exception_is_one_line(capfd):
    """A defect is told in one line without control characters, with the way to see more."""
    code = raising(RuntimeError("first\nsecond \x1b[31m https://user:canary@host/"))

    captured = capfd.readouterr()
    assert code == 1
    assert captured.err.startswith("internal error: RuntimeError: first second \\x1b[31m")
    assert "AIOPROVIDERS_DEBUG=1" in captured.err
    assert captured.err.count("\n") == 1
    assert "canary" not in captured.err


def test_a_command_can_be_debugged(capfd, monkeypatch):
    """With AIOPROVIDERS_DEBUG=1 the traceback is shown, and still no secret."""
    monkeypatch.setenv("AIOPROVIDERS_DEBUG", "1")
    logged = []
    monkeypatch.setattr(logs, "configure_logging", lambda *arguments: logged.append(arguments))

    code = raising(RuntimeError("https://user:canary@host/"))

    captured = capfd.readouterr()
    assert code == 1
    assert "Traceback" in captured.err
    assert "canary" not in captured.err
    assert logged == [("console", "debug")]


def test_errors_of_a_group_are_a_line_each(capfd):
    """Several failures at once are several lines; a wrong config makes it exit code 2."""
    code = raising(
        ExceptionGroup(
            "two", [ConfigurationError("a\nb"), ProviderUnavailableError("gone", provider="p", operation="o")]
        )
    )

    assert code == 2
    assert capfd.readouterr().err == "error: a\nerror: b\nerror: p.o: gone\n"


def test_an_interrupt_in_a_group_is_an_interrupt(capfd):
    """Ctrl-C is Ctrl-C also where a task group wraps it."""
    code = raising(BaseExceptionGroup("one", [KeyboardInterrupt()]))

    assert code == 130
    assert capfd.readouterr().err == "interrupted\n"


def test_a_request_to_exit_passes():
    """`SystemExit` is nobody's failure."""
    with pytest.raises(SystemExit):
        raising(SystemExit(3))


def test_sigterm_ends_a_command_like_ctrl_c(capfd):
    """SIGTERM unwinds the command, is told apart from Ctrl-C, and leaves the handlers as they were."""
    before = signal.getsignal(signal.SIGTERM)

    code = guarded(lambda: os.kill(os.getpid(), signal.SIGTERM) or signal.pause())

    assert code == 143
    assert capfd.readouterr().err == "terminated\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_command_runs_outside_the_main_thread(providers):
    """Where signals can't be handled the command runs all the same."""
    providers(GOOD)
    codes = []

    thread = threading.Thread(target=lambda: codes.append(main(["check"])))
    thread.start()
    thread.join()

    assert codes == [0]


def test_arguments_of_the_process_are_the_default(providers, monkeypatch, capfd):
    """Without arguments given, those of the process count."""
    providers(GOOD)
    monkeypatch.setattr(sys, "argv", ["aioproviders", "check"])

    assert main() == 0
    assert capfd.readouterr().out == "providers.toml: ok, 1 provider\n"


@pytest.mark.parametrize(
    "arguments", [["schema"], ["list"], ["--help"], ["list", "--json"], ["health", "--help"]]
)
def test_a_closed_pipe_is_no_error(arguments, providers, tmp_path):
    """A reader that has seen enough, such as `head`, makes no noise."""
    providers(GOOD)
    reader, writer = os.pipe()
    os.close(reader)

    done = subprocess.run(
        [sys.executable, "-m", "aioproviders", *arguments],
        cwd=tmp_path,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)

    assert (done.returncode, done.stderr) == (0, "")


def test_a_reader_that_leaves_ends_the_watch(providers, tmp_path, shared_service):
    """`health --watch --json | head -1` ends when its reader does, quietly."""
    providers(http_table("service", shared_service.url))
    process = start("health", "--watch", "--json", "--interval", "0.05", cwd=tmp_path)
    process.stdout.readline()
    process.stdout.close()

    assert process.wait(20) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_output_that_cannot_be_written_is_an_error(providers, tmp_path):
    """A full disk is told in one line."""
    providers(GOOD)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "aioproviders", "schema"],
            cwd=tmp_path,
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr == "error: can't write to standard output: No space left on device\n"


@pytest.mark.parametrize(
    "arguments", [["list"], ["check"], ["schema"], ["--help"], ["health"], ["health", "--json"]]
)
@pytest.mark.parametrize(("redirection", "why"), [(">&-", "it is closed"), (">/dev/full", "No space left")])
def test_every_command_tells_that_it_cannot_write(arguments, redirection, why, providers, tmp_path):
    """Whatever should have been printed, one line says that and why it could not be."""
    providers(GOOD)
    command = shlex.join([sys.executable, "-m", "aioproviders", *arguments])

    done = subprocess.run(
        ["/bin/sh", "-c", f"unset COLUMNS; {command} {redirection}"],
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.startswith(f"error: can't write to standard output: {why}")
    assert done.stderr.count("\n") == 1


def test_a_closed_standard_input_is_no_data(providers, tmp_path):
    """Without a standard input there is nothing to read from it, which is a mistake of usage."""
    providers(GOOD)
    command = shlex.join([sys.executable, "-m", "aioproviders", "call", "payments", "/", "-"])

    done = subprocess.run(
        ["/bin/sh", "-c", f"{command} <&-"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert done.stderr == "error: standard input: can't be read: it is closed\n"


def test_a_clash_of_drivers_is_listed_once(providers, run, monkeypatch):
    """Two packages that claim one driver's name are one broken driver."""
    providers(GOOD)
    rivals = [DriverInfo(None, "sdk.x", source, "m:C", "claimed by a and b") for source in ("a 1", "b 1")]
    monkeypatch.setattr(ProviderFactory, "get_drivers", lambda load: rivals)

    assert run("list").out.count("claimed by a and b") == 1


@pytest.mark.parametrize("broken", [True, False])
def test_list_tells_providers_and_drivers(broken, providers, run, monkeypatch):
    """`list` shows the file's providers, the drivers, those that are broken and why; no secret."""
    providers(http_table("payments", "http://u:canary-url@127.0.0.1:1", tags=["a", "b"], enabled=False))
    get_drivers = ProviderFactory.get_drivers
    monkeypatch.setattr(
        ProviderFactory,
        "get_drivers",
        lambda load: [
            driver
            if driver.error or not broken
            else type(driver)(driver.type, driver.driver, "x 1", "t", "why \x1b[1m")
            for driver in get_drivers(load=load)
        ],
    )

    result = run("list")

    assert result.code == 0
    assert "a, b (disabled)" in result.out
    assert "sdk.http" in result.out
    assert ("BROKEN" in result.out) is broken
    assert ("why \\x1b[1m" in result.out) is broken
    assert "canary" not in result.out
    assert max(map(len, result.out.splitlines())) <= 80
