"""Test scripts.data_sets.roadscene_flir on drawn frames, and its boxes against the real labels."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from scripts.data_sets import layout
from scripts.data_sets.roadscene_flir import (
    build,
    fit_homography,
    map_boxes,
    read_boxes,
    split_of,
    visible_boxes,
)
from scripts.paths import REPO
from tests.support.convert_trees import labels, pixels, text
from tests.support.pairs import real_data
from yolofuse.convert.conversion_plan import SourceBox
from yolofuse.convert.source_folder import SourceFolder
from yolofuse.data import load_descriptor, load_pairs
from yolofuse.errors import DataError
from yolofuse.types import ByteArray

FRAME_WH, CROP_WH = (640, 512), (500, 330)
WARP = np.array([[0.87, 0.02, -30.0], [-0.01, 0.78, -20.0], [1e-5, -5e-5, 1.0]])
BOX = (200.0, 180.0, 290.0, 260.0)
HEADER = "image_name,class_id,xmin,xmax,ymin,ymax\n"


def _draw_frame(seed: int) -> ByteArray:
    """Draw grey rectangles, whose corners are features."""
    rng = np.random.default_rng(seed)
    frame = np.full(FRAME_WH[::-1], 90, np.uint8)
    for _ in range(200):
        x0, y0, width, height, grey = (int(value) for value in rng.integers([0, 0, 8, 8, 0], [600, 470, 68, 68, 255]))
        cv2.rectangle(frame, (x0, y0), (x0 + width, y0 + height), grey, -1)
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), 1.0), np.uint8)


def _warp(frame: ByteArray) -> ByteArray:
    return np.asarray(cv2.warpPerspective(frame, WARP, CROP_WH, flags=cv2.INTER_CUBIC), np.uint8)


def _expected(box: tuple[float, float, float, float]) -> npt.NDArray[np.float64]:
    """Return the sides of a mapped box, by hand."""
    x0, y0, x1, y1 = box
    corners = np.array([(x0, y0, 1), (x1, y0, 1), (x1, y1, 1), (x0, y1, 1)]) @ WARP.T
    x, y = (corners[:, :2] / corners[:, 2:]).T
    return np.array([x[0] + x[3], y[0] + y[1], x[1] + x[2], y[2] + y[3]]) / 2


def _write_tree(root: Path, crop: ByteArray | None = None) -> tuple[Path, list[Path]]:
    """Write a clone with a pair of train, one of val and two that are held out; return it and its CSVs of boxes."""
    for number, name in enumerate(("FLIR_00006", "FLIR_03801", "FLIR_01500", "FLIR_video_00018")):
        frame = _draw_frame(number)
        pair = _warp(frame) if crop is None else crop
        images = {"infrared": frame, "cropinfrared": pair, "crop_LR_visible": cv2.merge([pair] * 3)}
        for folder, image in images.items():
            (root / "RoadScene" / folder).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(root / "RoadScene" / folder / f"{name}.jpg"), image)
    dog_and_outside = "FLIR_00006.jpeg,17,200,290,180,260\nFLIR_00006.jpeg,1,0,30,0,20\n"
    train = text(root / "training.csv", f"{HEADER}FLIR_00006.jpeg,3,200,290,180,260\n{dog_and_outside}")
    val = "FLIR_03801.jpeg,1,300,330,200,280\nFLIR_03801.jpeg,2,100,180,200,280\n"
    return root / "RoadScene", [train, text(root / "validation.csv", HEADER + val)]


def test_fit__finds_a_known_warp() -> None:
    frame = _draw_frame(0)
    found = map_boxes(np.array([BOX]), fit_homography(frame, _warp(frame)))
    np.testing.assert_allclose(found, [_expected(BOX)], atol=0.3)


@pytest.mark.parametrize("crop", [np.zeros(CROP_WH[::-1], np.uint8), _draw_frame(9)], ids=["blank", "another frame"])
def test_fit__refuses_a_crop_of_nothing_similar(crop: ByteArray) -> None:
    with pytest.raises(DataError, match="not found in its frame"):
        fit_homography(_draw_frame(0), crop)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10, 10, 50, 50), (10, 10, 50, 50)),
        ((-80, 10, 20, 30), (0, 10, 20, 30)),  # 20 % inside
        ((-81, 10, 19, 30), None),
        ((60, 90, 80, 130), (60, 90, 80, 100)),
        ((97, 10, 105, 30), (97, 10, 100, 30)),  # 3 px inside
        ((97.1, 10, 105, 30), None),
        ((10, 10, 12.9, 50), None),
        ((-50, -50, -10, -10), None),
    ],
)
def test_boxes__are_clipped_or_dropped(box: tuple[float, ...], expected: tuple[float, ...] | None) -> None:
    x0, y0, x1, y1 = box
    kept = visible_boxes([SourceBox(2, (x0, y0, x1, y1), "here")], np.eye(3), (100, 100))
    assert [(one.class_id, one.xyxy) for one in kept] == ([(2, expected)] if expected else [])


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", ["FLIR_00006", "FLIR_00999", "FLIR_02000", "FLIR_03800", "FLIR_04072", "FLIR_06963", "FLIR_08720"]),
        ("val", ["FLIR_03801", "FLIR_04071", "FLIR_06307", "FLIR_06962", "FLIR_07968", "FLIR_08592"]),
        (None, ["FLIR_01000", "FLIR_01999", "FLIR_08721", "FLIR_10228", "FLIR_video_00018", "Thumbs"]),
    ],
)
def test_split__is_by_blocks_of_ids(split: str | None, names: list[str]) -> None:
    assert {split_of(name) for name in names} == {split}


def test_whole_run__is_read_by_the_descriptor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    src, files = _write_tree(tmp_path)
    build(src, files, tmp_path / "out")
    printed = capsys.readouterr().out
    assert "train: 1 pairs; boxes: 0 person, 0 bicycle, 1 car; data hash" in printed
    assert "val: 1 pairs; boxes: 1 person, 1 bicycle, 0 car; data hash" in printed
    descriptor = load_descriptor(REPO / "configs" / "data" / "roadscene-flir.yaml", tmp_path / "out")
    for split, classes in (("train", [2]), ("val", [0, 1])):
        pairs = load_pairs(descriptor, split, cache_dir=tmp_path / "cache")
        assert pairs.scan.class_ids.tolist() == classes
        assert [record.tags for record in pairs.records] == [{"daynight": "unknown"}]
    (line,) = labels(tmp_path / "out", "labels/train/FLIR_00006.txt")
    np.testing.assert_allclose(pixels(line, CROP_WH)[1], _expected(BOX), atol=0.3)
    copy, original = (root / "FLIR_00006.jpg" for root in (tmp_path / "out/imagesIR/train", src / "cropinfrared"))
    assert copy.read_bytes() == original.read_bytes()
    assert not list((tmp_path / "out").rglob("FLIR_01500*"))


def test_wrong_clone__every_problem_is_named(tmp_path: Path) -> None:
    src, (file, _) = _write_tree(tmp_path)
    file.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"training\.csv:2: expected image_name,class_id") as caught:
        build(src, [file, tmp_path / "absent.csv"], tmp_path / "out")
    assert "absent.csv: can't be read" in str(caught.value)
    file.write_text(HEADER)
    (src / "infrared" / "FLIR_00006.jpg").unlink()
    assert cv2.imwrite(str(src / "infrared" / "FLIR_03801.jpg"), np.zeros((64, 64), np.uint8))
    with pytest.raises(DataError, match="FLIR_00006: not in all of crop_LR_visible, cropinfrared, infrared") as caught:
        build(src, [file], tmp_path / "out")
    assert "FLIR_03801.jpg: expected (height, width) (512, 640), got (64, 64)" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_command__a_missing_folder_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    src, (file, _) = _write_tree(tmp_path)
    (src / "infrared").rename(src / "thermal")
    monkeypatch.setattr(sys, "argv", ["x", "--src", str(src), "--boxes", str(file), "--out", str(tmp_path / "out")])
    assert layout.command(None, build, "CSVs") == 2
    assert "no folder infrared; is --src the folder that holds it?" in capsys.readouterr().err


@pytest.mark.real
def test_real_boxes__become_the_real_labels() -> None:
    root = real_data("roadscene-flir")
    boxes = read_boxes(SourceFolder(root), [root / "annotations" / "flir_original_boxes_640x512.csv"])
    homographies = json.loads((root / "annotations" / "homographies.json").read_text())
    num_boxes, largest = 0, 0.0
    for file in sorted((root / "labels").glob("*/*.txt")):
        assert split_of(file.stem) == file.parent.name
        width, height = homographies[file.stem]["crop_wh"]
        matrix = np.array(homographies[file.stem]["H_ir640x512_to_crop"])
        visible = visible_boxes(boxes.get(file.stem, []), matrix, (height, width))
        lines = layout.label_lines(visible, (height, width))
        made, real = (np.array(one.split(), float).reshape(-1, 5) for one in (lines, file.read_text()))
        assert made.shape == real.shape, file
        assert (made[:, 0] == real[:, 0]).all(), file
        num_boxes += len(real)
        deviation = np.abs(made - real)[:, 1:] * (width, height, width, height)
        largest = max(largest, deviation.max(initial=0))
    print(f"largest deviation: {largest:.6f} px")
    assert (num_boxes, largest < 1e-3) == (653 + 360, True)
