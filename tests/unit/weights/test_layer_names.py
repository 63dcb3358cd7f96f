"""Names of tensors by layer: prefixes, parts, and name maps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from yolofuse.errors import WeightsError
from yolofuse.weights.layer_names import (
    apply_name_map,
    has_layer_numbers,
    has_part_names,
    key_by_layer,
    quote_first,
    split_by_part,
)

FILE = Path("w.pt")


def _values(tensors: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(tensor.flatten()[0]) for name, tensor in tensors.items()}


@pytest.mark.parametrize("prefix", ["model.", "module.model.", "model.model.", "_orig_mod.model.", "module.", ""])
def test_key_by_layer__prefixes(prefix: str) -> None:
    state = {f"{prefix}0.conv.weight": torch.ones(1), f"{prefix}12.a": torch.zeros(1), "loss.scale": torch.ones(1)}
    assert has_layer_numbers(state)
    assert _values(key_by_layer(FILE, state)) == {"0.conv.weight": 1, "12.a": 0}


def test_key_by_layer__clash_is_refused() -> None:
    state = {"model.0.a": torch.ones(1), "module.model.0.a": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"'0\.a' would come from 'model\.0\.a', 'module\.model\.0\.a'"):
        key_by_layer(FILE, state)


def test_key_by_layer__without_numbers_asks_for_a_map() -> None:
    state = {name: torch.ones(1) for name in ("conv1.weight", "bn1.weight", "bn1.bias", "fc.weight")}
    assert not has_layer_numbers(state)
    expected = (
        r"w\.pt: holds no numbered.*\(got 'conv1.weight', 'bn1.weight', 'bn1.bias', \.\.\.\); write weights.name_map"
    )
    with pytest.raises(WeightsError, match=expected):
        key_by_layer(FILE, state)


def test_split_by_part__of_a_yolofuse_model() -> None:
    names = ["rgb.layers.0.a", "ir.layers.0.a", "trunk.layers.12.m.0.b", "fusion.4.conv.weight", "fusion.image.scale"]
    state = {name: torch.full((1,), float(i)) for i, name in enumerate(names)}
    assert has_part_names(state)
    assert {part: _values(tensors) for part, tensors in split_by_part(FILE, state).items()} == {
        "rgb": {"0.a": 0},
        "ir": {"0.a": 1},
        "trunk": {"12.m.0.b": 2},
        "fusion": {"4.conv.weight": 3, "image.scale": 4},
    }


@pytest.mark.parametrize(("name", "expected"), [("other.layers.0.a", "'other.layers.0.a'"), (None, "nothing in it")])
def test_split_by_part__unknown_names_are_refused(name: str | None, expected: str) -> None:
    with pytest.raises(WeightsError, match=expected):
        split_by_part(FILE, {name: torch.ones(1)} if name else {})


TIMM = {
    "stem.conv.weight": torch.full((8, 3, 3, 3), 1.0),
    "stem.bn.weight": torch.full((8,), 2.0),
    "stem.bn.num_batches_tracked": torch.tensor(5),
    "stages.1.blocks.0.conv.weight": torch.full((8, 8, 1, 1), 3.0),
    "stages.2.blocks.0.conv.weight": torch.full((8, 8, 1, 1), 4.0),
    "head.weight": torch.full((10, 8), 5.0),
}


def test_apply_name_map__keeps_what_it_names() -> None:
    name_map = {"stem.*": "0.*", "stages.*.blocks.*.conv.*": "*.m.*.cv1.*"}
    assert _values(apply_name_map(FILE, {f"module.{k}": v for k, v in TIMM.items()}, name_map)) == {
        "0.conv.weight": 1,
        "0.bn.weight": 2,
        "0.bn.num_batches_tracked": 5,
        "1.m.0.cv1.weight": 3,
        "2.m.0.cv1.weight": 4,
    }


def test_apply_name_map__points_and_stars_are_no_regular_expression() -> None:
    state = {"a.w": torch.zeros(1), "axw": torch.ones(1)}
    assert _values(apply_name_map(FILE, state, {"a.w": "0.w"})) == {"0.w": 0}


@pytest.mark.parametrize(
    ("name_map", "expected"),
    [
        ({"stem.*": "0.*", "neck.*": "1.*"}, r"'neck\.\*': no tensor has such a name"),
        ({"stages.*.blocks.*.conv.*": "1.*"}, "same number of"),
        ({"stem.conv.*": "0.*", "stem.bn.*": "0.*"}, "'0.weight' would come from 'stem.conv.weight', 'stem.bn.weight'"),
        ({"stem.*": "first.*"}, "must be '<layer>.<rest>'"),
        ({"*.conv.weight": "*.weight"}, "'stem.conv.weight' would become 'stem.weight'"),
        ({}, "maps nothing"),
    ],
    ids=["matches-nothing", "stars", "one-target-twice", "no-number", "number-is-text", "empty"],
)
def test_apply_name_map__mistakes(name_map: dict[str, str], expected: str) -> None:
    with pytest.raises(WeightsError, match=expected) as caught:
        apply_name_map(FILE, TIMM, name_map)
    assert "w.pt" in str(caught.value)


def test_apply_name_map__all_mistakes_at_once() -> None:
    with pytest.raises(WeightsError, match=r"(?s)2 problems.*neck.*first"):
        apply_name_map(FILE, TIMM, {"neck.*": "1.*", "stem.*": "first.*"})


def test_quote_first() -> None:
    assert quote_first("ab") == "'a', 'b'"
    assert quote_first("abcd") == "'a', 'b', 'c', ..."
