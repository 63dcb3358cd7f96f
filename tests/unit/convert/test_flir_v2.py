"""FLIR ADAS v2: pairs by map and by unique frame."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.convert_sources import flir_v2
from tests.support.convert_trees import descriptor, image, keys, labels, pixels, record
from yolofuse.convert import prepare
from yolofuse.errors import DataError


def test_flir_v2__pairs_by_map_and_by_unique_frame(tmp_path: Path) -> None:
    prepare("flir-adas-v2", flir_v2(tmp_path / "src"), tmp_path / "out")
    out = tmp_path / "out"
    assert keys(out, "train") == ["video-A-frame-000001-t1"]
    assert keys(out, "test") == ["video-T-frame-000000-t4", "video-T-frame-000001-t5"]
    rgb = out / "images" / "test" / "video-T-frame-000001-t5.jpg"
    assert rgb.readlink().name == "video-R-frame-000001-r5.jpg"
    assert [pixels(line) for line in labels(out, "labels/test/video-T-frame-000000-t4.txt")] == [(2, [8, 6, 24, 18])]
    left_out = {reason: found["count"] for reason, found in record(out)["left_out"].items()}
    assert left_out == {
        "pairs without a record in coco.json": 1,
        "thermal frames without a visible partner": 2,
        "visible frames without a thermal partner": 1,
    }
    assert record(out)["warnings"] == ["no pairs for the split val: it is left out"]
    assert sorted(descriptor(out)["splits"]) == ["test", "train"]


def test_flir_v2__several_candidates_are_left_out(tmp_path: Path) -> None:
    src = flir_v2(tmp_path / "src")
    image(src / "images_rgb_train" / "data" / "video-A-frame-000001-r9.jpg", (90, 80))
    prepare("flir-adas-v2", src, tmp_path / "out")
    assert record(tmp_path / "out")["left_out"]["thermal frames with several candidates"]["count"] == 1
    assert "train" not in descriptor(tmp_path / "out")["splits"]


def test_flir_v2__a_map_to_a_file_that_is_gone_is_a_problem(tmp_path: Path) -> None:
    src = flir_v2(tmp_path / "src")
    (src / "video_rgb_test" / "data" / "video-R-frame-000001-r5.jpg").unlink()
    with pytest.raises(DataError, match=r"r5.jpg -> video-T-frame-000001-t5.jpg: not in .*video_rgb_test/data"):
        prepare("flir-adas-v2", src, tmp_path / "out")
