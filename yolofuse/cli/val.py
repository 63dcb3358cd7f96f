"""Run ``val_dual.py``: evaluate a detector by the COCO API."""

from __future__ import annotations

import sys
from pathlib import Path

from yolofuse.cli.common import Parser, run_command
from yolofuse.config import load_config
from yolofuse.engine.early_checks import check_early
from yolofuse.errors import ConfigError, WeightsError
from yolofuse.log import launched_ranks
from yolofuse.run.folder import RunFolder


def main(argv: list[str] | None = None, prog: str = "val_dual.py") -> int:
    """Run the command; return its exit code."""
    parser = Parser(
        prog=prog,
        usage="%(prog)s --run RUN [section.key=value ...]\n"
        "       %(prog)s --weights FILE --data FILE [section.key=value ...]\n"
        "       %(prog)s --cfg FILE [section.key=value ...]",
        description="Evaluate a detector on a split of paired images with pycocotools.",
    )
    parser.add_argument("--run", type=Path, metavar="RUN", help="folder of a run; its best weights are evaluated")
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="a checkpoint of yolofuse, or an exported detector"
    )
    parser.add_argument(
        "--cfg", type=Path, metavar="FILE", help="the YAML of a run: evaluate its model as loaded, before training"
    )
    parser.add_argument("--data", type=Path, metavar="FILE", help="descriptor of the data set to evaluate on")
    parser.add_argument("--split", metavar="NAME", help="split to evaluate (default: the config's data.val_split)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the report (default: eval-SPLIT in the run)")
    parser.add_argument(
        "--trust", action="store_true", help="load exported files that are programs too (.torchscript, .pt2, .engine)"
    )
    args, overrides = parser.parse_with_overrides(sys.argv[1:] if argv is None else argv)
    if [args.run, args.weights, args.cfg].count(None) != 2:
        parser.error("give one of --run RUN, --weights FILE with --data FILE, or --cfg FILE")

    # another data set has another root, not that of the training run
    other_data = [] if args.data is None else [f"data.descriptor={args.data}", "data.root=null"]

    def command() -> None:
        if args.weights is not None and args.data is None:
            raise ConfigError("--weights needs --data FILE, the descriptor of the data set to evaluate on")
        _, rank, _ = launched_ranks()
        start = None if args.cfg is None else load_config(args.cfg, [*other_data, *overrides])
        if start is not None and rank == 0:
            check_early(start)
        if args.run is not None:
            RunFolder(args.run).find_best()
        if args.weights is not None and not args.weights.exists():
            raise WeightsError(f"--weights: {args.weights}: no such weights file; check the path")
        # torch is loaded here: no error of the config waits for it
        from yolofuse.engine.evaluate_checkpoint import evaluate_checkpoint, evaluate_run, evaluate_start

        if start is not None:
            evaluate_start(start, split=args.split, out=args.out)
        elif args.run is not None:
            evaluate_run(args.run, [*other_data, *overrides], split=args.split, out=args.out)
        else:
            evaluate_checkpoint(
                args.weights, [*other_data, *overrides], split=args.split, out=args.out, trust=args.trust
            )

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
