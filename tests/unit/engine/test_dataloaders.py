"""Where a run's data comes from."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.support.descriptors import folders, write_descriptor
from tests.support.pairs import make_pairs, pairs_of
from tests.support.runs import write_config
from yolofuse.config import Config, load_config
from yolofuse.data import pixel_cache
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine import dataloaders
from yolofuse.engine.dataloaders import cached_pixels, check_shared_memory, load_run_splits
from yolofuse.errors import ConfigError, DataError

_MIB = 1 << 20


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


def test_cached_pixels__that_memory_has_no_room_for_are_a_warning_unless_they_were_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pixel_cache, "available_memory", lambda: 0)
    pairs = pairs_of(make_pairs(tmp_path / "data", num_train=2, num_val=1))
    file = write_config(tmp_path, tmp_path / "data" / "data.yaml")
    assert cached_pixels("ram", load_config(file), pairs, Ranks(0, 1, torch.device("cpu"))) is None
    assert "training goes on without it" in caplog.text
    with pytest.raises(DataError, match=r"train\.cache: ram needs"):
        cached_pixels("ram", load_config(file, ["train.cache=ram"]), pairs, Ranks(0, 1, torch.device("cpu")))


@pytest.mark.parametrize(
    ("free", "workers", "num_batches", "advice"),
    [
        (64 * _MIB, 4, 100, "4 workers fill 200 MiB .* batches of 25.0 MiB, but 64 are free"),
        (64 * _MIB, 4, 100, "set data.workers to 1, or start the container with --shm-size=1g"),
        (40 * _MIB, 1, 100, "set data.workers to 0"),
        (200 * _MIB, 4, 100, ""),
        (64 * _MIB, 4, 2, ""),
        (64 * _MIB, 0, 100, ""),
        (None, 4, 100, ""),
    ],
)
def test_check_shared_memory__compares_what_workers_prefetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int | None, workers: int, num_batches: int, advice: str
) -> None:
    monkeypatch.setattr(dataloaders, "free_shared_memory", lambda: free)
    pairs = pairs_of(make_pairs(tmp_path, 1, 0))
    values = {"data": {"descriptor": "/a.yaml", "workers": workers}, "train": {"run": "a", "batch": 16, "imgsz": 640}}
    config, ranks = Config.model_validate(values), Ranks(0, 1, torch.device("cpu"))
    if not advice:
        check_shared_memory(config, pairs, ranks, num_batches)
        return
    with pytest.raises(ConfigError, match=advice):
        check_shared_memory(config, pairs, ranks, num_batches)


def test_load_run_splits__one_window_for_two_depths_is_refused(tmp_path: Path) -> None:
    make_pairs(tmp_path, 2, 2)
    for file in (tmp_path / "ir" / "val").iterdir():
        assert cv2.imwrite(str(file), np.full((64, 96), 200, np.uint16))
    splits = {name: folders(name) for name in ("train", "val")}
    config = load_config(write_config(tmp_path, write_descriptor(tmp_path, splits, ir_window=[10, 200])))
    with pytest.raises(
        DataError, match=r"ir_window \[10, 200\]: \S+train_000.png has 8 bits and \S+val_000.png has 16"
    ):
        load_run_splits(config, Ranks(0, 1, torch.device("cpu")))
