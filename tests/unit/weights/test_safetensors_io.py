"""safetensors: tensors, names and base are read; hostile files are in tests/security."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.weights import save_safetensors
from yolofuse.errors import WeightsError
from yolofuse.weights import load_source
from yolofuse.weights.safetensors_io import open_safetensors

SINGLE = {"trunk": {"0.conv.weight": torch.rand(16, 3, 3, 3), "1.counter": torch.tensor(3)}}
DUAL = {"rgb": {"0.a": torch.ones(2)}, "fusion": {"4.b": torch.zeros(1)}, "trunk": {"9.c": torch.ones(1)}}


@pytest.mark.parametrize("parts", [SINGLE, DUAL], ids=["single", "dual"])
def test_round_trip__tensors_names_and_base(parts: dict[str, dict[str, torch.Tensor]], tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_safetensors(file, parts, names=["a", "bé"], base="yolov8n")
    source = load_source(file)
    assert (source.names, source.base) == (("a", "bé"), "yolov8n")
    assert {part: set(tensors) for part, tensors in source.parts.items()} == {p: set(t) for p, t in parts.items()}
    assert all(torch.equal(source.parts[part][name], parts[part][name]) for part in parts for name in parts[part])


def test_file__holds_names_of_a_state_dict(tmp_path: Path) -> None:
    for file, parts, expected in (
        ("single", SINGLE, {"model.0.conv.weight", "model.1.counter"}),
        ("dual", DUAL, {"rgb.layers.0.a", "fusion.4.b", "trunk.layers.9.c"}),
    ):
        save_safetensors(tmp_path / f"{file}.safetensors", parts)
        content = open_safetensors(tmp_path / f"{file}.safetensors")
        assert set(content) == {"state_dict"}
        assert set(content["state_dict"]) == expected


@pytest.mark.parametrize("content", [None, b"", b"text"], ids=["missing", "empty", "text"])
def test_open__no_safetensors_file(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(WeightsError, match="no such weights file" if content is None else "no safetensors file"):
        open_safetensors(file)
