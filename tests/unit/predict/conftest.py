"""A model with random weights, and pairs to detect in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.detectors import build
from tests.support.pairs import make_pairs
from tests.support.runs import write_config
from yolofuse.config import load_config
from yolofuse.engine.loaded_detector import LoadedDetector
from yolofuse.predict.model import Model

NAMES = ("person", "car", "lamp")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("predict")
    config = load_config(write_config(folder, folder / "data.yaml"))
    return Model(LoadedDetector(build(base="yolov8n").eval(), config, NAMES, {}))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_pairs(tmp_path, 1, 5)
    return tmp_path
