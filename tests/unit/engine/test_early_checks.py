"""Names and files of a config, checked before torch is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import yolofuse
from tests.support.pairs import make_pairs
from tests.support.runs import write_config
from yolofuse.config import Config, load_config
from yolofuse.engine.early_checks import check_early, check_names
from yolofuse.errors import ConfigError, DataError, WeightsError


@pytest.fixture(scope="module")
def descriptor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pairs(tmp_path_factory.mktemp("early"), 1, 1)


def _config(folder: Path, descriptor: Path, *overrides: str) -> Config:
    return load_config(write_config(folder, descriptor), overrides)


def test_check__passes_what_trains(tmp_path: Path, descriptor: Path) -> None:
    check_early(_config(tmp_path, descriptor))


@pytest.mark.parametrize("part", ["rgb/train", "ir/val/deep", "labels/train"])
def test_run__among_the_images_is_refused(tmp_path: Path, descriptor: Path, part: str) -> None:
    folder = descriptor.parent / part
    with pytest.raises(ConfigError, match=rf"train\.run: {folder} lies in .*, a folder of the data set"):
        check_early(_config(tmp_path, descriptor, f"train.run={folder}"))


@pytest.mark.parametrize("option", ["perspective=0.001", "mixup=0.5", "cutmix=0.5"])
def test_augmentation__that_the_device_has_not_is_refused_there(tmp_path: Path, descriptor: Path, option: str) -> None:
    config = _config(tmp_path, descriptor, "train.augment_on=device", f"train.augment.{option}")
    with pytest.raises(ConfigError, match=f"train.augment.{option.partition('=')[0]}: runs in the loader"):
        check_early(config)


@pytest.mark.parametrize("name", ["pretrained", "rgb", "ir", "trunk", "name_map"])
def test_weights__files_are_asked_for_unless_a_run_is_resumed(tmp_path: Path, descriptor: Path, name: str) -> None:
    config = _config(tmp_path, descriptor, f"weights.{name}={tmp_path / 'gone.pt'}")
    with pytest.raises(WeightsError, match=rf"weights.{name}: .*gone.pt: no such weights file"):
        check_early(config)
    check_names(config)  # all that a resume looks at
    check_early(_config(tmp_path, descriptor, f"weights.{name}={tmp_path}"))  # a run folder, or what is inside tells


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("model.base=yolo11", ConfigError, "has no size"),
        ("model.fusion=gated2", ConfigError, "did you mean gated"),
        ("model.head=anchor", ConfigError, "did you mean anchors"),
        ("train.loggers=tensorbord", ConfigError, "did you mean tensorboard"),
        ("train.augment.extra=[mine]", ConfigError, "train.augment.extra: unknown name 'mine'"),
        ("train.loss.extra=[mine]", ConfigError, "train.loss.extra: unknown name 'mine'"),
        ("val.metrics=mine", ConfigError, "val.metrics: unknown name 'mine'"),
        ("data.classes=[cat]", ConfigError, "data.classes: no class 'cat'"),
        ("data.root=gone", DataError, "no such folder"),
    ],
)
def test_names__unknown_ones_are_refused(
    tmp_path: Path, descriptor: Path, override: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        check_early(_config(tmp_path, descriptor, override))


def test_names__of_ones_own_are_known(tmp_path: Path, descriptor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(*args: Any) -> Any:
        raise AssertionError("nothing is made yet")

    for registry, name in ((yolofuse.FUSIONS, "mine"), (yolofuse.HEADS, "mine"), (yolofuse.METRICS, "mine")):
        monkeypatch.setitem(registry, name, made)
    check_early(_config(tmp_path, descriptor, "model.fusion=mine", "model.head=mine", "val.metrics=mine"))
