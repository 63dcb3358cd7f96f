from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.support.descriptors import COCO_SOURCE, folders, write_coco, write_counts, write_descriptor
from tests.support.pairs import exif_of, make_pairs, pairs_of, random_pair, save_stored, write_pair
from yolofuse.data.images.read_pair import read_pair
from yolofuse.errors import DataError


def _copy(source: str, target: str) -> Callable[[Path], None]:
    def copy(root: Path) -> None:
        shutil.copy(root / source, root / target)

    return copy


def _write_image(name: str, pixels: np.ndarray) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        assert cv2.imwrite(str(root / name), pixels)

    return write


def _truncate(name: str) -> Callable[[Path], None]:
    def truncate(root: Path) -> None:
        file = root / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size * 3 // 4])

    return truncate


def _claim_to_be_huge(root: Path) -> None:
    file = root / "ir" / "train" / "train_001.png"
    content = bytearray(file.read_bytes())
    content[16:24] = (11_000).to_bytes(4, "big") * 2  # width and height of a PNG's header
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    file.write_bytes(content)


RGB, IR = "rgb/train/train_001.png", "ir/train/train_001.png"


ERRORS: dict[str, tuple[Callable[[Path], None], str]] = {
    "other size": (_write_image(IR, np.zeros((32, 40), np.uint8)), "sizes differ: rgb 96x64, ir 40x32"),
    "quarter turn without EXIF": (
        _write_image(IR, np.zeros((96, 64), np.uint8)),
        "rgb 96x64, ir 64x96; one of them is turned by 90 degrees, .*: turn the files of that camera$",
    ),
    "16-bit IR": (_write_image(IR, np.zeros((64, 96), np.uint16)), "16 bits, which need a window"),
    "16-bit RGB": (_write_image(RGB, np.zeros((64, 96, 3), np.uint16)), "the visible image has 16 bits per channel"),
    "truncated JPEG": (_truncate("rgb/train/train_000.jpg"), r"train_000\.jpg: can't be decoded"),
    "truncated PNG": (_truncate(IR), r"train_001\.png: can't be decoded"),
    "no image": (_copy("data.yaml", IR), r"train_001\.png: can't be decoded"),
    "image bomb": (_claim_to_be_huge, "11000x11000 is more than 100 million pixels"),
}


@pytest.mark.parametrize(("break_it", "message"), ERRORS.values(), ids=ERRORS.keys())
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_error__is_named(tmp_path: Path, break_it: Callable[[Path], None], message: str) -> None:
    descriptor = make_pairs(tmp_path, 2, 0)
    write_pair(tmp_path, "train", "train_000", random_pair(0), (".jpg", ".png"))
    (tmp_path / "rgb" / "train" / "train_000.png").unlink()
    assert len(pairs_of(descriptor)) == 2
    break_it(tmp_path)
    with pytest.raises(DataError, match=message):
        pairs_of(descriptor)


def test_truncated_jpeg__is_found_even_where_pil_is_lenient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    descriptor = make_pairs(tmp_path, 2, 0, suffixes=(".jpg", ".jpg"))
    _truncate("ir/train/train_001.jpg")(tmp_path)
    with pytest.raises(DataError, match="can't be decoded"):
        pairs_of(descriptor)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff"])
def test_pair_stored_turned__is_read_as_the_upright_one(tmp_path: Path, suffix: str, orientation: int) -> None:
    bgr, ir, _ = random_pair(0)
    for key in ("pair", "upright"):
        write_pair(tmp_path, "train", key, random_pair(0))
    for kind, pixels in (("rgb", bgr[..., ::-1]), ("ir", ir)):
        file = tmp_path / kind / "train" / "pair.png"
        file.unlink()
        save_stored(file.with_suffix(suffix), pixels, orientation)
    pairs = pairs_of(write_descriptor(tmp_path, {"train": folders()}))
    pair, upright = (read_pair(record) for record in pairs.records)
    assert pairs.records[0].size_hw == (64, 96)
    np.testing.assert_allclose(pair.astype(int), upright.astype(int), atol=5 if suffix == ".jpg" else 0)
    half = read_pair(pairs.records[0], (32, 48))
    np.testing.assert_allclose(half.astype(int), read_pair(pairs.records[1], (32, 48)).astype(int), atol=3)


