"""Make and check data sets: ``yolofuse {synth,prepare,check}``."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from yolofuse.cli.check import add_check
from yolofuse.cli.common import Parser, run_as_module, run_command
from yolofuse.cli.prepare import add_prepare
from yolofuse.synth import DEFAULT_SIZE_HW, generate


def main(argv: list[str] | None = None, prog: str = "yolofuse") -> int:
    """Run one data command and return its exit code."""
    args = _parser(prog).parse_args(argv)
    return run_command(lambda: args.run(args))


def _parser(prog: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = Parser(prog=prog, description="Make paired data sets.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    synth = commands.add_parser("synth", help="draw the demo data: paired RGB and thermal street scenes")
    synth.add_argument("--out", type=Path, required=True, help="folder to make; an existing one is never overwritten")
    synth.add_argument("--train", type=int, default=400, metavar="N", help="pairs to train on (default %(default)s)")
    synth.add_argument("--val", type=int, default=100, metavar="N", help="pairs to evaluate on (default %(default)s)")
    synth.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the data set (default %(default)s)")
    height, width = DEFAULT_SIZE_HW
    size_help = f"image size in pixels (default {width}x{height})"
    synth.add_argument("--size", type=_size_hw, default=DEFAULT_SIZE_HW, metavar="WxH", help=size_help)
    synth.set_defaults(run=_synth)
    add_prepare(commands)
    add_check(commands)
    return parser


def _size_hw(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"write it as WIDTHxHEIGHT, such as 256x192 (got {text!r})")
    return int(match[2]), int(match[1])


def _synth(args: argparse.Namespace) -> None:
    print(generate(args.out, num_train=args.train, num_val=args.val, seed=args.seed, size_hw=args.size))


if __name__ == "__main__":
    sys.exit(run_as_module(main))
