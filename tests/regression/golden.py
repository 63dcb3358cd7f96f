"""Record reference values that a refactoring must not change: ``python -m tests.regression.golden DIR``.

The recipes use only commands and files of a run, so that they work before and after a change of the package's internal
structure. The recording is written to ``golden/values.json`` and ``golden/help/``.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import torch
import yaml

GOLDEN = Path(__file__).parent / "golden"
VALUES = GOLDEN / "values.json"
OLD_RUN = GOLDEN / "run-0.1.0"
STEPS = 20
STOPPED_AT = 13
"""Step after which a run is stopped in mid-epoch; epochs have 5 steps."""
TEXTS = ("config.yaml", "events.jsonl", "status.json", "PREEMPTED", "first_steps.csv", "results.csv")
PLACE = "{folder}"
"""Placeholder in recorded texts for the folder of the recording."""
_BATCH = 2

MODELS: dict[str, dict[str, Any]] = {
    "mid": {"base": "yolov5n", "cut": "mid", "fusion": "gated"},
    "decision": {"base": "yolov8n", "cut": "decision"},
    "end2end": {"base": "yolo26n", "cut": "late"},
    "single": {"base": "yolo11n", "streams": "ir"},
}

COMMANDS: dict[str, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val",),
    "export": ("export",),
    "data": ("data",),
    "data-synth": ("data", "synth"),
    "data-check": ("data", "check"),
    "data-prepare": ("data", "prepare"),
    "probe": ("probe",),
    "status": ("status",),
    "report": ("report",),
    "compare": ("compare",),
    "submit": ("submit",),
    "collect": ("collect",),
    **{
        f"prepare-{name}": ("data", "prepare", name)
        for name in (
            *("llvip", "flir-adas-v1", "flir-adas-v2", "flir-aligned", "m3fd", "kaist", "dronevehicle", "vedai"),
            *("yolo", "voc", "coco"),
        )
    },
}


def environment() -> dict[str, str]:
    """Return everything that rounding depends on; values are compared bit for bit only where all of it is equal."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.machine(),
    )
    return {
        "torch": str(torch.__version__),
        "ultralytics": metadata.version("ultralytics"),
        "numpy": metadata.version("numpy"),
        "opencv": cv2.__version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
        "cpu": cpu,
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
    }


