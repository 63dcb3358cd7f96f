"""Run ``yolofuse predict`` and ``predict_dual.py``: detect objects in pairs of images."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from yolofuse.cli.common import Parser, run_command
from yolofuse.errors import ConfigError, DataError, WeightsError, listing, plural
from yolofuse.video import is_camera

if TYPE_CHECKING:
    from yolofuse.predict.model import Options
    from yolofuse.predict.sources import PairInput
    from yolofuse.viz.pairs import Shown

_SHOW: dict[str, tuple[Shown, ...]] = {"side": ("rgb", "ir"), "blend": ("both",), "rgb": ("rgb",), "ir": ("ir",)}
_SAVE = ("images", "txt", "coco", "csv", "crops", "video")


def main(argv: list[str] | None = None, prog: str = "predict_dual.py") -> int:
    """Run the command; return its exit code."""
    parser = _parser(prog)
    args, overrides = parser.parse_with_overrides(sys.argv[1:] if argv is None else argv)
    if args.data is None and args.rgb is None and args.ir is None:
        parser.error("give --rgb and --ir (or one of them), or --data")
    if args.data is not None and (args.rgb or args.ir):
        parser.error("--data has both cameras; give it without --rgb and --ir")
    return run_command(lambda: _predict(args, overrides))


def _parser(prog: str) -> Parser:
    parser = Parser(
        prog=prog,
        usage="%(prog)s --weights W --rgb PATH --ir PATH [options] [section.key=value ...]\n"
        "       %(prog)s --weights W --data FILE [--split NAME] [options]",
        description="Detect objects in pairs of images. W is the folder of a run, a checkpoint, an exported model, or "
        "weights of a detector for one camera.",
    )
    parser.add_argument("--weights", type=Path, metavar="W", required=True, help="what to detect with")
    parser.add_argument(
        "--rgb", metavar="PATH", help="visible image, folder, video or camera; leave out if there is none"
    )
    parser.add_argument("--ir", metavar="PATH", help="thermal image, folder (by name), video or camera (by time)")
    parser.add_argument("--data", type=Path, metavar="FILE", help="YAML of a data set, whose split is detected in")
    parser.add_argument("--split", default="val", metavar="NAME", help="split of --data (default: val)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder to write to (default: runs/predict, numbered)")
    parser.add_argument(
        "--save",
        nargs="*",
        metavar="KIND",
        help=f"any of {' '.join(_SAVE)} (default: csv, and images or, of videos, video)",
    )
    parser.add_argument("--show", choices=_SHOW, default="side", help="panels of a picture (default: side by side)")
    parser.add_argument(
        "--palette", choices=("grey", "inferno", "turbo"), default="grey", help="colours of the thermal image"
    )
    parser.add_argument("--conf", type=float, default=0.25, metavar="X", help="lowest score (default: 0.25)")
    parser.add_argument("--iou", type=float, metavar="X", help="overlap from which NMS drops the weaker box")
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="look for these classes alone")
    parser.add_argument("--max-det", type=int, metavar="N", help="most detections of a pair")
    parser.add_argument("--imgsz", type=int, metavar="N", help="longest side that a pair is scaled to, in pixels")
    parser.add_argument(
        "--batch", type=int, metavar="N", help="pairs detected in together (default: 8; of videos and cameras 1)"
    )
    parser.add_argument("--tile", type=int, metavar="N", help="cut large frames into tiles of N pixels")
    parser.add_argument(
        "--overlap", type=int, metavar="N", help="pixels that tiles share (default: 100, at most half a tile)"
    )
    parser.add_argument("--track", action="store_true", help="number the objects of a video")
    parser.add_argument(
        "--offset", type=float, default=0.0, metavar="S", help="seconds that are added to the times of --ir"
    )
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda:0 ... (default: auto)")
    return parser


def _predict(args: argparse.Namespace, overrides: list[str]) -> int:
    if not args.weights.exists():
        raise WeightsError(f"--weights: {args.weights}: no such file or run; check the path")
    for name in ("rgb", "ir"):
        path = getattr(args, name)
        if path is not None and not is_camera(path) and not Path(path).exists():
            raise DataError(f"--{name}: {path}: no such file or folder; check the path")
    if args.batch is not None and args.batch < 1:
        raise ConfigError(f"--batch: must be at least 1 (got {args.batch})")
    # torch is loaded here: no error of the command line waits for it
    from tqdm import tqdm

    from yolofuse.predict.load import load
    from yolofuse.predict.model import BATCH
    from yolofuse.predict.sources import open_inputs, split_inputs
    from yolofuse.predict.writers import free_folder, open_writers

    model = load(args.weights, args.device, overrides)
    if args.data is None:
        inputs = open_inputs(args.rgb, args.ir, args.offset)
    else:
        inputs = split_inputs(args.data, args.split, model.loaded)
    unread: list[str] = []

    def skip(pair: PairInput, error: DataError) -> None:
        unread.append(str(error))

    options: Options = {
        "conf": args.conf, "iou": args.iou, "max_det": args.max_det, "imgsz": args.imgsz, "classes": args.classes,
        "tile": args.tile, "overlap": args.overlap,
        "batch": args.batch or (1 if inputs.is_video else BATCH),
    }  # fmt: skip
    found = (model.track_inputs if args.track else model.stream_inputs)(inputs, skip, **options)
    out = args.out or free_folder(Path("runs/predict"))
    usual = ["video" if inputs.is_video else "images", "csv"]
    writers = open_writers(out, usual if args.save is None else args.save, _SHOW[args.show], args.palette, inputs.fps)
    count, boxes, milliseconds = 0, 0, {"read": 0.0, "detect": 0.0}
    with ExitStack() as stack:
        for writer in writers:
            stack.callback(writer.close)
        for result in tqdm(found, total=inputs.number, desc="predict", unit="pair", leave=False, disable=None):
            for writer in writers:
                writer.write(result)
            count += 1
            boxes += len(result)
            milliseconds = {step: spent + result.ms[step] for step, spent in milliseconds.items()}
    per_pair = ", ".join(f"{spent / max(count, 1):.1f} ms to {step}" for step, spent in milliseconds.items())
    print(f"{plural(count, 'pair')}, {plural(boxes, 'detection')} from score {args.conf:g} on; a pair took {per_pair}")
    print(f"written to {out}")
    if inputs.counts is not None:
        counts = inputs.counts()
        print(
            f"without a partner in time: {counts.skipped_rgb} visible and {counts.skipped_ir} thermal frames"
            + ("" if inputs.kind == "live" else " (what follows the end of the shorter recording was not read)")
        )
    if unread:
        raise DataError(listing("left out", unread, "pair"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
