"""Run ``yolofuse compare``: tell whether one evaluation is better than another."""

from __future__ import annotations

import sys
from pathlib import Path

from yolofuse.cli.common import Parser, run_as_module, run_command
from yolofuse.errors import DataError, plural, printable
from yolofuse.eval.bootstrap import Difference, compare, shared_classes
from yolofuse.eval.report import read_predictions
from yolofuse.files import check_output_file, save_json
from yolofuse.tables import text_table

_FEW_IMAGES = 10
"""Draws of fewer images than this are too alike for an interval to hold what it promises."""


def main(argv: list[str] | None = None, prog: str = "yolofuse compare") -> int:
    """Run the command; return its exit code."""
    parser = Parser(
        prog=prog,
        description="Compare two evaluations of the same pairs by a paired bootstrap over the images.",
    )
    parser.add_argument("a", type=Path, metavar="A", help="folder of an evaluation, or of a run with eval-val")
    parser.add_argument("b", type=Path, metavar="B", help="the same of the other one")
    parser.add_argument("--resamples", type=int, default=1000, metavar="N", help="number of draws (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file for the figures")
    args = parser.parse_args(argv)
    if args.resamples < 1:
        parser.error("--resamples: must be at least 1")

    def command() -> None:
        if args.out is not None:
            check_output_file(args.out, '"differences":')
        folders = [_folder(path) for path in (args.a, args.b)]
        for folder in folders:
            _warn_if_older(folder)
        both = [read_predictions(folder) for folder in folders]
        try:
            truth, a, b = shared_classes(*both)
            found = compare(truth, [a], [b], resamples=args.resamples, seed=args.seed)
        except DataError as error:
            raise DataError(f"{args.a} and {args.b}: {error}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{args.a}, {args.b}: damaged predictions ({error}); write them again") from error
        print(_format(found))
        if any(len(truth["categories"]) < len(whole["categories"]) for whole, _ in both):
            names = printable(", ".join(str(category["name"]) for category in truth["categories"]))
            print(f"\nof the classes that both have: {names}")
        draws, images = plural(args.resamples, "draw"), plural(len(truth["images"]), "image")
        print(f"\n95 % interval of B - A over {draws} of {images}")
        if args.out is not None:
            rows = {d.name: {"a": d.a, "b": d.b, "low": d.low, "high": d.high} for d in found}
            save_json(args.out, {"a": str(args.a), "b": str(args.b), "differences": rows}, indent=2)

    return run_command(command)


def _folder(path: Path) -> Path:
    for folder in (path, path / "eval-val"):
        if (folder / "predictions.json").is_file() and (folder / "ground_truth.json").is_file():
            return folder
    raise DataError(f"{path}: holds no predictions.json and ground_truth.json; write them with val_dual.py")


def _warn_if_older(folder: Path) -> None:
    """Tell if a run has other weights than those that were evaluated in its folder."""
    best = folder.parent / "weights" / "best.pt"
    if best.is_file() and best.stat().st_mtime > (folder / "predictions.json").stat().st_mtime:
        advice = f"evaluate that with yolofuse val --run {folder.parent}"
        print(printable(f"warning: {folder}: older than {best}; {advice}"), file=sys.stderr)


def _format(differences: list[Difference]) -> str:
    rows = []
    for d in differences:
        interval = f"{d.low:+.4f} .. {d.high:+.4f}"
        verdict = d.verdict + (f" (few images: {d.num_images})" if d.num_images < _FEW_IMAGES else "")
        rows.append([d.name, f"{d.a:.4f}", f"{d.b:.4f}", f"{d.b - d.a:+.4f}", interval, str(d.num_boxes), verdict])
    return text_table([["metric", "A", "B", "B - A", "95 % interval", "boxes", ""], *rows])


if __name__ == "__main__":
    sys.exit(run_as_module(main))
