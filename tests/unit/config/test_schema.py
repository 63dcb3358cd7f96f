from __future__ import annotations

from typing import Any

import pytest
import yaml

from yolofuse.config import Config, ModelConfig, dump_config
from yolofuse.config.error_messages import SYNONYMS
from yolofuse.config.field_types import part_name, part_options
from yolofuse.config.load import flat_options, plain_config, validate_config
from yolofuse.errors import ConfigError


def config_of(**sections: Any) -> Config:
    return validate_config({"data": {"descriptor": "x"}, "train": {"run": "r"}} | sections, where="here")


@pytest.mark.parametrize(
    ("given", "kept", "label"),
    [
        ("gated", "gated", "gated"),
        ({"name": "gated"}, "gated", "gated"),
        (
            {"name": "gated", "reduction": 8},
            {"name": "gated", "reduction": 8},
            "gated(reduction=8)",
        ),
    ],
)
def test_fusion__a_name_stays_text_and_options_survive_saving(given: Any, kept: Any, label: str) -> None:
    config = config_of(model={"fusion": given})
    assert plain_config(config)["model"]["fusion"] == kept
    assert validate_config(yaml.safe_load(dump_config(config)), where="again") == config
    assert (part_name(config.model.fusion), config.model.fusion_label) == ("gated", label)
    assert part_options(config.model.fusion) == ({} if kept == "gated" else {"reduction": 8})


@pytest.mark.parametrize(
    ("fusion", "message"),
    [
        (3, "model.fusion: input should be a valid string or a mapping of keys to values (got 3)"),
        ({"reduction": 8}, "model.fusion.name: is missing; it has no default"),
        ({"name": 3}, "model.fusion.name: input should be a valid string (got 3)"),
    ],
)
def test_fusion__anything_else_is_refused(fusion: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(model={"fusion": fusion})
    assert message in str(caught.value)


def test_drop_camera__needs_two_cameras() -> None:
    with pytest.raises(ConfigError, match="drop_camera: needs two cameras"):
        config_of(model={"streams": "ir"}, train={"run": "r", "augment": {"drop_camera": 0.3}})


@pytest.mark.parametrize("fusion", ["add", {"name": "add"}])
def test_combinations__add_cannot_start_as_one_stream(fusion: Any) -> None:
    with pytest.raises(ConfigError, match="'add' is always the average"):
        config_of(model={"fusion": fusion}, init={"fusion": "rgb"})


def test_model__is_hashable_and_defaults_to_concat() -> None:
    assert hash(ModelConfig()) == hash(ModelConfig(fusion="concat"))


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.lr=0.1", "train.lr: unknown key; did you mean train.lr0?"),
        ("train.nbs=64", "train.nbs: unknown key; did you mean train.nominal_batch?"),
        ("train.augment.fliplr=0.5", "train.augment.fliplr: unknown key; did you mean train.augment.flip_lr?"),
        ("data.single_class=true", "data.single_class: give the name of the one class, such as vehicle"),
    ],
)
def test_names__of_other_trainers_are_answered_with_ours(override: str, expected: str) -> None:
    raw = {"data": {"descriptor": "x.yaml"}, "train": {"run": "r"}}
    with pytest.raises(ConfigError) as caught:
        validate_config(raw, [override], where="here")
    assert expected in str(caught.value)


def test_synonyms__name_options() -> None:
    options = {name.rpartition(".")[2] for name in flat_options(config_of())}
    assert set(SYNONYMS.values()) <= options
    assert not set(SYNONYMS) & options
