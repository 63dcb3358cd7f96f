"""Write configs of tiny runs for tests, and run scripts in separate processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import yaml

from tests.support.pairs import make_pairs
from yolofuse.config import Config
from yolofuse.engine.train import train

REPO = Path(__file__).resolve().parents[2]


def write_config(folder: Path, descriptor: Path | None = None, **sections: dict[str, Any]) -> Path:
    """Write the config of a run of a few steps at 64 px; ``sections`` change it."""
    descriptor = descriptor or make_pairs(folder / "data", num_train=6, num_val=3)
    config: dict[str, dict[str, Any]] = {
        "data": {"descriptor": str(descriptor), "workers": 0},
        "model": {"base": "yolov8n", "cut": "mid"},
        "train": {
            "run": str(folder / "run"),
            "epochs": 2,
            "batch": 2,
            "nominal_batch": 4,
            "imgsz": 64,
            "warmup_epochs": 1,
            "close_mosaic": 1,
            "device": "cpu",
        },
        "val": {"batch": 2},
    }
    for name, values in sections.items():
        config.setdefault(name, {}).update(values)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def run_python(script: Path, *arguments: str, ranks: int = 1) -> subprocess.CompletedProcess[str]:
    """Run a script in a separate process, or in several under torchrun."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "--"] if ranks > 1 else []
    return _run([*launcher, str(script), *arguments])


def run_module(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module of ``scripts`` in a separate process, as ``python -m`` does."""
    return _run(["-m", name, *arguments])


def _run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(  # one thread, as in the tests' own process: the order of summation is then the same
        command, cwd=REPO, capture_output=True, text=True, timeout=240, env=_environment(), check=False
    )


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPO)}


@contextmanager
def without_plots() -> Iterator[None]:
    """Leave out a run's plots, which take a third of a tiny run."""
    with (
        mock.patch("yolofuse.engine.train.save_curves"),
        mock.patch("yolofuse.engine.lifecycle.save_first_batches"),
    ):
        yield


def train_without_plots(config: Config, **options: Any) -> Path:
    """Train as :func:`yolofuse.engine.train.train` does, but without plots."""
    with without_plots():
        return train(config, **options)


def same_tensors(a: Any, b: Any) -> bool:
    """Return whether two nested structures hold the same tensors and values, bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same_tensors(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same_tensors(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)
