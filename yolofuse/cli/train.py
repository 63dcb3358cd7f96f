"""``train_dual.py``: train a detector from one YAML."""

from __future__ import annotations

import sys
from pathlib import Path

from yolofuse.cli.common import Parser, run_command
from yolofuse.config import load_config
from yolofuse.engine.runs import RunFolder
from yolofuse.engine.train import train
from yolofuse.errors import ConfigError


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = Parser(
        prog="train_dual.py",
        usage="%(prog)s --cfg FILE [section.key=value ...]\n       %(prog)s --resume RUN",
        description="Train a detector on paired RGB and IR images.",
    )
    parser.add_argument("--cfg", type=Path, metavar="FILE", help="the run's YAML, for example configs/llvip/mid.yaml")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="folder of a stopped run, to go on with it")
    args, overrides = parser.parse_with_overrides(sys.argv[1:] if argv is None else argv)
    if (args.cfg is None) == (args.resume is None):
        parser.error("give either --cfg FILE or --resume RUN")

    def command() -> None:
        if args.resume is None:
            train(load_config(args.cfg, overrides))
            return
        if overrides:
            raise ConfigError(f"--resume goes on with the run as it was; leave out {' '.join(overrides)}")
        train(RunFolder(args.resume).load_config(), resume=True)

    return run_command(command, on_interrupt="; go on with --resume and the run's folder")
