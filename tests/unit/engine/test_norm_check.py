"""A batch of one pair whose smallest map is one value: said before the first step, with what to choose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.pairs import make_pairs
from tests.support.runs import write_config
from yolofuse.config import Config, load_config
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine.build import build_context, new_detector
from yolofuse.engine.norm_check import check_norms
from yolofuse.errors import ConfigError


def _config(folder: Path, **train: Any) -> Config:
    return load_config(write_config(folder, make_pairs(folder / "data", 3, 1), train={"imgsz": 32, "batch": 1} | train))


@pytest.mark.parametrize(
    ("train", "world", "expected"),
    [
        ({}, 1, "single value per channel at 32 px .*use train.batch=2, or train.imgsz=64"),
        ({"batch": 2}, 2, "2 pairs on 2 ranks.*train.batch=4"),
        ({"imgsz": 64, "multi_scale": 0.6}, 1, "train.batch=2, or no train.multi_scale"),
        ({"batch": 2}, 1, None),
        ({"imgsz": 64}, 1, None),
        ({"imgsz": 64, "multi_scale": 0.2}, 1, None),
        ({"freeze_bn": True}, 1, None),
        ({"batch": 2, "sync_bn": True}, 2, None),
    ],
    ids=str,
)
def test_check_norms__names_batch_and_size(
    tmp_path: Path, train: dict[str, Any], world: int, expected: str | None
) -> None:
    config = _config(tmp_path, **train)
    ranks = Ranks(0, world, torch.device("cpu"))
    detector = new_detector(config, 2)
    if expected is None:
        check_norms(config, detector, ranks)
        return
    with pytest.raises(ConfigError, match=expected):
        check_norms(config, detector, ranks)


def test_build_context__refuses_one_value_per_channel(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="BatchNorm gets a single value per channel"):
        build_context(_config(tmp_path), Ranks(0, 1, torch.device("cpu")))