def draw_pairs(root: Path, num_train: int = 10, num_val: int = 6, size_hw: tuple[int, int] = (72, 96)) -> Path:
    """Write noisy pairs with one bright rectangle each; return the descriptor."""
    rng = np.random.default_rng(7)
    height, width = size_hw
    splits = {}
    for split, count in (("train", num_train), ("val", num_val)):
        for kind in ("rgb", "ir", "labels"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            bgr = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
            ir = rng.integers(0, 90, (height, width), dtype=np.uint8)
            box_w, box_h = int(rng.integers(width // 4, width // 2)), int(rng.integers(height // 4, height // 2))
            x0, y0 = int(rng.integers(0, width - box_w)), int(rng.integers(0, height - box_h))
            bgr[y0 : y0 + box_h, x0 : x0 + box_w] = (40, 200, 255)
            ir[y0 : y0 + box_h, x0 : x0 + box_w] = 230
            label = f"{number % 2} {(x0 + box_w / 2) / width:.8f} {(y0 + box_h / 2) / height:.8f}"
            label += f" {box_w / width:.8f} {box_h / height:.8f}\n"
            assert cv2.imwrite(str(root / "rgb" / split / f"{split}_{number:02d}.png"), bgr)
            assert cv2.imwrite(str(root / "ir" / split / f"{split}_{number:02d}.png"), ir)
            (root / "labels" / split / f"{split}_{number:02d}.txt").write_text(label)
        splits[split] = {"rgb": f"rgb/{split}", "ir": f"ir/{split}", "labels": f"labels/{split}"}
    descriptor = root / "data.yaml"
    descriptor.write_text(yaml.safe_dump({"root": ".", "names": {0: "person", 1: "car"}, "splits": splits}))
    return descriptor


def write_config(folder: Path, model: Mapping[str, Any], **train: Any) -> Path:
    """Write the config of a run of 20 steps at 64 px; ``train`` changes its section of that name."""
    config = {
        "data": {"descriptor": str(folder / "data" / "data.yaml"), "workers": 0},
        "model": dict(model),
        "train": {
            "run": str(folder / "run"),
            "epochs": 4,
            "batch": _BATCH,
            "nominal_batch": 2 * _BATCH,
            "imgsz": 64,
            "warmup_epochs": 1,
            "close_mosaic": 1,
            "val_every": 0,
            "device": "cpu",
            "precision": "fp32",
            "monitor_steps": STEPS,
            **train,
        },
        "val": {"batch": 2, "precision": "fp32"},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def run_train(*argv: str) -> int:
    """Call ``train_dual.py``."""
    from yolofuse.cli.train import main

    return main(list(argv))


def hash_state(content: Any) -> str:
    """Hash tensors and plain values of a nested structure, in the order of their names."""
    digest = hashlib.sha256()
    for name, value in _flat(content):
        digest.update(name.encode() + b"\0")
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.contiguous().flatten().view(torch.uint8).numpy().tobytes() if value.numel() else b"")
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()[:24]


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key in sorted(value, key=str):
            yield from _flat(value[key], f"{prefix}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _flat(item, f"{prefix}.{index}")
    else:
        yield prefix, value


def load_state(run: Path) -> dict[str, Any]:
    """Read a run's newest checkpoint without this package."""
    content: dict[str, Any] = torch.load(run / "weights" / "last.pt", weights_only=True)
    return content


def state_hashes(run: Path) -> dict[str, str]:
    """Hash the state that a run resumes from, part by part."""
    content = load_state(run)
    return {key: hash_state(content[key]) for key in ("model", "ema", "ema_updates", "optimizer", "scaler")}


def first_steps(run: Path) -> list[list[float]]:
    """Read the loss terms of a run's first steps, a row each."""
    with (run / "first_steps.csv").open(encoding="utf-8") as file:
        return [
            [float(value) for key, value in row.items() if key not in {"step", "grad_norm"}]
            for row in csv.DictReader(file)
        ]


def record_training(folder: Path, name: str) -> dict[str, Any]:
    """Train a model of :data:`MODELS` for 20 steps; return losses and hashes."""
    draw_pairs(folder / "data")
    assert run_train("--cfg", str(write_config(folder, MODELS[name]))) == 0
    return {"losses": first_steps(folder / "run"), "hashes": state_hashes(folder / "run")}


def record_evaluation(folder: Path) -> dict[str, Any]:
    """Train until the AP is above 0, evaluate the best weights; return metrics and a hash of all boxes."""
    from yolofuse.cli.val import main

    draw_pairs(folder / "data")
    options = {"epochs": 24, "nominal_batch": _BATCH, "optimizer": "adamw", "lr0": 0.002, "bn_momentum": 0.3}
    config = write_config(folder, {"base": "yolov5n", "cut": "early"}, **options, ema_tau=20, val_every=8)
    assert run_train("--cfg", str(config), "init.preset=ultralytics") == 0
    assert main(["--run", str(folder / "run"), "--out", str(folder / "report")]) == 0
    rows = json.loads((folder / "report" / "predictions.json").read_text())
    with (folder / "run" / "results.csv").open(encoding="utf-8") as file:
        history = [float(row["val/AP"]) for row in csv.DictReader(file) if row["val/AP"]]
    report = json.loads((folder / "report" / "report.json").read_text())
    return {
        "history": history,
        "metrics": {name: report[name] for name in ("AP", "AP50", "AP75", "AR100")},
        "boxes": len(rows),
        "predictions": hash_state(rows),
    }


def record_batches(folder: Path) -> dict[str, str]:
    """Hash the first batches of an epoch with and without mosaic, from files, memory and disk."""
    from yolofuse.config.schema import AugmentConfig
    from yolofuse.data import EpochSampler, TrainDataset, collate, load_descriptor, load_pairs
    from yolofuse.data.pixel_cache import disk_cache, ram_cache

    descriptor = load_descriptor(draw_pairs(folder / "data"))
    pairs = load_pairs(descriptor, "train", cache_dir=folder / "cache", verify=True, workers=1)
    readers: dict[str, Callable[[], Any]] = {
        "none": lambda: None,
        "ram": lambda: ram_cache(pairs, 64, 1),
        "disk": lambda: disk_cache(pairs, 64, folder / "cache", 1),
    }
    hashes = {}
    for cache, reader in readers.items():
        dataset = TrainDataset(pairs, 64, AugmentConfig(), 3, reader())
        for mosaic in (True, False):
            sampler = EpochSampler(len(pairs), 4, 3, 0, 1)
            sampler.set_epoch(1, mosaic=mosaic)
            batches = [collate([dataset[key] for key in keys]) for keys in sampler]
            hashes[f"{cache}, mosaic {mosaic}"] = hash_state([[b.pixels, b.boxes_xyxy, b.class_ids] for b in batches])
    return hashes


@contextlib.contextmanager
def _terminated_after(updates: int) -> Iterator[None]:
    """Send SIGTERM to this process in the given update of the weights."""
    count = 0
    original = torch.optim.SGD.step

    def step(self: torch.optim.SGD, *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count == updates:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, *args, **kwargs)

    with mock.patch.object(torch.optim.SGD, "step", step):
        yield


def stop_in_mid_epoch(folder: Path) -> Path:
    """Start a run with an update after every step, and stop it after step 13; return its folder."""
    draw_pairs(folder / "data")
    config = write_config(folder, MODELS["mid"], nominal_batch=_BATCH)
    with _terminated_after(STOPPED_AT):
        assert run_train("--cfg", str(config)) == 75
    return folder / "run"


def resume_forced(run: Path) -> None:
    """Resume a run with --force, since its code has changed."""
    assert run_train("--resume", str(run), "--force") == 0


def help_text(command_words: tuple[str, ...]) -> str:
    """Return the text of a command's ``--help``, 120 columns wide."""
    import importlib

    command = importlib.import_module(f"yolofuse.cli.{command_words[0]}")
    text = io.StringIO()
    wide = mock.patch.dict(os.environ, {"COLUMNS": "120"})
    with wide, contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        command.main([*command_words[1:], "--help"])
    return text.getvalue()


def record(folder: Path) -> None:
    """Record everything in ``folder`` and write the golden files."""
    torch.set_num_threads(1)
    values: dict[str, Any] = {"environment": environment(), "training": {}}
    for name in MODELS:
        (folder / name).mkdir(parents=True)
        values["training"][name] = record_training(folder / name, name)
    for name, recorder in (("evaluation", record_evaluation), ("batches", record_batches)):
        (folder / name).mkdir()
        values[name] = recorder(folder / name)
    (folder / "stopped").mkdir()
    run = stop_in_mid_epoch(folder / "stopped")
    stopped = state_hashes(run)
    content = load_state(run)
    plain = {key: value for key, value in content.items() if key not in {"model", "ema", "optimizer", "scaler"}}
    OLD_RUN.mkdir(parents=True, exist_ok=True)
    here = str(folder / "stopped")
    for file in TEXTS:
        (OLD_RUN / file).write_text((run / file).read_text().replace(here, PLACE))
    (OLD_RUN / "checkpoint.json").write_text(json.dumps(plain, indent=1).replace(here, PLACE) + "\n")
    assert run_train("--resume", str(run)) == 0
    values["stopped"] = {"at": stopped, "end": state_hashes(run)}
    VALUES.write_text(json.dumps(values, indent=1) + "\n")
    (GOLDEN / "help").mkdir(exist_ok=True)
    for name, command_words in COMMANDS.items():
        (GOLDEN / "help" / f"{name}.txt").write_text(help_text(command_words))


if __name__ == "__main__":
    record(Path(sys.argv[1]).resolve())
