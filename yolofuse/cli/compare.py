"""Run ``yolofuse compare``: tell whether one evaluation is better than another."""

from __future__ import annotations

import sys
from pathlib import Path

from yolofuse.cli.common import Parser, run_as_module, run_command
from yolofuse.errors import printable, printable_lines
from yolofuse.eval.comparison import Comparison, compare_evaluations
from yolofuse.eval.report import evaluation_warnings, find_evaluation
from yolofuse.files import check_output_file, save_json
from yolofuse.tables import text_table

_PAGE_SIGN = "<title>Comparison "


def main(argv: list[str] | None = None, prog: str = "yolofuse compare") -> int:
    """Run the command; return its exit code."""
    parser = Parser(
        prog=prog,
        description="Compare evaluations of the same pairs by a paired bootstrap over the images: each with the first.",
    )
    parser.add_argument("a", type=Path, metavar="A", help="folder of an evaluation, or of a run with eval-val")
    parser.add_argument("b", type=Path, nargs="+", metavar="B", help="the same of the other one, or of several")
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="number of draws (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file for the figures")
    parser.add_argument("--html", type=Path, metavar="FILE", help="page with metrics, configs, curves and pairs")
    args = parser.parse_args(argv)
    if args.resamples < 1:
        parser.error("--resamples: must be at least 1")

    def command() -> None:
        for option, file, sign in (("--out", args.out, '"differences":'), ("--html", args.html, _PAGE_SIGN)):
            if file is not None:
                check_output_file(file, sign, option)
        named = [(path, find_evaluation(path)) for path in (args.a, *args.b)]
        for _, folder in named:
            for warning in evaluation_warnings(folder):
                print(printable(f"warning: {warning}"), file=sys.stderr)
        found = []
        for number, other in enumerate(named[1:]):
            found.append(compare_evaluations(named[0], other, resamples=args.resamples, seed=args.seed))
            head = f"{'' if number == 0 else chr(10)}A: {args.a}, B: {other[0]}\n" if len(args.b) > 1 else ""
            print(printable_lines(head) + _format(found[-1]))
        if args.out is not None:
            figures = [comparison.as_json() for comparison in found]
            save_json(args.out, figures[0] if len(figures) == 1 else {"comparisons": figures}, indent=2)
        if args.html is not None:
            from yolofuse.reports.comparison_page import write_comparison

            write_comparison([path for path, _ in named], found, args.html)

    return run_command(command)


def _format(comparison: Comparison) -> str:
    return f"{text_table(comparison.table())}\n\n{printable_lines(comparison.explanation)}"


if __name__ == "__main__":
    sys.exit(run_as_module(main))
