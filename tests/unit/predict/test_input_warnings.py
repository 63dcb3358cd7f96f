"""Pairs that can be read, and are not what the detector was trained on: predict tells, or refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.pairs import make_pairs, pairs_of, random_pair
from tests.support.runs import write_config
from yolofuse.config import load_config
from yolofuse.engine.loaded_detector import LoadedDetector
from yolofuse.errors import DataError
from yolofuse.predict.model import Limits, Model
from yolofuse.types import ByteArray, PairFormat

ALL: Limits = {"conf": 1e-7, "max_det": 20}


def pair(size_hw: tuple[int, int] = (64, 96), ir_hw: tuple[int, int] | None = None) -> tuple[ByteArray, ByteArray]:
    return random_pair(0, size_hw)[0][..., ::-1], random_pair(0, ir_hw or size_hw)[1]


def knows(model: Model, overlays: list[list[float]], pair_format: PairFormat | None = None) -> LoadedDetector:
    """Return the detector as if the images of its training pairs had lain so."""
    loaded = replace(model.loaded, content={**model.loaded.content, "overlays": overlays})
    return replace(loaded, formats=(pair_format or PairFormat(),))


def test_exchanged_lists__are_told(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    rgb, ir = zip(*(pair() for _ in range(3)), strict=True)
    list(model.stream(rgb, ir, **ALL))
    assert "exchanged" not in caplog.text
    coloured = [np.dstack([image, image // 2, image]) for image in ir]
    with pytest.raises(DataError, match="ir array must be"):
        list(model.stream(coloured, rgb, **ALL))
    with pytest.raises(DataError, match="ir array must be"):
        list(model.stream([np.dstack([image] * 3) for image in ir], rgb, **ALL))
    assert caplog.text.count("rgb has no colour and ir has; are they exchanged?") == 1


@pytest.mark.parametrize(
    ("overlays", "ir_hw", "told"),
    [
        ([[1.0, 1.0]], (64, 96), ""),
        ([[1.0, 1.0]], (63, 95), ""),  # by rounding
        ([[1.0, 1.0]], (32, 48), "ir 48x32: ir is stretched over rgb; as in no pair of training"),
        ([[1.0, 1.0], [2.0, 2.0]], (32, 48), ""),
        ([[1.0, 1.0]], (64, 81), "ir 81x64: ir is stretched over rgb; as in no pair of training"),
        ([], (32, 48), ""),  # a checkpoint of an older version
        ([], (64, 82), "ir 82x64: ir is stretched over rgb; was it so in training?"),
    ],
)
def test_images_that_lie_otherwise_than_in_training__are_told(
    model: Model, overlays: list[list[float]], ir_hw: tuple[int, int], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    knows(model, overlays).preprocess([pair(ir_hw=ir_hw)])
    assert told in caplog.text
    assert ("stretched" in caplog.text) == bool(told)


def test_an_affine_map__is_refused_for_images_of_other_sizes(model: Model) -> None:
    affine = PairFormat(affine=(2, 0, 0, 0, 2, 0))
    loaded = knows(model, [[64, 96, 32, 48]], affine)
    assert loaded.preprocess([pair(ir_hw=(32, 48))]).pixels.shape[1] == 4
    with pytest.raises(
        DataError, match=r"rgb is 192x128, ir 48x32, but the affine map of training is for 96x64 and 48"
    ):
        loaded.preprocess([pair((128, 192), (32, 48))])
    assert loaded.preprocess([pair((128, 192), (32, 48))], replace(affine, affine=(4, 0, 0, 0, 4, 0))).pixels.any()


def test_overlays__are_those_of_pairs_with_both_images(tmp_path: Path) -> None:
    sizes = [(64, 96), (32, 48)]
    descriptor = make_pairs(tmp_path, 4, 0, pair_at=lambda index: random_pair(index, sizes[index % 2]))
    assert pairs_of(descriptor).overlays == [(1.0, 1.0)]
    text = "resize: {affine: [[1, 0, 3], [0, 1, 0]]}\n"
    descriptor.write_text(descriptor.read_text() + text)
    assert sorted(pairs_of(descriptor).overlays) == [(32, 48, 32, 48), (64, 96, 64, 96)]


@pytest.mark.parametrize("streams", ["rgb", "ir"])
def test_a_detector_of_one_camera__refuses_the_other_alone(model: Model, tmp_path: Path, streams: str) -> None:
    config = load_config(write_config(tmp_path, tmp_path / "data.yaml"), [f"model.streams={streams}"])
    alone = Model(replace(model.loaded, config=config))
    rgb, ir = pair()
    given = (None, ir) if streams == "rgb" else (rgb, None)
    with pytest.raises(DataError, match=f"pair 1: the detector sees {streams.upper()} images alone; give {streams}"):
        alone.predict(*given, **ALL)


@pytest.mark.parametrize(("low", "told"), [(7000, False), (3000, True), (9500, True)])
def test_counts_outside_the_window__are_told_once(
    model: Model, low: int, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    thermal = Model(knows(model, [], PairFormat(ir_window=(7000, 9000), bits=16)))
    rgb, ir = pair()
    for _ in range(2):
        thermal.predict(rgb, low + 5 * ir.astype(np.uint16), **ALL)
    text = "nearly all its IR counts lie outside the window 7000..9000 of training"
    assert caplog.text.count(text) == told


def test_arrays_of_booleans__are_refused(model: Model) -> None:
    rgb, ir = pair()
    with pytest.raises(DataError, match="rgb array must be uint8"):
        model.predict(rgb > 0, ir > 0, **ALL)


def test_files_of_both_images__are_not_taken_for_one(model: Model, tmp_path: Path) -> None:
    file = tmp_path / "both.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 4), dtype=np.uint8)).save(file)
    loaded = knows(model, [[1.0, 1.0]], PairFormat(stacked=True))
    assert loaded.preprocess([(file, file)]).pixels[0, 3].float().std() > 0
    for given in ((file, None), (None, file), (file, tmp_path / "other.png")):
        with pytest.raises(DataError, match="held both images; give the same file as rgb and ir"):
            loaded.preprocess([given])
    one_camera = replace(loaded, config=load_config(write_config(tmp_path), ["model.streams=rgb"]))
    assert one_camera.preprocess([(file, None)]).pixels[0, :3].float().std() > 0
