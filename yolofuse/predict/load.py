"""Load a model from a run, a checkpoint, an exported file, or the weights of a detector for one camera."""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path

from yolofuse.backends import is_export
from yolofuse.config.load import plain_config, validate_config
from yolofuse.distributed.ranks import pick_device
from yolofuse.engine.build import build_start
from yolofuse.engine.loaded_detector import LoadedDetector, load_detector
from yolofuse.errors import ConfigError
from yolofuse.predict.model import Model
from yolofuse.weights import has_checksum
from yolofuse.weights.sources import load_source

_log = logging.getLogger(__name__)


def load(source: Path, device: str = "auto", overrides: Collection[str] = (), *, trust: bool = False) -> Model:
    """Load a detector for use.

    Args:
        source: A run's folder, a checkpoint, an exported file, or weights of a detector for one camera, which is then
            used for two without training (see docs/pretrained.md).
        device: ``auto``, ``cpu``, ``cuda:0``, ...
        overrides: Other values of the config.
        trust: Load exported files that are programs too.

    Raises:
        ConfigError: If an option is wrong, or the weights do not say what model they are.
        RunError: If the folder is no run, or has no best weights yet.
        WeightsError: If the file is missing, damaged, or can't be used.
    """
    if source.is_dir() or has_checksum(source) or is_export(source):
        return Model(load_detector(source, [*overrides], device, trust=trust))
    weights = load_source(source)
    if set(weights.parts) != {"trunk"}:
        return Model(load_detector(source, [*overrides], device))
    return Model(_untrained(source, weights.base, weights.names, [*overrides], device))


def _untrained(
    file: Path, base: str | None, names: tuple[str, ...] | None, overrides: list[str], device: str
) -> LoadedDetector:
    """Build the detector that uses the weights of a single camera in both streams."""
    raw = {
        "data": {"descriptor": "none"},
        "train": {"run": "none"},
        "model": {"base": base} if base else {},
        "weights": {"pretrained": str(file)},
    }
    if base is None and not any(word.startswith("model.base=") for word in overrides):
        raise ConfigError(f'{file}: does not say which model it is; give its name: model={{"base": "yolo11n"}}')
    if names is None:
        raise ConfigError(f"{file}: names no classes; give a checkpoint, not a state_dict")
    start = build_start(validate_config(raw, overrides, where=str(file)), names)
    _log.info("%s: not trained on pairs; %s fuses what it knows of one camera", file, start.config.model.cut)
    content = {"config": plain_config(start.config), "epoch": 0, "data_hash": None}
    return LoadedDetector(start.detector.eval().to(pick_device(device)), start.config, names, content)