def test_images_stored_turned__are_told_once_per_split_and_may_be_read_as_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    descriptor = make_pairs(tmp_path, 3, 0)
    before = pairs_of(descriptor).fingerprint
    for number in (0, 1):
        save_stored(tmp_path / "rgb" / "train" / f"train_00{number}.png", random_pair(number)[0][..., ::-1], 3)
    hashes = {before, pairs_of(descriptor).fingerprint}
    assert len(hashes) == 2  # other pixels are learnt
    caplog.clear()
    pairs_of(descriptor)  # from the cache
    told = [record.getMessage() for record in caplog.records if "EXIF orientation" in record.getMessage()]
    assert len(told) == 1
    assert "2 visible and 0 thermal images are stored turned or mirrored (EXIF orientation), such as" in told[0]
    assert "train_000.png; they are read upright; if labels are in pixels as stored, set orientation: ignore" in told[0]
    pairs = pairs_of(write_descriptor(tmp_path, {"train": folders()}, orientation="ignore"))
    assert "read as stored (orientation: ignore)" in caplog.text
    assert pairs.fingerprint == before
    assert pairs.formats[0].orientation == "ignore"
    stored = cv2.imread(str(pairs.records[0].rgb), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    np.testing.assert_array_equal(read_pair(pairs.records[0])[..., 2::-1], stored)


def test_quarter_turn__that_fits_nothing_names_the_option(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", "0001", random_pair(0))
    file = tmp_path / "rgb" / "train" / "0001.png"
    Image.open(file).save(file, exif=exif_of(6))
    with pytest.raises(DataError, match=r"rgb 64x96, ir 96x64; .*EXIF orientation 6.* set orientation: ignore"):
        pairs_of(write_descriptor(tmp_path, {"train": folders()}))
    write_coco(tmp_path / "gt.json", {1: "0001.png"}, size_hw=(64, 96))
    with pytest.raises(DataError, match=r"says 96x64, but the frame is 64x96; .* set orientation: ignore"):
        pairs_of(write_descriptor(tmp_path, {"train": COCO_SOURCE}, resize="stretch"))


def test_coco__of_turned_images_is_refused_and_of_scaled_ones_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_pair(tmp_path, "train", "0001", random_pair(0, (64, 96)))
    descriptor = write_descriptor(tmp_path, {"train": COCO_SOURCE})
    write_coco(tmp_path / "gt.json", {1: "0001.png"}, size_hw=(96, 64))
    with pytest.raises(DataError, match="says 64x96, but the frame is 96x64; labelled on rotated images"):
        pairs_of(descriptor)
    write_coco(tmp_path / "gt.json", {1: "0001.png"}, size_hw=(128, 192))
    assert len(pairs_of(descriptor)) == 1
    assert "its boxes are scaled" in caplog.text


SIZES: dict[str, tuple[list[tuple[int, int]], list[tuple[int, int]], str]] = {
    "another shape": ([(64, 96)], [(96, 128)], "says 128x96, but the frame is 96x64; no scaling turns one into"),
    "same side": ([(64, 96)], [(72, 96)], "says 96x72, but the frame is 96x64; no scaling turns one into"),
    "exchanged": ([(32, 48), (64, 96)], [(64, 96), (32, 48)], "2 problems.*off by other factors for other images"),
}


@pytest.mark.parametrize(("sizes_hw", "stated_hw", "message"), SIZES.values(), ids=SIZES.keys())
def test_coco_sizes_of_other_files__are_refused(
    tmp_path: Path, sizes_hw: list[tuple[int, int]], stated_hw: list[tuple[int, int]], message: str
) -> None:
    descriptor = _coco_with_sizes(tmp_path, sizes_hw, stated_hw)
    with pytest.raises(DataError, match=rf"(?s){message}"):
        pairs_of(descriptor)


@pytest.mark.parametrize(
    ("sizes_hw", "stated_hw", "num_scaled"),
    [
        ([(64, 96), (48, 64)], [(64, 96), (48, 64)], 0),
        ([(64, 96), (48, 64)], [(128, 192), (96, 128)], 2),
        ([(64, 96), (63, 96)], [(128, 192), (127, 193)], 2),
        ([(64, 96), (54, 96)], [(128, 192), (1080, 1920)], 2),
        ([(64, 96), (48, 64)], [(64, 96), (96, 128)], 1),
    ],
    ids=["equal", "one-factor", "rounded", "to-one-side", "some"],
)
def test_coco_sizes__that_one_resizing_explains_are_scaled_and_counted(
    tmp_path: Path,
    sizes_hw: list[tuple[int, int]],
    stated_hw: list[tuple[int, int]],
    num_scaled: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert pairs_of(_coco_with_sizes(tmp_path, sizes_hw, stated_hw)).num_boxes == 2
    assert (f"gives other sizes than {num_scaled} of 2 images have" in caplog.text) == (num_scaled > 0)


def _coco_with_sizes(root: Path, sizes_hw: list[tuple[int, int]], stated_hw: list[tuple[int, int]]) -> Path:
    """Write pairs of these sizes and a COCO file that states others; return the descriptor."""
    for number, size_hw in enumerate(sizes_hw):
        write_pair(root, "train", f"000{number}", random_pair(number, size_hw))
    write_coco(root / "gt.json", {number: f"000{number}.png" for number in range(len(sizes_hw))})
    document = json.loads((root / "gt.json").read_text())
    for image, (height, width) in zip(document["images"], stated_hw, strict=True):
        image.update(width=width, height=height)
    (root / "gt.json").write_text(json.dumps(document))
    return write_descriptor(root, {"train": COCO_SOURCE})


def test_coco_sizes_of_the_other_modality__ask_for_its_frame(tmp_path: Path) -> None:
    bgr, _, boxes = random_pair(0, (70, 100))
    write_pair(tmp_path, "train", "pair", (bgr, np.zeros((25, 40), np.uint8), boxes))
    write_coco(tmp_path / "gt.json", {1: "pair.png"}, size_hw=(25, 40))
    with pytest.raises(DataError, match="the size of the other image: set frame: ir"):
        pairs_of(write_descriptor(tmp_path, {"train": COCO_SOURCE}, resize="stretch"))
    assert len(pairs_of(write_descriptor(tmp_path, {"train": COCO_SOURCE}, resize="stretch", frame="ir"))) == 1


def test_depths__mixed_under_one_window_are_reported(tmp_path: Path) -> None:
    for index in range(3):
        write_counts(tmp_path, f"pair{index}", np.full((64, 96), 7000 + index, np.uint16))
    make_pairs(tmp_path, 1, 0)
    with pytest.raises(DataError, match=r"train_000\.png: 8 bits, but most images with its ir_window have 16"):
        pairs_of(write_descriptor(tmp_path, {"train": folders()}, ir_window=[7000, 8000]))


def test_depths__mixed_over_sources_of_one_window_are_reported(tmp_path: Path) -> None:
    for index in range(3):
        write_counts(tmp_path, f"pair{index}", np.full((64, 96), 7000 + index, np.uint16))
    make_pairs(tmp_path, 0, 2)
    sources = [{**folders(), "name": "a"}, {**folders("val"), "name": "b"}]
    with pytest.raises(DataError, match=r"val_000\.png: 8 bits, but most images with its ir_window have 16"):
        pairs_of(write_descriptor(tmp_path, {"train": sources}, ir_window=[100, 200]))
    sources[1]["ir_window"] = [0, 255]
    assert len(pairs_of(write_descriptor(tmp_path, {"train": sources}, ir_window=[7000, 8000]))) == 5


def test_polygons__are_counted_once_per_split(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    descriptor = make_pairs(tmp_path, 3, 0)
    for number in (0, 2):
        label = tmp_path / "labels" / "train" / f"train_00{number}.txt"
        label.write_text("0 .2 .2 .4 .2 .3 .5\n0 .6 .6 .9 .6 .9 .9 .6 .9\n")
    for _ in range(2):  # read, and from the cache
        caplog.clear()
        assert pairs_of(descriptor).num_boxes == 5
        (warning,) = caplog.messages
        assert warning.endswith("[train]: 4 polygons in 2 label files are used as the boxes around them")
