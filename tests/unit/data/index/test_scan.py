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
from tests.support.pairs import make_pairs, pairs_of, random_pair, write_pair
from yolofuse.data.images.decode import inspect_image
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


def test_exif_orientation__is_ignored(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 1, 0, suffixes=(".jpg", ".png"))
    file = tmp_path / "rgb" / "train" / "train_000.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    with Image.open(file) as image:
        image.save(file, exif=exif)
    record = pairs_of(descriptor).records[0]
    assert record.size_hw == (64, 96)
    assert inspect_image(file, verify=True) == (64, 96, 8)


@pytest.mark.parametrize("orientation", [2, 3, 6])
def test_tiff__with_an_orientation_is_refused(tmp_path: Path, orientation: int) -> None:
    write_pair(tmp_path, "train", "pair", random_pair(0))
    (tmp_path / "ir" / "train" / "pair.png").unlink()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "ir" / "train" / "pair.tiff", tiffinfo={274: orientation})
    with pytest.raises(DataError, match=rf"pair\.tiff: stored turned or mirrored \(TIFF orientation {orientation}\)"):
        pairs_of(write_descriptor(tmp_path, {"train": folders()}))


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
    with pytest.raises(DataError, match=r"train_000\.png: 8 bits, but most of splits\.train have 16"):
        pairs_of(write_descriptor(tmp_path, {"train": folders()}, ir_window=[7000, 8000]))
