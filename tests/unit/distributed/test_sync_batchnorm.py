from __future__ import annotations

import torch
from torch import nn

from yolofuse.config import ModelConfig
from yolofuse.distributed.ranks import batchnorm_statistics
from yolofuse.distributed.sync_batchnorm import SyncBatchNorm2d, synchronise_batchnorm
from yolofuse.model import build_detector


def test_conversion__keeps_names_tensors_and_modes() -> None:
    detector = build_detector(ModelConfig(base="yolov8n", cut="mid"), num_classes=2)
    before = detector.state_dict(keep_vars=True)
    norms, statistics = [m for m in detector.modules() if isinstance(m, nn.BatchNorm2d)], batchnorm_statistics(detector)
    norms[3].eval()
    synchronise_batchnorm(detector, torch.device("cpu"))
    after = detector.state_dict(keep_vars=True)
    assert list(before) == list(after)
    assert all(before[name] is after[name] for name in before)
    assert all(a is b for a, b in zip(statistics, batchnorm_statistics(detector), strict=True))
    assert all(type(norm) is SyncBatchNorm2d for norm in norms)
    assert [norm.training for norm in norms].count(False) == 1
