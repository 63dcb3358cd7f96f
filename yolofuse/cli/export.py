"""Run ``yolofuse export``: write a trained detector as a file of another runtime."""

from __future__ import annotations

import sys
from pathlib import Path

from yolofuse.cli.common import Parser, run_command
from yolofuse.errors import WeightsError
from yolofuse.exporters.options import FORMATS, ExportOptions
from yolofuse.run.folder import RunFolder


def main(argv: list[str] | None = None, prog: str = "yolofuse export") -> int:
    """Run the command; return its exit code."""
    parser = Parser(
        prog=prog,
        usage="%(prog)s --run RUN [options] [section.key=value ...]\n"
        "       %(prog)s --weights FILE [options] [section.key=value ...]",
        description="Write a trained detector as a file of another runtime. The file holds class names and "
        "preprocessing, and is kept only if it finds the boxes that torch finds.",
        epilog="val.imgsz, val.iou and val.max_det, given as section.key=value, go into the file. See docs/export.md.",
    )
    parser.add_argument("--run", type=Path, metavar="RUN", help="folder of a run; its best weights are exported")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="a checkpoint of yolofuse")
    parser.add_argument("--format", default="onnx", metavar="NAME", help=f"{', '.join(FORMATS)} (default: onnx)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the file (default: named after the run, beside its weights)"
    )
    parser.add_argument("--precision", metavar="NAME", help="fp32 (default); openvino: bf16, int8; engine: fp16")
    parser.add_argument("--nms", action="store_true", help="do non-maximum suppression inside (onnx, openvino)")
    parser.add_argument(
        "--conf", type=float, default=0.25, metavar="SCORE", help="lowest score with --nms (default: 0.25)"
    )
    parser.add_argument(
        "--inputs", default="pair", metavar="FORM", help="pair: inputs rgb and ir (default); stacked: one, images"
    )
    parser.add_argument(
        "--pixels", metavar="TYPE", help="uint8, uint16 or float32 (default: uint8, or uint16 for deep thermal images)"
    )
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("H", "W"), help="fix the size of the input (default: any)"
    )
    parser.add_argument("--opset", type=int, metavar="N", help="of ONNX (default: 17)")
    parser.add_argument("--dynamo", action="store_true", help="let torch's newer exporter write ONNX; slower")
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    args, overrides = parser.parse_with_overrides(sys.argv[1:] if argv is None else argv)
    if [args.run, args.weights].count(None) != 1:
        parser.error("give one of --run RUN or --weights FILE")

    def command() -> None:
        options = ExportOptions(
            format=args.format,
            out=args.out,
            nms=args.nms,
            conf=args.conf,
            inputs=args.inputs,
            pixels=args.pixels,
            precision=args.precision,
            size_hw=None if args.size is None else tuple(args.size),
            opset=args.opset,
            dynamo=args.dynamo,
            force=args.force,
        )
        if args.run is not None:
            RunFolder(args.run).find_best()
        elif not args.weights.exists():
            raise WeightsError(f"--weights: {args.weights}: no such weights file; check the path")
        from yolofuse.exporters import export_detector  # loads torch: no error of the options waits for it

        export_detector(args.run or args.weights, options, overrides)

    return run_command(command)


if __name__ == "__main__":
    sys.exit(main())
