from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.support.descriptors import write_descriptor
from tests.support.pairs import make_pairs, pairs_of
from yolofuse.data.images.read_pair import read_pair
from yolofuse.data.images.stacked import decode_stacked
from yolofuse.errors import DataError

_RGBIR = np.random.default_rng(0).integers(0, 256, (20, 24, 4), dtype=np.uint8)
_SOURCE = {"rgbir": "both", "labels": "labels/train"}


def _write(file: Path, extra_samples: int | None = None, **options: Any) -> Path:
    Image.fromarray(_RGBIR).save(file, **options)
    if extra_samples is not None:  # what the fourth channel is, in the TIFF's entry of tag 338
        content = bytearray(file.read_bytes())
        content[content.index(b"\x52\x01\x03\x00\x01\x00\x00\x00") + 8] = extra_samples
        file.write_bytes(content)
    return file


@pytest.mark.parametrize(
    ("name", "extra_samples", "options"),
    [
        ("a.png", None, {}),
        ("a.tiff", None, {}),
        ("a.tif", None, {"compression": "tiff_lzw"}),
        ("a.tiff", 0, {}),
        ("a.tiff", 1, {}),
        ("a.webp", None, {"lossless": True, "exact": True}),
    ],
)
def test_decode_stacked__gives_the_channels_as_stored(
    tmp_path: Path, name: str, extra_samples: int | None, options: dict[str, Any]
) -> None:
    """None is multiplied or divided by the fourth, as transparency would be."""
    np.testing.assert_array_equal(decode_stacked(_write(tmp_path / name, extra_samples, **options)), _RGBIR)


def test_decode_stacked__written_by_opencv(tmp_path: Path) -> None:
    for name in ("a.png", "a.tiff"):
        assert cv2.imwrite(str(tmp_path / name), cv2.cvtColor(_RGBIR, cv2.COLOR_RGBA2BGRA))
        np.testing.assert_array_equal(decode_stacked(tmp_path / name), _RGBIR)


def test_decode_stacked__refuses_other_files(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    pages = [Image.fromarray(_RGBIR)] * 2
    exif = Image.Exif()
    exif[0x0112] = 6
    turned, cmyk = Image.fromarray(_RGBIR), Image.fromarray(_RGBIR, "CMYK")
    writers: dict[str, Callable[[], object]] = {
        "found RGB": lambda: Image.fromarray(_RGBIR[..., :3]).save(file),
        "found L": lambda: Image.fromarray(_RGBIR[..., 0]).save(file),
        "found 16 bits": lambda: cv2.imwrite(str(file), _RGBIR.astype(np.uint16) * 257),
        "found CMYK": lambda: cmyk.save(file, "TIFF"),
        "found several pages": lambda: pages[0].save(file, "TIFF", save_all=True, append_images=pages[1:]),
        "found a turned image": lambda: turned.save(file, exif=exif),
        "can't be decoded": lambda: file.write_bytes(b"no image"),
    }
    for found, write in writers.items():
        write()
        with pytest.raises(DataError, match=found):
            decode_stacked(file)


def _stack(root: Path) -> Path:
    """Write a data set of two files a pair, and join the files of each; return the descriptor of the latter."""
    make_pairs(root, 3, 0, size_hw=(64, 96))
    (root / "both").mkdir()
    for file in (root / "rgb" / "train").iterdir():
        bgr, ir = cv2.imread(str(file)), cv2.imread(str(root / "ir" / "train" / file.name), cv2.IMREAD_GRAYSCALE)
        assert bgr is not None
        assert ir is not None
        assert cv2.imwrite(str(root / "both" / file.name), np.dstack([bgr, ir]))
    return write_descriptor(root, {"train": _SOURCE})


@pytest.mark.parametrize("grid_hw", [None, (32, 48), (50, 70), (8, 12)])
def test_stacked_source__has_the_pixels_and_labels_of_two_files(
    tmp_path: Path, grid_hw: tuple[int, int] | None
) -> None:
    two = pairs_of(make_pairs(tmp_path / "two", 3, 0, size_hw=(64, 96)))
    one = pairs_of(_stack(tmp_path / "one"))
    assert one.fingerprint == two.fingerprint
    for of_one, of_two in zip(one.records, two.records, strict=True):
        np.testing.assert_array_equal(read_pair(of_one, grid_hw), read_pair(of_two, grid_hw))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rgb": "both"}, "rgbir, whose files hold both images, excludes rgb, ir and manifest"),
        ({"ir_window": [0, 100]}, "ir_window does not apply"),
        ({"rgbir": "rgb/train"}, r"train_000\.png: rgbir needs four channels of 8 bits.*found RGB"),
        ({"rgbir": "none"}, "no such folder"),
    ],
)
def test_stacked_source__mistake_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    _stack(tmp_path)
    with pytest.raises(DataError, match=message):
        pairs_of(write_descriptor(tmp_path, {"train": _SOURCE | change}))


def test_stacked_source__a_damaged_file_is_one_problem(tmp_path: Path) -> None:
    descriptor = _stack(tmp_path)
    file = tmp_path / "both" / "train_001.png"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(DataError, match=r"1 problem\n.*train_001\.png: can't be decoded"):
        pairs_of(descriptor)


def test_stacked_file__that_was_exchanged_is_refused(tmp_path: Path) -> None:
    (record, *_) = pairs_of(_stack(tmp_path)).records
    _write(record.rgb)
    with pytest.raises(DataError, match="its size changed since it was paired"):
        read_pair(record)
