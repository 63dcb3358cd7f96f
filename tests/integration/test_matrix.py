"""Every family, size, cut and fusion block builds, with the same weights that a single-stream model would have."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import pytest
from torch import nn

import yolofuse.model.build as build
from yolofuse.config import ModelConfig
from yolofuse.nn import FUSIONS
from yolofuse.upstream import Base, build_layers, list_bases

FAMILIES = ("yolov5", "yolov8", "yolov9", "yolov10", "yolo11", "yolo12", "yolo26")
BASES = [name for name in list_bases() if re.fullmatch(rf"({'|'.join(FAMILIES)})[a-z]", name)]
CUTS: list[Any] = ["input", "early", "mid", "late", "decision", 6]


def test_bases__cover_every_size() -> None:
    sizes = {family: sorted(name[-1] for name in BASES if name[:-1] == family) for family in FAMILIES}
    assert sizes == {family: sorted("nsmlx") for family in FAMILIES} | {
        "yolov9": sorted("tsmce"),
        "yolov10": sorted("nsmblx"),
    }


@pytest.mark.parametrize("base", BASES)
def test_build__every_cut_and_fusion(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The layers of a size are made once and divided anew for each combination: making them is what takes the time."""

    @lru_cache(maxsize=3)
    def layers_once(base: Base, channels: int, num_classes: int) -> list[nn.Module]:
        return build_layers(base, channels=channels, num_classes=num_classes)

    monkeypatch.setattr(build, "build_layers", layers_once)
    single = sum(p.numel() for layer in layers_once(build.resolve_base(base), channels=3, num_classes=2)
                 for p in layer.parameters())  # fmt: skip
    for cut in CUTS:
        for fusion in FUSIONS if cut not in ("input", "decision") else ["concat"]:
            detector = build.build_detector(ModelConfig(base=base, cut=cut, fusion=fusion), num_classes=2)
            counts = {name: sum(p.numel() for p in part.parameters()) for name, part in detector.parts.items()}
            assert sum(counts.values()) >= single
            if "fusion" in counts:
                assert counts["rgb"] + counts["trunk"] == single
                assert (counts["fusion"] > 0) == (fusion != "add")
            if cut == "decision":
                assert counts["rgb"] == single
