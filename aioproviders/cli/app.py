"""The commands and their arguments; each one's work is in a module of its own, imported when it is run."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError
from cyclopts.validators import Number

from aioproviders.cli.boundary import OK, UsageError
from aioproviders.cli.options import (
    STANDARD_INPUT,
    LoadOptions,
    NotNegative,
    Output,
    PositiveFloat,
    PositiveInt,
    Request,
    Settings,
    Source,
)
from aioproviders.cli.output import console_for, one_line, write

__all__ = ["run"]

_SOURCE = Source()
_OUTPUT = Output()
_REQUEST = Request()
_LOAD = LoadOptions()
_SEE_HELP = "See 'aioproviders --help'."
_SETTINGS = Settings()
_LAST_PORT = 65_535
_NUMBER = r"-?(?:\d{1,9}(?:\.\d*)?|\.\d+)"


def _version() -> str:
    from importlib import metadata  # noqa: PLC0415 - for --version alone

    return metadata.version("aioproviders")


app = App(
    name="aioproviders",
    help="Providers from a file: their health, requests through them, and their latency.",
    help_format="plaintext",
    version=_version,
)


def run(arguments: list[str]) -> int:
    """Run the command that `arguments` say and return its exit code.

    Raises:
        UsageError: There is no such command, or it takes no such arguments.
    """
    console = console_for(sys.stdout)
    try:
        command, bound, _ = app.parse_args(
            _prepared(arguments),
            console=console,
            print_error=False,
            exit_on_error=False,
        )
    except UnusedCliTokensError as error:
        left_over = " ".join(error.unused_tokens or ())
        raise UsageError(f"too many arguments: {left_over}. {_SEE_HELP}") from None
    except CycloptsError as error:
        told = one_line(str(error))
        raise UsageError(f"{told}{'' if told.endswith(('.', '?')) else '.'} {_SEE_HELP}") from None
    if isinstance(command, FunctionType):
        return _run_quietly(partial(command, *bound.args, **bound.kwargs))
    # Only --help and --version draw on it, and the parser does not care whether that can be written.
    with console.capture() as captured:
        command(*bound.args, **bound.kwargs)
    write(captured.get())
    return OK


def _run_quietly(command: Callable[[], int]) -> int:
    from aioproviders.errors import ConfigurationWarning  # noqa: PLC0415 - only what is run is loaded

    with warnings.catch_warnings():
        # `check` prints them; elsewhere they would stand between the results.
        warnings.simplefilter("ignore", ConfigurationWarning)
        return command()


def _prepared(arguments: list[str]) -> list[str]:
    """Write the arguments so that the parser takes them for what they mean.

    A lone ``-`` is no option but standard input, and for ``bench`` a number after ``-c`` is the
    concurrency, while anything else there is the providers file.
    """
    found: list[str] = []
    bench = arguments[:1] == ["bench"]
    for position, argument in enumerate(arguments):
        following = arguments[position + 1] if position + 1 < len(arguments) else ""
        if argument == "-":
            found.append(STANDARD_INPUT)
        elif bench and argument in ("-c", "--concurrency") and re.fullmatch(_NUMBER, following):
            _check_whole(following)
            found.append("--concurrency")
        elif bench and (match := re.fullmatch(rf"(?:-c=?|--concurrency=)({_NUMBER})", argument)):
            _check_whole(match[1])
            found.append(f"--concurrency={match[1]}")
        else:
            found.append(argument)
    return found


def _check_whole(number: str) -> None:
    if not re.fullmatch(r"\d+", number) or not int(number):
        raise UsageError(f"--concurrency: should be a whole number of at least 1, not {number}. {_SEE_HELP}")


# A command has no --version: "rollback shop --version 1.0" would print this program's, as a success.
@app.command(version_flags=[])
def health(  # noqa: D417, PLR0913 - the shared options are described in their classes; an argument an option
    *,
    source: Source = _SOURCE,
    output: Output = _OUTPUT,
    deadline: PositiveFloat | None = None,
    tag: Annotated[list[str] | None, Parameter(negative="")] = None,
    only: Annotated[list[str] | None, Parameter(negative="")] = None,
    exclude: Annotated[list[str] | None, Parameter(negative="")] = None,
    max_concurrency: PositiveInt | None = None,
    watch: Annotated[bool, Parameter(name=["--watch", "-w"], negative="", show_default=False)] = False,
    interval: PositiveFloat = 5.0,
) -> int:
    """Check the health of all providers at once; the exit code is 1 if any is not well.

    Args:
        deadline: Seconds after which unfinished checks count as timed out; by default 30, with
            --watch the interval, but at least 5.
        tag: Check only providers with this tag; may be repeated.
        only: Check only this provider; may be repeated.
        exclude: Leave this provider out; may be repeated.
        max_concurrency: Checks at a time.
        watch: Check again and again, in a live table, until Ctrl-C.
        interval: Seconds from the start of one sweep to the next, with --watch.
    """
    from aioproviders.cli import sweeping  # noqa: PLC0415 - only what is run is loaded

    selection = sweeping.Selection(
        deadline=deadline or sweeping.deadline_of(interval if watch else None),
        tags=tuple(tag) if tag else None,
        only=tuple(only) if only else None,
        exclude=tuple(exclude) if exclude else None,
        max_concurrency=max_concurrency,
    )
    if watch:
        return sweeping.watch(source, selection, interval=interval, json=output.json)
    return sweeping.sweep_once(source, selection, json=output.json)


@app.command(name="list", version_flags=[])
def list_(*, source: Source = _SOURCE, output: Output = _OUTPUT) -> int:
    """List the providers of the file, if there is one, the drivers installed, and broken plugins."""
    from aioproviders.cli import inventory  # noqa: PLC0415 - only what is run is loaded

    return inventory.list_all(source, json=output.json)


@app.command(version_flags=[])
def call(  # noqa: D417, PLR0913 - likewise
    name: str,
    endpoint: str,
    data: str | None = None,
    /,
    *,
    request: Request = _REQUEST,
    source: Source = _SOURCE,
    output: Output = _OUTPUT,
) -> int:
    """Make one request through an SDK provider and print the answer.

    Args:
        name: The provider.
        endpoint: A path below its endpoint, or a method of its package.
        data: JSON object to send; '@file' reads it from a file, '-' from standard input.
    """
    from aioproviders.cli import calling  # noqa: PLC0415 - only what is run is loaded

    return calling.call(source, name, endpoint, data, request, json=output.json)


@app.command(version_flags=[])
def bench(  # noqa: D417, PLR0913 - likewise
    name: str,
    endpoint: str,
    data: str | None = None,
    /,
    *,
    load: LoadOptions = _LOAD,
    request: Request = _REQUEST,
    source: Source = _SOURCE,
    output: Output = _OUTPUT,
) -> int:
    """Make many requests through an SDK provider: throughput, latencies, where the time went.

    Args:
        name: The provider.
        endpoint: A path below its endpoint, or a method of its package.
        data: JSON object to send; '@file' reads it from a file, '-' from standard input.
    """
    from aioproviders.cli.bench import command  # noqa: PLC0415 - only what is run is loaded

    return command.bench(source, name, endpoint, data, request, load, json=output.json)


@app.command(version_flags=[])
def deploy(  # noqa: D417, PLR0913 - likewise
    name: str,
    /,
    *,
    settings: Settings = _SETTINGS,
    dry_run: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    diff: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    source: Source = _SOURCE,
    output: Output = _OUTPUT,
) -> int:
    """Deploy what the file says, and wait until it is well; what fails is undone, and told why.

    Args:
        name: The deployment.
        dry_run: Only let the target try it out.
        diff: Only tell what would change.
    """
    from aioproviders.cli.deploying import changing, opening  # noqa: PLC0415 - only what is run is loaded

    overrides = opening.Overrides(settings.version, tuple(settings.set or ()))
    return changing.deploy(source, name, overrides, dry_run=dry_run, diff=diff, json=output.json)


@app.command(version_flags=[])
def scale(  # noqa: D417 - likewise
    name: str, replicas: NotNegative, /, *, source: Source = _SOURCE, output: Output = _OUTPUT
) -> int:
    """Change the number of a deployment's instances, and wait until there are as many.

    Args:
        name: The deployment.
        replicas: How many.
    """
    from aioproviders.cli.deploying import changing  # noqa: PLC0415 - only what is run is loaded

    return changing.scale(source, name, replicas, json=output.json)


@app.command(version_flags=[])
def rollback(  # noqa: D417 - likewise
    name: str, version: str, /, *, source: Source = _SOURCE, output: Output = _OUTPUT
) -> int:
    """Go back to an earlier release of a deployment, and wait until it is well.

    Args:
        name: The deployment.
        version: A version, 'previous' (the last one that was healthy), or 'revision:7'.
    """
    from aioproviders.cli.deploying import changing  # noqa: PLC0415 - only what is run is loaded

    return changing.rollback(source, name, version, json=output.json)


@app.command(version_flags=[])
def status(  # noqa: D417 - likewise
    name: str,
    /,
    *,
    watch: Annotated[bool, Parameter(name=["--watch", "-w"], negative="", show_default=False)] = False,
    interval: PositiveFloat = 1.0,
    source: Source = _SOURCE,
    output: Output = _OUTPUT,
) -> int:
    """Tell where a deployment stands; the exit code is 1 if it has failed or is not there.

    Args:
        name: The deployment.
        watch: Tell it again and again, in place, until Ctrl-C.
        interval: Seconds from one look to the next, with --watch.
    """
    from aioproviders.cli.deploying import looking  # noqa: PLC0415 - only what is run is loaded

    return looking.status(source, name, watch=watch, interval=interval, json=output.json)


@app.command(version_flags=[])
def history(  # noqa: D417 - likewise
    name: str, /, *, source: Source = _SOURCE, output: Output = _OUTPUT
) -> int:
    """List the releases of a deployment that are kept, newest first.

    Args:
        name: The deployment.
    """
    from aioproviders.cli.deploying import looking  # noqa: PLC0415 - only what is run is loaded

    return looking.history(source, name, json=output.json)


@app.command(version_flags=[])
def logs(  # noqa: D417, PLR0913 - likewise
    name: str,
    /,
    *,
    instance: str | None = None,
    lines: NotNegative = 100,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative="", show_default=False)] = False,
    source: Source = _SOURCE,
    output: Output = _OUTPUT,
) -> int:
    """Print what a deployment's instances have written, with --json a line a line.

    Args:
        name: The deployment.
        instance: Only of this one.
        lines: The last lines of each.
        follow: Go on with what they write, until Ctrl-C.
    """
    from aioproviders.cli.deploying import looking  # noqa: PLC0415 - only what is run is loaded

    return looking.logs(source, name, instance=instance, lines=lines, follow=follow, json=output.json)


@app.command(version_flags=[])
def up(  # noqa: D417 - likewise
    *names: str, source: Source = _SOURCE, output: Output = _OUTPUT
) -> int:
    """Run the process deployments of the file here, until Ctrl-C; a second one kills what is left.

    Meanwhile deploy, scale, rollback, status and logs in another terminal act on what runs here.

    Args:
        names: Only these.
    """
    from aioproviders.cli.deploying import running  # noqa: PLC0415 - only what is run is loaded

    return running.up(source, names, json=output.json)


@app.command(version_flags=[])
def check(*, source: Source = _SOURCE, output: Output = _OUTPUT) -> int:
    """Validate a providers file without calling anything; the exit code is 2 if it is wrong.

    Without --env that is the file by itself and with each of its environments.
    """
    from aioproviders.cli import inventory  # noqa: PLC0415 - only what is run is loaded

    return inventory.check(source, json=output.json)


@app.command(version_flags=[])
def schema(*, output: Output = _OUTPUT) -> int:  # noqa: ARG001 - it is JSON either way; frozen
    """Print the JSON Schema of providers files, for editors."""
    from aioproviders.cli import inventory  # noqa: PLC0415 - only what is run is loaded

    return inventory.schema()


@app.command(version_flags=[])
def demo(  # noqa: D417 - likewise
    *,
    directory: Path = Path("aioproviders-demo"),
    serve: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    port: Annotated[int | None, Parameter(validator=Number(gte=0, lte=_LAST_PORT))] = None,
    output: Output = _OUTPUT,
) -> int:
    """Show health checks, requests, retries, a circuit breaker and rollouts on a small service of its own.

    It needs no network and no account.

    Args:
        directory: Where to leave the providers file.
        serve: Only run the service, until Ctrl-C, for commands of your own.
        port: Where the service listens on 127.0.0.1; any free one if not given.
    """
    from aioproviders.cli import demo as demonstration  # noqa: PLC0415 - only what is run is loaded

    return demonstration.run(directory, serve=serve, port=port, json=output.json)
