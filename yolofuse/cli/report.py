"""Run ``yolofuse report``: write what a run did as one page."""

from __future__ import annotations

import sys
from pathlib import Path

from yolofuse.cli.common import Parser, run_command


def main(argv: list[str] | None = None, prog: str = "yolofuse report") -> int:
    """Run the command; return its exit code."""
    parser = Parser(
        prog=prog,
        description="Write a report of a run: one HTML file that needs no network, scripts or other files. "
        "The run is evaluated first if that was not done yet.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page (default: report.html in the run)")
    parser.add_argument("--data", type=Path, metavar="FILE", help="descriptor of the data set, where it has moved")
    parser.add_argument("--split", metavar="NAME", help="evaluated split (default: the config's data.val_split)")
    parser.add_argument(
        "--quick", action="store_true", help="leave out what needs the detector: evaluation, cameras, heat maps"
    )
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)

    def command() -> None:
        from yolofuse.reports.run_report import write_run_report

        write_run_report(args.run, args.out, data=args.data, split=args.split, quick=args.quick)

    return run_command(command)
