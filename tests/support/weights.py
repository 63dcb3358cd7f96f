"""Make configs, models and weights files for tests."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from yolofuse.config import Config
from yolofuse.config.load import plain_config, validate_config
from yolofuse.model import Detector, build_detector
from yolofuse.upstream import build_layers, resolve_base
from yolofuse.weights import WeightsReport, load_and_initialise, save_checkpoint
from yolofuse.weights.sources import Source

CLASSES = ("person", "bicycle", "car")


def real_weights(name: str) -> Path:
    """Return a real file of weights beside the real data; skips the test where it is absent."""
    root = Path(os.environ.get("YOLOFUSE_REAL_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
    file = root / ".." / "weights" / name
    if not file.is_file():
        pytest.skip(f"no real weights at {file}; set YOLOFUSE_REAL_DATA")
    return file


def config_of(*overrides: str) -> Config:
    """Return the config of a yolov8n run with these ``key=value`` overrides."""
    raw = {"data": {"descriptor": "x.yaml"}, "train": {"run": "runs/x"}, "model": {"base": "yolov8n"}}
    return validate_config(raw, overrides, where="test")


def built(*overrides: str, num_classes: int = len(CLASSES)) -> Detector:
    """Return the detector of a config as built; a copy, since building one takes several times as long."""
    model_overrides = tuple(override for override in overrides if override.startswith("model."))
    return copy.deepcopy(_built(model_overrides, num_classes))


@lru_cache(maxsize=8)
def _built(overrides: tuple[str, ...], num_classes: int) -> Detector:
    return build_detector(config_of(*overrides).model, num_classes=num_classes, seed=3)


def initialised(*overrides: str, names: Sequence[str] = CLASSES) -> tuple[Detector, WeightsReport]:
    """Return the detector of a config after :func:`load_and_initialise`, and its report."""
    detector = built(*overrides, num_classes=len(names))
    return detector, load_and_initialise(detector, config_of(*overrides), tuple(names))


@lru_cache(maxsize=4)
def initial_state(*overrides: str) -> dict[str, Tensor]:
    """Return the state_dict of :func:`initialised`; shared between tests, so do not change it."""
    return initialised(*overrides)[0].state_dict()


def differing(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
    """Return the names of the tensors that differ in any bit."""
    assert a.keys() == b.keys()
    return {name for name in a if not torch.equal(a[name], b[name])}


@lru_cache(maxsize=4)
def _layers_state(base: str, num_classes: int) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        layers = nn.Sequential(*build_layers(resolve_base(base), channels=3, num_classes=num_classes))
    return layers.state_dict()


def single_stream_state(base: str = "yolov8n", prefix: str = "model.", num_classes: int = 3) -> dict[str, Tensor]:
    """Return a single-stream state_dict as ultralytics names it; its tensors are shared, so do not change them."""
    return {f"{prefix}{name}": tensor for name, tensor in _layers_state(base, num_classes).items()}


def small_state(prefix: str = "model.") -> dict[str, Tensor]:
    """Return the smaller tensors of :func:`single_stream_state`, its stem and class rows among them."""
    return {name: tensor for name, tensor in single_stream_state(prefix=prefix).items() if tensor.numel() < 5000}


def single_stream_file(path: Path, base: str = "yolov8n", names: Sequence[str] = CLASSES, **more: Any) -> Path:
    """Save a single-stream state_dict with the names of its classes."""
    state = single_stream_state(base, num_classes=len(names))
    torch.save({"state_dict": state, "names": list(names), **more}, path)
    return path


def run_file(path: Path, *overrides: str, seed: int = 5, names: Sequence[str] = CLASSES) -> dict[str, Tensor]:
    """Save a yolofuse checkpoint of a model with weights of this seed; return the weights."""
    config = config_of(*overrides, f"init.seed={seed}")
    state = initialised(*overrides, f"init.seed={seed}", names=names)[0].state_dict()
    content = {"config": plain_config(config), "names": list(names), "ema": state}
    save_checkpoint(path, content | {"epoch": 1, "data_hash": "x", "ap": 0.1})
    return state


def saved(path: Path, content: Any, **options: Any) -> Path:
    """Save with torch.save; return the path."""
    torch.save(content, path, **options)
    return path


def save_safetensors(
    path: Path,
    parts: Mapping[str, Mapping[str, Tensor]],
    *,
    names: Sequence[str] | None = None,
    base: str | None = None,
) -> None:
    """Write parts of a ``Source`` as a safetensors file whose tensors are named as in a state_dict."""
    prefixes = {"trunk": "model."} if set(parts) == {"trunk"} else {part: f"{part}.layers." for part in parts}
    state = {
        ("fusion." if part == "fusion" else prefixes[part]) + name: tensor.detach().cpu().contiguous().clone()
        for part, tensors in parts.items()
        for name, tensor in tensors.items()
    }
    metadata = {"format": "pt"}
    if names is not None:
        metadata["names"] = json.dumps(list(names), ensure_ascii=False)
    if base is not None:
        metadata["base"] = base
    safetensors.torch.save_file(state, path, metadata)


def ultralytics_model(names: dict[int, str] | None = None) -> Any:
    """Return ultralytics' own yolov8n of three classes."""
    model = copy.deepcopy(_ultralytics_model())
    if names:
        model.names = names
    return model


@lru_cache(maxsize=1)
def _ultralytics_model() -> Any:
    from ultralytics.nn.tasks import DetectionModel

    return DetectionModel("yolov8n.yaml", nc=3, verbose=False)  # type: ignore[no-untyped-call]


def holds_exactly(source: Source, expected: dict[str, Tensor], part: str = "trunk") -> bool:
    """Return whether a part of a source holds exactly these tensors."""
    found = source.parts[part]
    return set(found) == set(expected) and all(torch.equal(found[name], expected[name]) for name in found)
