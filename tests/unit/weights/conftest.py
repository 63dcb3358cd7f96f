"""Fixtures of the tests of weights: no waiting for the disk, and a file of weights that tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.weights import single_stream_file


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Durable writes wait for the disk, seconds each on a busy machine; what they survive is tested with the files."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A single-stream yolov8n with the classes of the tests' models; to be read only."""
    return single_stream_file(tmp_path_factory.mktemp("pretrained") / "w.pt")
