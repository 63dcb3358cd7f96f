"""Where a run's data comes from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tests.support.pairs import make_pairs, pairs_of
from tests.support.runs import write_config
from yolofuse.config import load_config
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine.dataloaders import cached_pixels


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("why", ["a file", "full disk", "long name"])
def test_cached_pixels__that_cannot_be_written_are_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, why: str
) -> None:
    descriptor = make_pairs(tmp_path / "data", 2, 0)
    folder = tmp_path / ("a" * 300 if why == "long name" else "pixels")
    if why == "a file":
        folder.touch()
    elif why == "full disk":
        monkeypatch.setattr(os, "posix_fallocate", _full)
    data = {"cache_dir": str(folder)}
    config = load_config(write_config(tmp_path, descriptor, data=data, train={"cache": "disk"}))
    assert cached_pixels("disk", config, pairs_of(descriptor), Ranks(0, 1, torch.device("cpu"))) is None
    assert "train.cache: can't be written" in caplog.text
    assert "training goes on without it" in caplog.text
