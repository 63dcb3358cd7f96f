"""Predict: files, arrays and folders give the same boxes; limits hold; what can't be read is told."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.pairs import make_pairs
from tests.support.weights import single_stream_file
from yolofuse.engine.loaded_detector import LoadedDetector
from yolofuse.errors import ConfigError, DataError
from yolofuse.predict.load import load
from yolofuse.predict.model import Limits, Model
from yolofuse.predict.result import PairDetections
from yolofuse.predict.sources import PairInput, split_inputs
from yolofuse.types import Detections, PairFormat

ALL: Limits = {"conf": 1e-7, "max_det": 20}


def files(root: Path, number: int) -> tuple[Path, Path]:
    name = f"val_{number:03d}.png"
    return root / "rgb/val" / name, root / "ir/val" / name


def arrays(pair: tuple[Path, Path]) -> tuple[np.ndarray, np.ndarray]:
    rgb, ir = (np.asarray(Image.open(path)) for path in pair)
    return rgb, ir


def one(found: PairDetections | list[PairDetections]) -> PairDetections:
    assert isinstance(found, PairDetections)
    return found


def same(a: Detections, b: Detections) -> bool:
    names = ("boxes_xyxy", "scores", "class_ids")
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in names)


def test_predict__of_arrays_equals_that_of_their_files(model: Model, root: Path) -> None:
    of_files = one(model.predict(*files(root, 0), **ALL))
    of_arrays = one(model.predict(*arrays(files(root, 0)), **ALL))
    mixed = one(model.predict(files(root, 0)[0], arrays(files(root, 0))[1], **ALL))
    assert len(of_files) == 20
    assert same(of_files, of_arrays)
    assert same(of_files, mixed)
    assert np.array_equal(of_files.pixels(), of_arrays.pixels())


def test_predict__of_large_arrays_equals_that_of_their_files(model: Model, tmp_path: Path) -> None:
    make_pairs(tmp_path, 1, 1, size_hw=(256, 384))  # decoded smaller
    pair = files(tmp_path, 0)
    assert same(one(model.predict(*pair, **ALL)), one(model.predict(*arrays(pair), **ALL)))


def test_predict__of_a_folder_is_that_of_its_pairs_in_order(model: Model, root: Path) -> None:
    found = model.predict(root / "rgb/val", root / "ir/val", batch=2, **ALL)
    assert isinstance(found, list)
    assert [result.key for result in found] == [f"val_{number:03d}" for number in range(5)]
    for number, result in enumerate(found):
        np.testing.assert_allclose(result.scores, one(model.predict(*files(root, number), **ALL)).scores, rtol=1e-4)


def test_predict__of_a_split_uses_its_format_and_names(model: Model, root: Path) -> None:
    found = list(model.stream_inputs(split_inputs(root / "data.yaml", "val", model.loaded), **ALL))
    assert [result.key for result in found] == [f"val_{number:03d}" for number in range(5)]
    assert same(found[1], one(model.predict(*files(root, 1), **ALL)))


def test_predict__of_a_split_that_is_read_otherwise_is_told(
    model: Model, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = replace(model.loaded, content={**model.loaded.content, "formats": [{}]})
    split_inputs(root / "data.yaml", "val", loaded)
    assert "read otherwise" not in caplog.text
    (root / "data.yaml").write_text((root / "data.yaml").read_text() + "resize: {affine: [[1, 0, 9], [0, 1, 0]]}\n")
    split_inputs(root / "data.yaml", "val", loaded)
    assert "data.yaml [val]: read otherwise than the training images: affine: None in training" in caplog.text


def test_predict__of_a_folder_of_one_camera_skips_what_is_hidden(model: Model, root: Path) -> None:
    for name in ("@eaDir", ".trash"):
        (root / "rgb/val" / name).mkdir()
        shutil.copy(root / "rgb/val/val_000.png", root / "rgb/val" / name)
    found = model.predict(root / "rgb/val", None, **ALL)
    assert isinstance(found, list)
    assert [result.key for result in found] == [f"val_{number:03d}" for number in range(5)]


def test_predict__keeps_only_the_classes_that_are_asked_for(model: Model, root: Path) -> None:
    whole = one(model.predict(*files(root, 0), conf=1e-7, max_det=3000))
    cars = one(model.predict(*files(root, 0), classes="car", conf=1e-7, max_det=3000))
    assert len(cars) == (whole.class_ids == 1).sum() > 0
    assert same(cars, whole.select(whole.class_ids == 1))
    by_id = one(model.predict(*files(root, 0), classes=[1], conf=1e-7, max_det=3000))
    assert same(by_id, cars)


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"classes": ["cat"]}, "classes: no class 'cat'.*person, car, lamp"),
        ({"conf": 2}, "val.conf"),
        ({"imgsz": 50}, "imgsz"),
        ({"max_det": 0}, "val.max_det"),
        ({"confidence": 0.1}, "confidence: no such option; known are conf"),
    ],
)
def test_predict__refuses_a_wrong_limit(model: Model, root: Path, limits: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        model.predict(*files(root, 0), **limits)


def test_limits__are_those_of_the_call_alone(model: Model, root: Path) -> None:
    first = one(model.predict(*files(root, 0), **ALL))
    assert len(one(model.predict(*files(root, 0), conf=1e-7, max_det=5, imgsz=128))) == 5
    assert same(first, one(model.predict(*files(root, 0), **ALL)))


@pytest.mark.parametrize(
    ("rgb", "ir", "told"),
    [
        (None, None, "give rgb, ir, or both"),
        (np.zeros((4, 4)), None, "the rgb array must be uint8 .H, W, 3., R G B"),
        (None, np.zeros((4, 4), np.int64), "the ir array must be"),
        (None, np.zeros((4, 4), np.uint16), "16 bits per channel where the training images had 8"),
        ([np.zeros((4, 4, 3), np.uint8)] * 2, [np.zeros((4, 4), np.uint8)], "equal lengths"),
        ("none.png", None, "none.png: no such file"),
        ([None], [None], "pair 1: has neither"),
    ],
)
def test_predict__tells_what_is_wrong_with_its_input(model: Model, rgb: object, ir: object, told: str) -> None:
    with pytest.raises(DataError, match=told):
        model.predict(rgb, ir)


def test_predict__warns_once_of_a_camera_that_training_never_missed(
    model: Model, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = model.predict([files(root, 0)[0], files(root, 1)[0]], [None, None], **ALL)
    assert isinstance(found, list)
    assert [result.record.missing for result in found] == ["ir", "ir"]
    assert sum("pairs without an ir image" in record.message for record in caplog.records) == 1
    assert not found[0].pixels()[..., 3].any()


def test_stream__reads_a_pair_when_it_is_asked_for(model: Model, root: Path) -> None:
    given = []

    def endless() -> Iterator[Path]:
        while True:
            given.append(1)
            yield files(root, 0)[0]

    stream = model.stream(endless(), None, **ALL)
    next(stream)
    assert len(given) <= 2


def test_stream__leaves_out_what_cannot_be_read_if_it_is_told_to(model: Model, root: Path) -> None:
    damaged = files(root, 1)[0]
    damaged.write_bytes(damaged.read_bytes()[:300])  # its header is whole
    inputs = [PairInput(files(root, number), str(number)) for number in range(4)]
    errors: list[str] = []
    found = [
        r.key for r in model.stream_inputs(inputs, batch=4, on_error=lambda given, e: errors.append(str(e)), **ALL)
    ]
    assert found == ["0", "2", "3"]
    assert len(errors) == 1
    assert str(damaged) in errors[0]
    with pytest.raises(DataError, match="val_001"):
        list(model.stream_inputs(inputs, **ALL))


def test_stream__pads_pairs_of_unequal_shape_as_each_alone(model: Model, tmp_path: Path) -> None:
    make_pairs(tmp_path / "wide", 1, 1)
    make_pairs(tmp_path / "high", 1, 1, size_hw=(96, 64))
    pairs = [files(tmp_path / "wide", 0), files(tmp_path / "high", 0)]
    found = model.predict(*zip(*pairs, strict=True), batch=8, **ALL)
    assert isinstance(found, list)
    for pair, result in zip(pairs, found, strict=True):
        assert same(result, one(model.predict(*pair, **ALL)))


def test_predict__needs_a_format_where_training_had_several(model: Model, root: Path) -> None:
    several = Model(replace(model.loaded, formats=(PairFormat(), PairFormat(frame="ir"))))
    with pytest.raises(ConfigError, match="give pair_format"):
        several.predict(*files(root, 0))
    found = one(several.predict(*files(root, 0), pair_format=PairFormat(), **ALL))
    assert same(found, one(model.predict(*files(root, 0), **ALL)))


def test_load__uses_the_weights_of_one_camera_for_two(tmp_path: Path, root: Path) -> None:
    weights = single_stream_file(tmp_path / "one.pt")
    loaded = load(weights, "cpu", ["model.base=yolov8n", "val.imgsz=64"])
    found = one(loaded.predict(*files(root, 0), **ALL))
    assert found.names == loaded.names
    assert len(found) == 20


def test_result__is_a_detections_with_all_its_fields() -> None:
    names = {field.name for field in fields(Detections)}
    assert names <= {field.name for field in fields(PairDetections)}


def test_stream__times_of_all_pairs_are_no_longer_than_the_whole(
    model: Model, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detect = LoadedDetector.detect

    def slow(*args: Any, **kwargs: Any) -> list[Detections]:
        time.sleep(0.1)
        return detect(*args, **kwargs)

    monkeypatch.setattr(LoadedDetector, "detect", slow)
    rgb, ir = zip(*(files(root, number) for number in range(3)), strict=True)
    started = time.perf_counter()
    spent = [sum(found.ms.values()) for found in model.stream(rgb, ir)]
    assert 3 * 100 <= sum(spent) <= 1000 * (time.perf_counter() - started)
