"""Run ``yolofuse collect``: tabulate runs, finished or not."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from yolofuse.cli.common import Parser, run_command
from yolofuse.cluster.run_results import RunResults, find_runs, read_run
from yolofuse.cluster.table import FORMATS, check_outputs, format_markdown, make_table
from yolofuse.errors import ConfigError, RunError, listing
from yolofuse.files import save_text


def main(argv: list[str] | None = None, prog: str = "yolofuse collect") -> int:
    """Run the command; return its exit code."""
    parser = Parser(
        prog=prog,
        description="Tabulate runs, finished or not: the options that differ, progress, metrics and interruptions, and "
        "mean and standard deviation over seeds.",
    )
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folders of runs")
    parser.add_argument("--under", type=Path, metavar="FOLDER", help="tabulate all runs below a folder")
    parser.add_argument("--out", nargs="+", type=Path, default=[], metavar="FILE", help="table.csv, table.md, or both")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    if bool(args.runs) == (args.under is not None):
        parser.error("give either RUN folders or --under FOLDER")

    def command() -> None:
        check_outputs(args.out)
        rows = make_table(_read_all(args.runs or find_runs(args.under)))
        for path in args.out:
            try:
                save_text(path, FORMATS[path.suffix](rows))
            except OSError as error:
                raise ConfigError(f"--out: {path} cannot be written ({error.strerror}); name another file") from error
        print(format_markdown(rows), end="")

    return run_command(command)


def _read_all(folders: Sequence[Path]) -> list[RunResults]:
    """Read the results of each run; one error lists all folders that hold no run or damaged files."""
    runs, problems = [], []
    for folder in {folder.resolve(): folder for folder in folders}.values():  # one that is given twice counts once
        try:
            runs.append(read_run(folder))
        except (RunError, ConfigError) as error:
            problems.append(str(error))
    if problems:
        raise RunError(listing("runs", problems))
    return runs


if __name__ == "__main__":
    sys.exit(main())
