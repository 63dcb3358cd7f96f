"""Run ``yolofuse compare``: tell whether one evaluation is better than another."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from yolofuse.cli.common import run_as_module, run_command
from yolofuse.errors import DataError
from yolofuse.eval.bootstrap import Difference, compare
from yolofuse.eval.report import read_predictions
from yolofuse.files import save_json
from yolofuse.tables import text_table


def main(argv: list[str] | None = None, prog: str = "yolofuse compare") -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(
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
        (truth, a), (truth_b, b) = (read_predictions(_folder(path)) for path in (args.a, args.b))
        if truth != truth_b:
            raise DataError(
                f"{args.a} and {args.b}: not the same pairs, labels and classes; evaluate both on one split"
            )
        try:
            found = compare(truth, [a], [b], resamples=args.resamples, seed=args.seed)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{args.a}, {args.b}: damaged predictions ({error}); write them again") from error
        print(_format(found))
        print(f"\n95 % interval of B - A over {args.resamples} draws of {len(truth['images'])} images")
        if args.out is not None:
            rows = {d.name: {"a": d.a, "b": d.b, "low": d.low, "high": d.high} for d in found}
            save_json(args.out, {"a": str(args.a), "b": str(args.b), "differences": rows}, indent=2)

    return run_command(command)


def _folder(path: Path) -> Path:
    for folder in (path, path / "eval-val"):
        if (folder / "predictions.json").is_file() and (folder / "ground_truth.json").is_file():
            return folder
    raise DataError(f"{path}: holds no predictions.json and ground_truth.json; write them with val_dual.py")


def _format(differences: list[Difference]) -> str:
    rows = [
        [d.name, f"{d.a:.4f}", f"{d.b:.4f}", f"{d.b - d.a:+.4f}", f"{d.low:+.4f} .. {d.high:+.4f}", d.verdict]
        for d in differences
    ]
    return text_table([["metric", "A", "B", "B - A", "95 % interval", ""], *rows])


if __name__ == "__main__":
    sys.exit(run_as_module(main))
