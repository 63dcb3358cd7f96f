"""Run ``train_dual.py``: train a detector from one YAML."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from yolofuse.cli.common import Parser, run_command
from yolofuse.config import Config, load_config
from yolofuse.engine.early_checks import check_early
from yolofuse.errors import ConfigError
from yolofuse.log import launched_ranks
from yolofuse.run.folder import RunFolder


def main(argv: list[str] | None = None, prog: str = "train_dual.py") -> int:
    """Run the command; return its exit code."""
    parser = Parser(
        prog=prog,
        usage="%(prog)s --cfg FILE [--auto-resume] [section.key=value ...]\n"
        "       %(prog)s --resume RUN [--force [section.key=value ...]]",
        description="Train a detector on paired RGB and IR images.",
    )
    parser.add_argument("--cfg", type=Path, metavar="FILE", help="the run's YAML, for example configs/llvip/mid.yaml")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="folder of a stopped run to resume")
    parser.add_argument(
        "--auto-resume", action="store_true", help="resume the run if it was started, else start it; for batch jobs"
    )
    parser.add_argument(
        "--force", action="store_true", help="resume though config, data or code changed: it will be another run"
    )
    args, overrides = parser.parse_with_overrides(sys.argv[1:] if argv is None else argv)
    if (args.cfg is None) == (args.resume is None):
        parser.error("give either --cfg FILE or --resume RUN")
    if args.auto_resume and args.resume is not None:
        parser.error("--auto-resume needs --cfg; --resume RUN always resumes")
    if args.force and args.resume is None and not args.auto_resume:
        parser.error("--force needs --resume RUN or --auto-resume")

    def command() -> None:
        if args.resume is None:
            _train(load_config(args.cfg, overrides), "auto" if args.auto_resume else "never", args.force)
            return
        if overrides and not args.force:
            raise ConfigError(
                f"--resume uses the run's own config; leave out {' '.join(overrides)}, or resume as another run with "
                "--force"
            )
        folder = RunFolder(args.resume)
        if not folder.has_config and folder.checkpoints():
            from yolofuse.run.checkpointer import restore_config

            restore_config(folder)
        _train(folder.load_config(overrides), "always", args.force)

    return run_command(command)


def _train(config: Config, resume: Literal["never", "auto", "always"], force: bool) -> None:
    _, rank, _ = launched_ranks()
    if rank == 0 and resume == "never":
        RunFolder(config.run_dir).check_unused()
        check_early(config)
    from yolofuse.engine.train import train  # loads torch, for which no error of the config waits

    train(config, resume=resume, force=force)


if __name__ == "__main__":
    sys.exit(main())
