"""Help, and errors of the command line and the config, come without torch and in a fraction of a second."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[3]
CONFIG = str(REPO / "configs" / "demo.yaml")
SECONDS = 1.2
"""Bound of a command's processor time. Aim: 0.5 s; the rest is for slow and busy machines. Loading torch takes 2 s."""
MODULES = ("torch", "ultralytics", "cv2", "matplotlib")
RUN = f"""
import os, runpy, sys
name, sys.argv = sys.argv[1], sys.argv[1:]
try:
    runpy.run_module(name, run_name="__main__", alter_sys=True)
finally:
    print([m for m in {MODULES} if m in sys.modules], sum(os.times()[:2]), file=sys.stderr)
"""


def _run(*words: str) -> tuple[int, str, str, float]:
    """Run a command; return exit code, standard error, loaded modules, and seconds of processor time."""
    ended = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, check=False, cwd=REPO)
    *errors, last = ended.stderr.splitlines()
    modules, _, seconds = last.rpartition(" ")
    return ended.returncode, "\n".join(errors), modules, float(seconds)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("train", "--help"), 0, ""),
        (("val", "--help"), 0, ""),
        (("probe", "--help"), 0, ""),
        (("submit", "--help"), 0, ""),
        (("collect", "--help"), 0, ""),
        (("status", "--help"), 0, ""),
        (("compare", "--help"), 0, ""),
        (("export", "--help"), 0, ""),
        (("train",), 2, "give either --cfg FILE or --resume RUN"),
        (("train", "--cfg", "nosuch.yaml"), 2, "nosuch.yaml: cannot be read"),
        (("train", "--cfg", CONFIG, "train.epoch=3"), 2, "did you mean train.epochs?"),
        (("train", "--cfg", CONFIG, "train.epochs=0"), 2, "train.epochs"),
        (("train", "--resume", "nosuch"), 2, "no run here"),
        (("val", "--cfg", CONFIG, "val.ious=3"), 2, "val.ious: unknown key"),
        (("probe", "--cfg", CONFIG, "model.cuts=3"), 2, "model.cuts: unknown key"),
        (("train", "--cfg", CONFIG, "data.descriptor=nosuch.yaml"), 2, "nosuch.yaml: cannot be read"),
        (("train", "--cfg", CONFIG, "model.fusion=gatd"), 2, "model.fusion: unknown name 'gatd'; did you mean gated?"),
        (("train", "--cfg", CONFIG, "model.base=yolo11"), 2, "'yolo11' has no size; use one of yolo11n"),
        (("train", "--cfg", CONFIG, "model.head=anchor"), 2, "did you mean anchors?"),
        (("train", "--cfg", CONFIG, "train.loggers=tensorbord"), 2, "did you mean tensorboard?"),
        (("train", "--cfg", CONFIG, "weights.pretrained=nosuch.pt"), 2, "nosuch.pt: no such weights file"),
        (("probe", "--cfg", CONFIG, "val.metrics=x"), 2, "val.metrics: unknown name 'x'"),
        (("val", "--cfg", CONFIG, "weights.rgb=nosuch.pt"), 2, "weights.rgb"),
        (("val", "--run", "nosuch"), 2, "nosuch: no run here"),
        (("export", "--run", "nosuch"), 2, "nosuch: no run here"),
        (("export", "--weights", "nosuch.pt"), 2, "nosuch.pt: no such weights file"),
        (("export", "--run", "r", "--format", "onxx"), 2, "did you mean onnx?"),
        (("export",), 2, "give one of --run RUN or --weights FILE"),
        (("val", "--weights", "nosuch.pt", "--data", "d.yaml"), 2, "nosuch.pt: no such weights file"),
        (("submit", "--cfg", CONFIG, "--gpus", "1", "model.fusion=gatd"), 2, "did you mean gated?"),
        (("submit", "--cfg", CONFIG, "--nodes", "1", "--gpus", "1", "model.cuts=3"), 2, "model.cuts: unknown key"),
    ],
    ids=lambda value: " ".join(Path(word).name for word in value) if isinstance(value, tuple) else "",
)
def test_answer__comes_before_torch(words: tuple[str, ...], code: int, message: str) -> None:
    command, *arguments = words
    if command == "train" and CONFIG in arguments and not any(word.startswith("train.run=") for word in arguments):
        arguments.append("train.run=runs/none")  # `make demo` may have made that of the config
    runs = [_run(f"yolofuse.cli.{command}", *arguments) for _ in range(3)]
    for found_code, errors, modules, _ in runs:
        assert (found_code, modules) == (code, "[]")
        assert message in errors
    assert min(seconds for *_, seconds in runs) < SECONDS  # the quietest: the machine is shared


def test_import__costs_nothing() -> None:
    code = (
        "import sys, time; before = set(sys.modules); start = time.process_time(); import yolofuse\n"
        "print(time.process_time() - start, sorted({m.partition('.')[0] for m in set(sys.modules) - before}))"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(3)]
    assert min(float(run.stdout.partition(" ")[0]) for run in runs) < 0.05
    assert "torch" not in runs[0].stdout
