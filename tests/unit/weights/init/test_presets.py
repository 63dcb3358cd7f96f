"""Presets: complete, and what the ``article`` preset destroys."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import torch

from tests.support.weights import initialised
from yolofuse.config.weights_schema import PresetName
from yolofuse.weights.init.presets import PRESETS


def test_presets__are_those_of_the_config_schema() -> None:
    assert set(get_args(PresetName)) == set(PRESETS)
    assert [name for name, preset in PRESETS.items() if preset.overwrites_all] == ["article"]


def test_article__overwrites_fixed_and_declared_values() -> None:
    detector, report = initialised("init.preset=article")
    head = detector.heads["trunk"]
    assert not torch.equal(head.dfl.conv.weight.flatten(), torch.arange(16.0))
    assert (head.cv3[0][-1].bias == 0).all()
    assert any("DFL" in warning and "prior" in warning for warning in report.warnings)


def test_article__overwrites_what_was_loaded(pretrained: Path) -> None:
    _, report = initialised("init.preset=article", f"weights.pretrained={pretrained}")
    assert report.share_loaded() == 0.0
