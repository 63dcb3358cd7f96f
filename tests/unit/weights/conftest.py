"""A file of weights that tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.weights import single_stream_file


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A single-stream yolov8n with the classes of the tests' models; to be read only."""
    return single_stream_file(tmp_path_factory.mktemp("pretrained") / "w.pt")
