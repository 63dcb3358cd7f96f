"""A model with random weights, to predict with."""

from __future__ import annotations

from pathlib import Path

from tests.support.detectors import build
from tests.support.runs import write_config
from yolofuse.config import load_config
from yolofuse.config.load import plain_config
from yolofuse.engine.loaded_detector import LoadedDetector
from yolofuse.predict.model import Model

NAMES = ("person", "car", "lamp")


def random_model(folder: Path) -> Model:
    """Return a model with random weights; ``folder`` gets its config."""
    config = load_config(write_config(folder, folder / "data.yaml"))
    return Model(LoadedDetector(build(base="yolov8n").eval(), config, NAMES, {"config": plain_config(config)}))
