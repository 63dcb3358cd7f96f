"""Predict: files, arrays and folders give the same boxes; limits hold; what can't be read is told."""

from __future__ import annotations

import logging
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


@pytest.mark.parametrize("kind", ["folder", "image"])
@pytest.mark.parametrize("exchanged", [True, False])
def test_predict__exchanged_images_are_told(
    model: Model, root: Path, kind: str, exchanged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    given = files(root, 0) if kind == "image" else (root / "rgb/val", root / "ir/val")
    model.predict(*(given[::-1] if exchanged else given), **ALL)
    assert ("rgb has no colour and ir has" in caplog.text) == exchanged


@pytest.mark.parametrize("shift", [0, 1])
def test_predict__a_sequence_out_of_order_is_told(
    model: Model, root: Path, shift: int, caplog: pytest.LogCaptureFixture
) -> None:
    rgb, ir = zip(*(files(root, number) for number in range(3)), strict=True)
    assert len(list(model.stream(rgb, ir[shift:] + ir[:shift], **ALL))) == 3
    assert ("3 files of ir are called as those of other pairs of rgb" in caplog.text) == bool(shift)
    assert ("called as" in caplog.text) == bool(shift)


def test_predict__an_image_of_another_shape_is_told_once(
    model: Model, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rgb, ir = arrays(files(root, 0))
    for thermal in (ir[::2, ::2], ir[:, :52], ir[:, :52]):  # the same shape, then another
        model.predict(rgb, thermal, **ALL)
    said = [record.getMessage() for record in caplog.records if "stretched" in record.getMessage()]
    assert said == ["warning: rgb is 96x64, ir 52x64: ir is stretched over rgb; was it so in training?"]


def test_preprocess__an_affine_without_inverse_is_refused(model: Model, root: Path) -> None:
    with pytest.raises(DataError, match=r"pair_format\.affine: .* can't be inverted"):
        model.loaded.preprocess([files(root, 0)], PairFormat(affine=(1, 2, 0, 2, 4, 0)))


def test_predict__a_number_that_is_a_file_too_is_refused(
    model: Model, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    for number, kind in enumerate(("rgb", "ir")):
        (root / kind / "val").rename(root / f"{number}")
    with pytest.raises(DataError, match=r"0: the number of a camera, and the name of a file here; write \./0"):
        model.predict("0", "1")
    assert len(list(model.stream("./0", "./1", **ALL))) == 5


def test_predict__of_a_split_uses_its_format_and_names(model: Model, root: Path) -> None:
    found = list(model.stream_inputs(split_inputs(root / "data.yaml", "val", model.loaded), **ALL))
    assert [result.key for result in found] == [f"val_{number:03d}" for number in range(5)]
    assert same(found[1], one(model.predict(*files(root, 1), **ALL)))


def test_split_inputs__that_are_read_otherwise_than_in_training_are_told(
    model: Model, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = replace(model.loaded, content={**model.loaded.content, "formats": [{}]})
    split_inputs(root / "data.yaml", "val", replace(loaded, formats=(PairFormat(),)))
    assert "read otherwise" not in caplog.text
    split_inputs(root / "data.yaml", "val", replace(loaded, formats=(PairFormat(frame="ir"),)))
    assert "[val]: read otherwise than the training images: frame: ir in training, rgb now" in caplog.text


def test_predict__keeps_only_the_classes_that_are_asked_for(model: Model, root: Path) -> None:
    whole = one(model.predict(*files(root, 0), conf=1e-7, max_det=3000))
    cars = one(model.predict(*files(root, 0), classes="car", conf=1e-7, max_det=3000))
    assert len(cars) == (whole.class_ids == 1).sum() > 0
    assert same(cars, whole.select(whole.class_ids == 1))
    by_ids: tuple[Any, ...] = ([1], 1, np.int64(1), np.array([1]))
    for by_id in by_ids:
        assert same(one(model.predict(*files(root, 0), classes=by_id, conf=1e-7, max_det=3000)), cars)


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"classes": ["cat"]}, "classes: no class 'cat'.*person, car, lamp"),
        ({"conf": 2}, "val.conf"),
        ({"imgsz": 50}, "imgsz"),
        ({"max_det": 0}, "val.max_det"),
        ({"confidence": 0.1}, "confidence: no such option; known are conf"),
        ({"classes": 0.5}, "classes: must be names or numbers"),
        ({"classes": [[0]]}, "classes: no class"),
        ({"batch": "4"}, "batch: must be a whole number, at least 1"),
        ({"tile": 300.5}, "tile: must be a whole number"),
        ({"tile": 0}, "tile: must be a whole number"),
        ({"tile": 64, "overlap": -1}, "overlap: must be a whole number, at least 0"),
    ],
)
def test_predict__refuses_a_wrong_limit(model: Model, root: Path, limits: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        model.predict(*files(root, 0), **limits)
    with pytest.raises(ConfigError, match=told):
        model.stream(*files(root, 0), **limits)  # by the call, before a folder to write to is made
    with pytest.raises(ConfigError, match=told):
        model.track(*files(root, 0), **limits)


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
        ({"b.png", "a.png"}, {"a.png", "b.png"}, "in the order of the pairs .found .*set"),
        (Image.new("RGB", (4, 4)), None, "must be paths, arrays, or sequences"),
        (b"a.png", b"b.png", "must be paths, arrays, or sequences"),
        (__file__, Path(__file__), "can't be decoded"),
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
    assert len(given) == 1


@pytest.mark.parametrize("batch", [1, 2])
def test_stream__of_frames_in_one_memory_sees_each(model: Model, root: Path, batch: int) -> None:
    def frames(side: int) -> Iterator[np.ndarray]:
        memory = arrays(files(root, 0))[side].copy()
        for number in range(4):
            memory[...] = arrays(files(root, number))[side]
            yield memory

    found = [*model.stream(frames(0), frames(1), batch=batch, **ALL)]
    for number, result in enumerate(found):
        assert np.array_equal(result.pixels(), one(model.predict(*files(root, number), **ALL)).pixels())
        np.testing.assert_allclose(result.scores, one(model.predict(*files(root, number), **ALL)).scores, rtol=1e-4)
    assert len(found) == 4


@pytest.mark.parametrize("batch", [1, 8])
def test_stream__yields_all_pairs_before_the_input_ends_in_an_error(model: Model, root: Path, batch: int) -> None:
    def damaged() -> Iterator[PairInput]:
        yield from (PairInput(files(root, number), str(number)) for number in range(3))
        raise DataError("damaged after 3 frames")

    found: list[str] = []
    with pytest.raises(DataError, match="damaged after 3 frames"):
        found.extend(result.key for result in model.stream_inputs(damaged(), batch=batch, **ALL))
    assert found == ["0", "1", "2"]


def test_predict__of_one_file_as_both_images_is_refused(model: Model, root: Path) -> None:
    rgb = files(root, 0)[0]
    (root / "link.png").symlink_to(rgb)
    with pytest.raises(DataError, match="pair 1: rgb and ir are one file"):
        model.predict(rgb, root / "link.png")


def test_predict__of_one_folder_takes_what_a_data_set_would(model: Model, root: Path) -> None:
    folder = root / "rgb/val"
    for name in ("._val_000.png", "@eaDir/val_000.png", ".hidden/a.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((folder / "val_000.png").read_bytes())
    found = model.predict(folder, None, **ALL)
    assert isinstance(found, list)
    assert [result.key for result in found] == [f"val_{number:03d}" for number in range(5)]
    assert {result.record.missing for result in found} == {"ir"}
    Image.open(folder / "val_000.png").save(folder / "val_000.jpg")
    with pytest.raises(DataError, match="same stem as val_000"):
        model.predict(folder, None)
    (root / "empty").mkdir()
    with pytest.raises(DataError, match="no images in"):
        model.predict(None, root / "empty")


def test_stream__leaves_out_what_cannot_be_read_if_it_is_told_to(model: Model, root: Path) -> None:
    damaged = files(root, 1)[0]
    damaged.write_bytes(damaged.read_bytes()[:300])  # its header is whole
    inputs = [PairInput(files(root, number), str(number)) for number in range(4)]
    errors: list[str] = []
    found = [
        r.key for r in model.stream_inputs(inputs, batch=4, on_error=lambda given, e: errors.append(str(e)), **ALL)
    ]
    assert found == ["0", "2", "3"]
    later = [inputs[number] for number in (0, 2, 1, 3)]  # in the second group
    again = model.stream_inputs(later, batch=2, on_error=lambda given, e: None, **ALL)
    assert [result.image_id for result in again] == [1, 2, 4]
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


@pytest.mark.parametrize("num_cameras", [1, 2])
def test_predict__of_folders_follows_links_in_them(model: Model, root: Path, tmp_path: Path, num_cameras: int) -> None:
    folders = [tmp_path / "links/rgb", tmp_path / "links/ir"][:num_cameras]
    for folder, file in zip(folders, files(root, 0), strict=False):
        folder.mkdir(parents=True)
        (folder / "linked.png").symlink_to(file)
    found = model.predict(*[*folders, None][:2], **ALL)
    assert isinstance(found, list)
    assert [result.key for result in found] == ["linked"]
