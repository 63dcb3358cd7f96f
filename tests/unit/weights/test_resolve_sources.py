"""The file of weights for each part of a model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from tests.support.weights import config_of, saved
from yolofuse.errors import ConfigError
from yolofuse.weights.resolve_sources import load_sources
from yolofuse.weights.sources import Source

MID, DECISION, SINGLE = ("rgb", "ir", "fusion", "trunk"), ("rgb", "ir"), ("trunk",)
SHARED = ("rgb", "fusion", "trunk")


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """A file whose one layer is numbered, without class names."""
    return saved(tmp_path / "numbered.pt", {"model.0.conv.weight": torch.ones(8, 3, 3, 3)})


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A file with names of its own, and a map for it beside it."""
    (tmp_path / "map.yaml").write_text(yaml.safe_dump({"stem.*": "0.*"}))
    return saved(tmp_path / "foreign.pt", {"stem.conv.weight": torch.zeros(8, 3, 3, 3)})


def _load(parts: tuple[str, ...], *words: str) -> dict[str, Source]:
    return load_sources(config_of(*words).weights, parts)


def _paths(parts: tuple[str, ...], *words: str) -> dict[str, str]:
    return {part: source.path.stem for part, source in _load(parts, *words).items()}


def test_load_sources__which_file_for_which_part(numbered: Path, tmp_path: Path) -> None:
    other = saved(tmp_path / "other.pt", {"model.0.conv.weight": torch.zeros(8, 3, 3, 3)})
    given = f"weights.pretrained={numbered}"
    assert _paths(MID) == {}
    assert _paths(MID, given) == {"rgb": "numbered", "ir": "numbered", "trunk": "numbered"}  # no fusion in the file
    assert _paths(MID, given, f"weights.ir={other}") == {"rgb": "numbered", "ir": "other", "trunk": "numbered"}
    both = (f"weights.rgb={numbered}", f"weights.ir={other}")
    assert _paths(MID, *both) == {"rgb": "numbered", "ir": "other", "trunk": "numbered"}
    assert _paths(MID, *both, "weights.trunk=ir") == {"rgb": "numbered", "ir": "other", "trunk": "other"}
    assert _paths(MID, f"weights.ir={other}") == {"ir": "other", "trunk": "other"}
    assert _paths(SINGLE, given) == {"trunk": "numbered"}
    sources = _load(MID, given)
    assert sources["rgb"] is sources["trunk"]  # read once


@pytest.mark.parametrize(
    ("parts", "words", "message"),
    [
        (SINGLE, ("weights.ir=FILE",), "no ir stream of its own"),
        (SHARED, ("weights.ir=FILE",), "no ir stream of its own"),
        (DECISION, ("weights.trunk=FILE",), "a decision model has no trunk"),
        (MID, ("weights.trunk=ir", "weights.rgb=FILE"), "the ir stream has no source"),
        (MID, ("weights.name_map=FILE",), "no file to apply it to"),
        (MID, ("weights.class_names=[a]",), "no file to apply it to"),
        (DECISION, ("weights.rgb=FILE", "weights.ir=FILE", "weights.pretrained=other.pt"), "leave it out"),
    ],
)
def test_load_sources__for_no_part_of_the_model_is_refused(
    parts: tuple[str, ...], words: tuple[str, ...], message: str, numbered: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        _load(parts, *(word.replace("FILE", str(numbered)) for word in words))


def test_name_map__is_for_files_without_layer_numbers(foreign: Path, numbered: Path, tmp_path: Path) -> None:
    words = (f"weights.pretrained={foreign}", f"weights.name_map={tmp_path / 'map.yaml'}")
    assert list(_load(MID, *words)["rgb"].parts["trunk"]) == ["0.conv.weight"]
    mixed = _load(MID, *words, f"weights.ir={numbered}")
    assert (mixed["rgb"].is_mapped, mixed["ir"].is_mapped) == (True, False)
    with pytest.raises(ConfigError, match="numbered already"):
        _load(MID, f"weights.pretrained={numbered}", words[1])


@pytest.mark.parametrize("content", ["stem.*: [0]", "{}"])
def test_name_map__must_be_lines_of_text(foreign: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "map.yaml").write_text(content)
    with pytest.raises(ConfigError, match="a name map is lines like"):
        _load(MID, f"weights.pretrained={foreign}", f"weights.name_map={tmp_path / 'map.yaml'}")


def test_class_names__are_passed_to_every_file_without(numbered: Path) -> None:
    sources = _load(MID, f"weights.pretrained={numbered}", "weights.class_names=[a, b]")
    assert sources["rgb"].names == ("a", "b")
