"""DroneVehicle: the border is cropped, and both label sets are kept."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.convert_sources import dronevehicle, polygon
from tests.support.convert_trees import descriptor, image, labels, pixels, record
from tests.support.pairs import save_stored
from yolofuse.convert import prepare
from yolofuse.errors import DataError


def test_dronevehicle__border_is_cut_and_both_labels_are_kept(tmp_path: Path) -> None:
    ir = polygon("feright car", 110, 120, 150, 110, 160, 140, 120, 150)
    ir += polygon("truvk", 0, 0, 130, 0, 130, 150, 0, 150)
    corners = "<xmin>100</xmin><ymin>100</ymin><xmax>740</xmax><ymax>612</ymax>"
    ir += f"<object><name>bus</name><bndbox>{corners}</bndbox></object>"
    ir += polygon("*", 1, 1, 2, 2, 3, 3, 4, 4) + "<object><name>van</name><point/></object>"
    rgb = polygon("car", 200, 200, 220, 200, 220, 230, 200, 230)
    prepare("dronevehicle", dronevehicle(tmp_path / "src", ir, rgb), tmp_path / "out")
    out = tmp_path / "out"
    for folder, channels in (("images", 3), ("imagesIR", 1)):
        pixel = cv2.imread(str(out / folder / "train" / "00001.jpg"), cv2.IMREAD_UNCHANGED)
        assert pixel is not None
        assert pixel.shape[:2] == (512, 640)
        assert (pixel.shape[2] if pixel.ndim == 3 else 1) == channels
        assert np.ptp(pixel) <= 2  # nothing of the white border is left
    found = [pixels(line, (640, 512)) for line in labels(out, "labels/train/00001.txt")]
    assert found == [(4, [10, 10, 60, 50]), (1, [0, 0, 30, 50]), (2, [0, 0, 640, 512])]
    assert [pixels(line, (640, 512)) for line in labels(out, "labels_rgb/train/00001.txt")] == [
        (0, [100, 100, 120, 130])
    ]
    assert descriptor(out)["frame"] == "ir"
    assert "frame" not in descriptor(out, "data_rgb.yaml")
    assert descriptor(out, "data_rgb.yaml")["splits"]["train"]["labels"] == "labels_rgb/train"
    left_out = {reason: found["count"] for reason, found in record(out)["left_out"].items()}
    assert left_out == {"boxes of class '*'": 1, "objects without a polygon or a box": 1}


@pytest.mark.parametrize("orientation", [3, 6])
def test_dronevehicle__images_stored_turned_are_cut_upright(tmp_path: Path, orientation: int) -> None:
    src = dronevehicle(tmp_path / "src", polygon("car", 200, 200, 220, 200, 220, 230, 200, 230), "")
    upright = np.full((712, 840, 3), 40, np.uint8)
    upright[112:144, 112:144] = 220  # near the top left, also of what is cut
    save_stored(src / "train" / "trainimg" / "00001.jpg", upright, orientation)
    prepare("dronevehicle", src, tmp_path / "out")
    cut = cv2.imread(str(tmp_path / "out" / "images" / "train" / "00001.jpg"))
    assert cut is not None
    assert cut.shape == (512, 640, 3)
    np.testing.assert_allclose(cut, upright[100:-100, 100:-100], atol=12)


def test_dronevehicle__images_cut_before_are_refused(tmp_path: Path) -> None:
    src = dronevehicle(tmp_path / "src", "", "")
    for folder in ("trainimg", "trainimgr"):
        image(src / "train" / folder / "00001.jpg", (640, 512))
    with pytest.raises(DataError, match="is 640x512, but its annotations are for 840x712"):
        prepare("dronevehicle", src, tmp_path / "out")
