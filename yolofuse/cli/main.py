"""Run ``yolofuse COMMAND``: one way in to every command."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

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
    "predict": "detect objects in pairs of images with a trained model; as predict_dual.py",
    "serve": "a page on this machine: drop a pair of images on it and see the boxes",
    "report": "write what a run did as one page: metrics, curves, pairs, config",
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
    else:
        raise ConfigError(f"{name!r}: no such command{did_you_mean(name, COMMANDS)}\n\n{_help()}")


def _command(name: str) -> Callable[[list[str], str], int]:
    """Import one command alone: others would only cost time."""
    command: Callable[[list[str], str], int] = import_module(f"yolofuse.cli.{name}").main
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
