"""Run ``yolofuse COMMAND``: one way in to every command."""

from __future__ import annotations

import sys
from collections.abc import Callable

import yolofuse
from yolofuse.cli.common import run_command
from yolofuse.errors import ConfigError, did_you_mean

COMMANDS = {
    "init": "write commented configs and descriptors to start from into a folder",
    "synth": "draw a demo data set: paired RGB and thermal street scenes",
    "prepare": "convert a published data set, or one in YOLO, VOC or COCO form",
    "check": "report what is wrong with a paired data set",
    "probe": "measure activations, gradients and first loss of a run before it is trained",
    "train": "train a detector; as train_dual.py",
    "val": "evaluate a detector; as val_dual.py",
    "export": "write a detector as ONNX, OpenVINO or another format; as export_dual.py",
    "compare": "tell whether one evaluation is better than another, with an interval",
    "status": "say how a run is doing, or how it ended",
    "submit": "submit configs times seeds to Slurm",
    "collect": "collect the results of many runs in a table",
}


def main(argv: list[str] | None = None) -> int:
    """Run the command that the first word names; return its exit code."""
    name, *words = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name not in COMMANDS:
        return run_command(lambda: _answer(name))
    if name in {"synth", "prepare", "check"}:
        from yolofuse.cli import data

        return data.main([name, *words], "yolofuse")
    return _command(name)(words, f"yolofuse {name}")


def _answer(name: str) -> None:
    """Print what a word that is no command asks for.

    Raises:
        ConfigError: If it asks for nothing.
    """
    if name in {"-h", "--help"}:
        print(_help())
    elif name == "--version":
        print(f"yolofuse {yolofuse.__version__}")
    elif name == "predict":
        raise ConfigError("there is no 'predict' command yet; from Python, yolofuse.load_detector detects")
    else:
        raise ConfigError(f"{name!r}: no such command{did_you_mean(name, COMMANDS)}\n\n{_help()}")


def _command(name: str) -> Callable[[list[str], str], int]:
    """Import one command alone: others would only cost time."""
    match name:
        case "init":
            from yolofuse.cli.init import main as command
        case "probe":
            from yolofuse.cli.probe import main as command
        case "train":
            from yolofuse.cli.train import main as command
        case "val":
            from yolofuse.cli.val import main as command
        case "export":
            from yolofuse.cli.export import main as command
        case "compare":
            from yolofuse.cli.compare import main as command
        case "status":
            from yolofuse.cli.status import main as command
        case "submit":
            from yolofuse.cli.submit import main as command
        case _:
            from yolofuse.cli.collect import main as command
    return command


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {purpose}" for name, purpose in COMMANDS.items()]
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
