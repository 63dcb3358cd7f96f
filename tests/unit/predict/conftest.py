"""A model with random weights, and pairs to detect in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.pairs import make_pairs
from tests.support.predict_models import random_model
from yolofuse.predict.model import Model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return random_model(tmp_path_factory.mktemp("predict"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_pairs(tmp_path, 1, 5)
    return tmp_path
