"""Videos, tracks and tiles: frames arrive as pairs with times, objects keep numbers, tiles find what the whole does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest

from tests.support.pairs import random_pair
from yolofuse.batch import PairedBatch
from yolofuse.cli import predict as predict_cli
from yolofuse.config.schema import ValConfig
from yolofuse.engine.loaded_detector import LoadedDetector, OpenPair
from yolofuse.errors import ConfigError
from yolofuse.predict import load as predict_load
from yolofuse.predict.model import Model
from yolofuse.predict.result import PairDetections
from yolofuse.predict.sources import PairInput
from yolofuse.predict.tiles import detect_in_tiles
from yolofuse.predict.tracking import Tracker
from yolofuse.predict.writers import open_writers
from yolofuse.types import PairFormat, PairRecord
from yolofuse.video import VideoReader

pytest.importorskip("av")
pytest.importorskip("trackers")
videos_support = pytest.importorskip("tests.support.videos")
streams_support = pytest.importorskip("tests.support.streams")

SIZE_HW = (64, 96)


def videos(folder: Path) -> tuple[Path, Path]:
    """Write a second of RGB at 10 and of IR at 5 frames a second."""
    rgb, ir = folder / "rgb.mp4", folder / "ir.mp4"
    videos_support.encode(rgb, ((number / 10, random_pair(number, SIZE_HW)[0][..., ::-1]) for number in range(10)))
    videos_support.encode(ir, ((number / 5, random_pair(2 * number, SIZE_HW)[1]) for number in range(5)))
    return rgb, ir


def test_predict__of_two_videos_pairs_their_frames_by_time(model: Model, tmp_path: Path) -> None:
    found = model.predict(*videos(tmp_path), conf=1e-7, max_det=5)
    assert isinstance(found, list)
    np.testing.assert_allclose([result.time_s or 0.0 for result in found], [0, 0.2, 0.4, 0.6, 0.8], atol=1e-6)
    assert [result.key for result in found[:2]] == ["000000", "000001"]
    again = model.predict(found[1].pixels()[..., :3], found[1].pixels()[..., 3], conf=1e-7, max_det=5)
    assert isinstance(again, PairDetections)
    assert np.array_equal(again.boxes_xyxy, found[1].boxes_xyxy)


@pytest.mark.parametrize("exchanged", [True, False])
def test_predict__exchanged_videos_are_told(
    model: Model, tmp_path: Path, exchanged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    given = videos(tmp_path)
    model.predict(*(given[::-1] if exchanged else given), conf=1e-7, max_det=1)
    assert ("rgb has no colour and ir has; are they exchanged?" in caplog.text) == exchanged


def test_predict__of_one_video_leaves_the_other_camera_black(model: Model, tmp_path: Path) -> None:
    found = list(model.stream(None, videos(tmp_path)[1], conf=1e-7, max_det=1))
    assert [result.record.missing for result in found] == ["rgb"] * 5


def test_stream__of_one_camera_leaves_the_other_black(model: Model) -> None:
    with streams_support.StreamServer(25) as server:
        found = list(islice(model.stream(None, server.url, conf=1e-7, max_det=1), 3))
    assert [result.record.missing for result in found] == ["rgb"] * 3
    assert [result.key for result in found] == ["000000", "000001", "000002"]


def test_video_of_pictures__has_the_size_of_the_first(model: Model, tmp_path: Path) -> None:
    (writer,) = open_writers(tmp_path / "out", ["video"], ("rgb", "ir"), "grey")
    for number, size_hw in enumerate([(64, 96), (96, 64), (32, 300)]):
        bgr, ir, _ = random_pair(number, size_hw)
        for found in model.stream([bgr], [ir]):
            writer.write(found)
    writer.close()
    assert len([*VideoReader(tmp_path / "out/video.mp4")]) == 3


def test_command__writes_a_video_with_the_times_of_its_frames(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(predict_load, "load", lambda *_: model)
    rgb, ir = map(str, videos(tmp_path))
    out = tmp_path / "out"
    words = ["--weights", str(tmp_path), "--rgb", rgb, "--ir", ir, "--out", str(out), "--conf", "0.0001", "--track"]
    assert predict_cli.main(words) == 0
    assert "without a partner in time: 4 visible and 0 thermal frames" in capsys.readouterr().out
    np.testing.assert_allclose([frame.time_s for frame in VideoReader(out / "video.mp4")], [0, 0.2, 0.4, 0.6, 0.8])
    assert (out / "detections.csv").is_file()


def frame(number: int, *boxes: tuple[float, float, int, float]) -> PairDetections:
    """Return a frame with boxes of 20 px at (x, y), of a class with a score."""
    corners = np.array([[x, y, x + 20, y + 20] for x, y, _, _ in boxes], np.float32).reshape(-1, 4)
    record = PairRecord(1, str(number), Path(), Path(), None, SIZE_HW, SIZE_HW)
    scores = np.array([score for *_, score in boxes], np.float32)
    class_ids = np.array([class_id for _, _, class_id, _ in boxes], np.int64)
    return PairDetections(1, corners, scores, class_ids, ("person", "car"), record, time_s=number / 10)


def test_tracker__keeps_numbers_by_class_through_weak_frames() -> None:
    tracker = Tracker(0.25)
    numbers: dict[int, set[int]] = {0: set(), 1: set()}
    for number in range(12):
        weak = 0.12 if number == 8 else 0.9
        found = tracker.update(frame(number, (number, 5, 0, weak), (60 - number, 5, 1, 0.8), (40, 40, 0, 0.15)))
        assert found.track_ids is not None
        assert len(found) == 2  # the third continues no track
        if number > 2:
            for class_id, track_id in zip(found.class_ids.tolist(), found.track_ids.tolist(), strict=True):
                numbers[class_id].add(track_id)
    assert numbers == {0: {1}, 1: {2}} or numbers == {0: {2}, 1: {1}}
    assert len(tracker.update(frame(12))) == 0


def test_track__leaves_out_what_cannot_be_read_if_it_is_told_to(model: Model, tmp_path: Path) -> None:
    bgr, ir, _ = random_pair(1, SIZE_HW)
    (tmp_path / "bad.png").write_bytes(b"no image")
    inputs = [PairInput((bgr, ir)), PairInput((tmp_path / "bad.png", ir)), PairInput((bgr, ir))]
    errors: list[str] = []
    found = [*model.track_inputs(inputs, lambda _, error: errors.append(str(error)), conf=1e-7)]
    assert (len(found), len(errors)) == (2, 1)


def test_tiles__find_boxes_at_their_places_once() -> None:
    image = np.zeros((120, 200, 4), np.uint8)
    image[50:70, 88:108] = 255  # in the part that two tiles share
    image[10:30, 10:30] = 255

    def detect(pairs: list[tuple[object, object]], pair_format: PairFormat) -> list[PairDetections]:
        found = []
        for rgb, ir in pairs:
            assert isinstance(rgb, np.ndarray)
            assert isinstance(ir, np.ndarray)
            _, _, stats, _ = cv2.connectedComponentsWithStats(ir)
            boxes = [(left, top, 0, 0.9) for left, top, *_ in stats[1:].tolist()]
            found.append(frame(0, *boxes))
        return found

    record = PairRecord(7, "a", Path(), Path(), None, (120, 200), (120, 200))
    limits = ValConfig(iou=0.5)
    found = detect_in_tiles(record, image, detect, 112, 30, limits)  # type: ignore[arg-type]
    assert sorted(found.boxes_xyxy.tolist()) == [[10, 10, 30, 30], [88, 50, 108, 70]]
    assert found.image_id == 7
    with pytest.raises(ConfigError, match="overlap: must be from 0 on"):
        detect_in_tiles(record, image, detect, 64, 64, limits)  # type: ignore[arg-type]
    assert len(detect_in_tiles(record, image, detect, 112, 30, ValConfig(max_det=1))) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize("bits", [8, 16])
def test_predict__in_tiles_of_the_whole_frame_is_that_of_the_frame(model: Model, bits: Literal[8, 16]) -> None:
    bgr, levels, _ = random_pair(1, SIZE_HW)
    ir: np.ndarray = levels
    if bits == 16:
        model = Model(replace(model.loaded, formats=(PairFormat(ir_window=(20000, 22550), bits=16),)))
        ir = levels.astype(np.uint16) * 10 + 20000
    whole = model.predict(bgr, ir, conf=1e-7, max_det=5, iou=1.0)
    tiled = model.predict(bgr, ir, conf=1e-7, max_det=5, iou=1.0, tile=96, overlap=0)
    assert isinstance(whole, PairDetections)
    assert isinstance(tiled, PairDetections)
    np.testing.assert_allclose(tiled.boxes_xyxy, whole.boxes_xyxy, atol=1e-4)
    np.testing.assert_allclose(tiled.scores, whole.scores, rtol=1e-5)
    assert tiled.ms["detect"] > tiled.ms["read"]


def test_predict__in_tiles_warns_once_of_a_missing_camera(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    bgr, _, _ = random_pair(1, SIZE_HW)
    assert len([*model.stream([bgr] * 2, None, conf=1e-7, tile=48, overlap=0)]) == 2
    assert sum("pairs without an ir image" in record.message for record in caplog.records) == 1


def test_predict__in_tiles_smaller_than_the_usual_overlap_is_no_endless_work(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiles: list[int] = []
    collate = LoadedDetector.collate

    def counted(self: LoadedDetector, pairs: Sequence[OpenPair]) -> PairedBatch:
        tiles.append(len(pairs))
        return collate(self, pairs)

    monkeypatch.setattr(LoadedDetector, "collate", counted)
    bgr, ir, _ = random_pair(0, (64, 96))
    model.predict(bgr, ir, tile=64)
    assert sum(tiles) == 2


def test_to_supervision__is_a_copy() -> None:
    found = frame(0, (1, 2, 1, 0.5))
    found.to_supervision().xyxy[0, 0] = -99
    assert found.boxes_xyxy[0, 0] >= 0


def test_to_supervision__has_classes_by_name(model: Model) -> None:
    given = frame(0, (1, 2, 1, 0.5), (3, 4, 0, 0.4)).to_supervision()
    assert [*given.data["class_name"]] == ["car", "person"]
    assert given.xyxy.tolist() == [[1, 2, 21, 22], [3, 4, 23, 24]]
