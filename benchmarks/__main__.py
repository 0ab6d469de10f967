"""Run benchmarks: ``python -m benchmarks [NAME…] [--quick] [--output FOLDER] [--readme]``."""

from __future__ import annotations

import argparse
import gc
import importlib
import sys
from pathlib import Path

SUITES = {
    "calls": "one call that does not fail",
    "http": "requests of a server on this machine",
    "sweeps": "health sweeps",
    "startup": "imports, the command line, starting and closing",
    "failures": "failing calls, a dead backend, cancellation",
    "rollouts": "updates of processes under load, and in Kubernetes beside kubectl",
}


def main() -> None:
    """Run what the command line asks for; exits with 2 where that can't be."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="; ".join(f"{name}: {what}" for name, what in SUITES.items()) + "; all of them by default",
    )
    parser.add_argument("--quick", action="store_true", help="less of everything, about a minute in all")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="where JSON and SVG go (benchmarks/results, with --quick its folder quick)",
    )
    parser.add_argument(
        "--readme", action="store_true", help="measure nothing: put the results kept into the README"
    )
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.names) - set(SUITES))
    if unknown:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(SUITES)}")
    results = Path(__file__).parent / "results"
    if arguments.readme and (arguments.quick or arguments.names or arguments.output):
        parser.error("--readme measures nothing: it goes alone")
    if arguments.readme:
        _write_readme(parser, results)
        return
    folder: Path = arguments.output or (results / "quick" if arguments.quick else results)
    try:
        # Suites need peers, which are an extra of their own.
        from rich.console import Console  # noqa: PLC0415 - likewise

        from benchmarks import output  # noqa: PLC0415 - likewise

        suites = [(name, importlib.import_module(f"benchmarks.{name}")) for name in arguments.names or SUITES]
    except ModuleNotFoundError as missing:
        parser.error(f"{missing.name} is missing: pip install -e '.[all,bench]'")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--output {folder} should be a folder that can be written: {error.strerror}")
    console = Console()
    for name, suite in suites:
        # What imports and plots have made, matplotlib's above all, stays: looking through it again at each
        # collection takes longer than what is measured.
        gc.collect()
        gc.freeze()
        tables = []
        for table in suite.run(quick=arguments.quick):
            output.print_table(table, console)
            tables.append(table)
        for path in (
            output.write_json(name, tables, folder, quick=arguments.quick),
            output.write_svg(name, tables, folder),
        ):
            console.print(f"wrote {path}", style="dim", highlight=False)


def _write_readme(parser: argparse.ArgumentParser, results: Path) -> None:
    from benchmarks import overview  # noqa: PLC0415 - it needs peers, as the suites do

    try:
        documents = overview.read(results, SUITES)
    except ValueError as error:
        parser.error(str(error))
    overview.write_overview(documents, results, results.parent.parent / "README.md")


def _was_interrupted(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(map(_was_interrupted, error.exceptions))
    return isinstance(error, KeyboardInterrupt)


if __name__ == "__main__":
    try:
        main()
    except BaseException as error:
        if not _was_interrupted(error):
            raise
        sys.stderr.write("interrupted\n")
        sys.exit(130)
