"""Run ``yolofuse COMMAND``: one way in to every command."""

from __future__ import annotations

import sys
from importlib import import_module

import yolofuse
from yolofuse.cli.common import USER_ERROR
from yolofuse.errors import did_you_mean

COMMANDS: dict[str, tuple[str, str]] = {  # module of yolofuse.cli, and what it does
    "init": ("init", "write commented configs and descriptors to start from into a folder"),
    "synth": ("data", "draw a demo data set: paired RGB and thermal street scenes"),
    "prepare": ("data", "convert a published data set, or one in YOLO, VOC or COCO form"),
    "check": ("data", "report what is wrong with a paired data set"),
    "probe": ("probe", "measure activations, gradients and first loss of a run before it is trained"),
    "train": ("train", "train a detector; as train_dual.py"),
    "val": ("val", "evaluate a detector; as val_dual.py"),
    "compare": ("compare", "tell whether one evaluation is better than another, with an interval"),
    "status": ("status", "say how a run is doing, or how it ended"),
    "submit": ("submit", "submit configs times seeds to Slurm"),
    "collect": ("collect", "collect the results of many runs in a table"),
}


def main(argv: list[str] | None = None) -> int:
    """Run the command that the first word names; return its exit code."""
    name, *words = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in {"-h", "--help"}:
        print(_help())
        return 0
    if name == "--version":
        print(f"yolofuse {yolofuse.__version__}")
        return 0
    if name not in COMMANDS:
        print(f"error: {name!r}: no such command{did_you_mean(name, COMMANDS)}\n\n{_help()}", file=sys.stderr)
        return USER_ERROR
    module, _ = COMMANDS[name]
    run = import_module(f"yolofuse.cli.{module}").main
    code: int = run([name, *words], "yolofuse") if module == "data" else run(words, f"yolofuse {name}")
    return code


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {purpose}" for name, (_, purpose) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: yolofuse COMMAND [options] [section.key=value ...]",
            "",
            "Detect objects with YOLO in pairs of visible and thermal images.",
            "",
            *lines,
            "",
            "'yolofuse COMMAND --help' has a command's options; '--version' prints the version.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
