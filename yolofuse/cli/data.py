"""Data on the command line: ``python -m yolofuse.cli.data synth --out DIR`` draws the demo data."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from yolofuse.data.synth import DEFAULT_SIZE_HW, generate
from yolofuse.errors import YolofuseError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one data command; 0 when done, 2 for a mistake that the user can mend."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except YolofuseError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m yolofuse.cli.data", description="Make and check paired data sets.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    synth = commands.add_parser("synth", help="draw the demo data: paired RGB and thermal street scenes")
    synth.add_argument("--out", type=Path, required=True, help="folder to make; an existing one is never overwritten")
    synth.add_argument("--train", type=int, default=400, metavar="N", help="pairs to train on (default %(default)s)")
    synth.add_argument("--val", type=int, default=100, metavar="N", help="pairs to evaluate on (default %(default)s)")
    synth.add_argument("--seed", type=int, default=0, metavar="S", help="which data set (default %(default)s)")
    height, width = DEFAULT_SIZE_HW
    synth.add_argument(
        "--size", type=_size_hw, default=DEFAULT_SIZE_HW, metavar="WxH", help=f"image size (default {width}x{height})"
    )
    synth.set_defaults(run=_synth)
    return parser


def _size_hw(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"write it as WIDTHxHEIGHT, such as 256x192 (got {text!r})")
    return int(match[2]), int(match[1])


def _synth(arguments: argparse.Namespace) -> int:
    descriptor = generate(
        arguments.out, num_train=arguments.train, num_val=arguments.val, seed=arguments.seed, size_hw=arguments.size
    )
    print(descriptor)
    return 0


if __name__ == "__main__":
    sys.exit(main())
