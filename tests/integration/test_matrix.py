"""Build every family, size, cut and fusion block."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import pytest

import yolofuse.model.build as build
from yolofuse.config import ModelConfig
from yolofuse.nn import FUSIONS
from yolofuse.upstream import build_layers, list_bases

FAMILIES = ("yolov5", "yolov8", "yolov9", "yolov10", "yolo11", "yolo12", "yolo26")
BASES = [name for name in list_bases() if re.fullmatch(rf"({'|'.join(FAMILIES)})[a-z]", name)]
SMALLEST = {"yolov5n", "yolov8n", "yolov9t", "yolov10n", "yolo11n", "yolo12n", "yolo26n"}
CUTS: list[Any] = ["input", "early", "mid", "late", "decision", 6]


def test_bases__cover_every_size() -> None:
    sizes = {family: sorted(name[-1] for name in BASES if name[:-1] == family) for family in FAMILIES}
    assert sizes == {family: sorted("nsmlx") for family in FAMILIES} | {
        "yolov9": sorted("tsmce"),
        "yolov10": sorted("nsmblx"),
    }


@pytest.fixture
def _layers_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build a size's layers once and split them for each combination, because building is slow."""
    monkeypatch.setattr(build, "build_layers", lru_cache(maxsize=3)(build_layers))


def _check_counts(base: str, cut: Any, fusion: Any, whole: int) -> None:
    detector = build.build_detector(ModelConfig(base=base, cut=cut, fusion=fusion), num_classes=2)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in detector.parts.items()}
    if "fusion" in counts:
        assert counts["rgb"] + counts["trunk"] == whole
        assert (counts["fusion"] > 0) == (fusion != "add")
    elif cut == "decision":
        assert counts["rgb"] == whole
    else:
        assert counts["trunk"] > whole


@pytest.mark.usefixtures("_layers_once")
@pytest.mark.parametrize(
    "base", [base if base in SMALLEST else pytest.param(base, marks=pytest.mark.soak) for base in BASES]
)
def test_build__every_cut_and_fusion(base: str) -> None:
    single = build.build_detector(ModelConfig(base=base, streams="rgb"), num_classes=2)
    whole = sum(p.numel() for p in single.parameters())
    for cut in CUTS:
        for fusion in FUSIONS:
            _check_counts(base, cut, fusion, whole)
