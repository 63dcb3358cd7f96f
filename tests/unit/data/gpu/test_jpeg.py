from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from tests.support.descriptors import folders, write_descriptor
from tests.support.gpu_batches import (
    CPU,
    IMGSZ,
    STILL,
    assert_same_but_pixels,
    augmentation,
    composed_of,
    expected_of,
    keys_of,
    levels_apart,
    noisy,
    smooth,
    tiles_of,
)
from tests.support.pairs import LabelledPair, exif_of, make_pairs, pairs_of, real_data
from yolofuse.data.dataset import TrainDataset
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.gpu.augment_batch import augment_batch
from yolofuse.data.gpu.jpeg import read_encoded
from yolofuse.data.gpu.tile_batch import TileDataset
from yolofuse.data.index.pair_set import PairSet, load_pairs
from yolofuse.errors import ConfigError, DataError
from yolofuse.types import PairFormat


@pytest.mark.parametrize("imgsz", [32, 48, 64, 96, 128, 320])
def test_nvjpeg__agrees_with_the_pixel_route(tmp_path: Path, imgsz: int) -> None:
    """Noise shows any other resampling: some images are halved, some quartered, one is reduced much more."""
    pairs = pairs_of(make_pairs(tmp_path, 5, 0, pair_at=noisy, suffixes=(".jpg", ".jpeg")))
    dataset = TrainDataset(pairs, imgsz, augmentation(), seed=1)
    keys = keys_of(mosaic=False)
    batch = tiles_of(dataset, keys, "nvjpeg")
    assert len(batch.images) == 0
    assert len(batch.encoded_pairs) == 5
    composed, expected = augment_batch(batch, CPU, imgsz), composed_of(dataset, keys)
    assert_same_but_pixels(composed, expected)
    apart = levels_apart(composed, expected)
    # OpenCV decodes straight to a half, a quarter or an eighth, which is not quite the mean of the whole.
    assert apart[:, 3].mean() < 0.55
    assert apart[:, :3].mean() < 1.0


def test_nvjpeg__the_second_camera_may_be_of_another_size(tmp_path: Path) -> None:
    """The frame has 90 x 150 pixels; the other camera three times, or two thirds of, that per side."""

    def make_pair(index: int) -> LabelledPair:
        bgr, ir, boxes = smooth(0)
        return bgr, np.asarray(cv2.resize(ir, (451, 271) if index else (100, 60)), np.uint8), boxes

    descriptor = make_pairs(tmp_path, 2, 0, pair_at=make_pair, suffixes=(".jpg", ".jpg"), extra={"resize": "stretch"})
    dataset = TrainDataset(pairs_of(descriptor), IMGSZ, augmentation(**STILL), seed=1)
    keys = keys_of(mosaic=False, num=2)
    apart = levels_apart(composed_of(dataset, keys, "nvjpeg"), composed_of(dataset, keys))
    assert apart.mean() < 1
    assert apart.max() < 16


def test_nvjpeg__other_files_are_sent_as_pixels(tmp_path: Path) -> None:
    make_pairs(tmp_path, 4, 0, pair_at=smooth, suffixes=(".jpg", ".jpg"))
    for number in (0, 2):  # one image of the pair is enough
        old = tmp_path / "ir" / "train" / f"train_00{number}.jpg"
        Image.open(old).save(old.with_suffix(".png"))
        old.unlink()
    dataset = TrainDataset(pairs_of(tmp_path / "data.yaml"), IMGSZ, augmentation(), seed=1)
    keys = keys_of(mosaic=True, num=4)
    batch = tiles_of(dataset, keys, "nvjpeg")
    assert batch.images.shape[0] == 2
    assert sorted(pair.rgb.stem for pair in batch.encoded_pairs) == ["train_001", "train_003"]
    assert levels_apart(augment_batch(batch, CPU, IMGSZ), composed_of(dataset, keys)).mean() < 0.3


JPEG_KINDS: dict[str, tuple[str, dict[str, object], bool]] = {
    "baseline": ("RGB", {}, True),
    "progressive": ("RGB", {"progressive": True}, True),
    "4:4:4": ("RGB", {"subsampling": 0}, True),
    "restart markers": ("RGB", {"restart_marker_rows": 1}, True),
    "with a comment": ("RGB", {"comment": b"a note"}, True),
    "never YCbCr": ("RGB", {"keep_rgb": True}, False),
    "grey": ("L", {}, False),
    "CMYK": ("CMYK", {}, False),
}


@pytest.mark.parametrize(("mode", "options", "is_plain"), JPEG_KINDS.values(), ids=JPEG_KINDS.keys())
def test_nvjpeg__only_plain_jpeg_goes_to_the_device(
    tmp_path: Path, mode: str, options: dict[str, object], is_plain: bool
) -> None:
    descriptor = make_pairs(tmp_path, 1, 0, pair_at=smooth, suffixes=(".jpg", ".jpg"))
    file = tmp_path / "rgb" / "train" / "train_000.jpg"
    image = Image.open(file).convert(mode)
    image.save(file, **options)  # type: ignore[arg-type]
    dataset = TrainDataset(pairs_of(descriptor), IMGSZ, augmentation(), seed=1)
    keys = keys_of(mosaic=False, num=1)
    batch = tiles_of(dataset, keys, "nvjpeg")
    assert len(batch.encoded_pairs) == int(is_plain)
    assert levels_apart(augment_batch(batch, CPU, IMGSZ), composed_of(dataset, keys)).mean() < 0.5


def _without_adobe_segment(encoded: bytes) -> bytes:
    start = encoded.index(b"\xff\xee")
    return encoded[:start] + encoded[start + 2 + int.from_bytes(encoded[start + 2 : start + 4], "big") :]


def _with_numbered_channels(encoded: bytes) -> bytes:
    for marker, first, step in ((b"\xff\xc0", 10, 3), (b"\xff\xda", 5, 2)):
        start = encoded.index(marker) + first
        for number, letter in enumerate(b"RGB"):
            assert encoded[start + step * number] == letter
            encoded = encoded[: start + step * number] + bytes([number + 1]) + encoded[start + step * number + 1 :]
    return encoded


@pytest.mark.parametrize("change", [_without_adobe_segment, _with_numbered_channels])
def test_read_encoded__one_sign_of_rgb_is_enough(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    """An Adobe segment, the channels' names, or both mark a file whose colours are not YCbCr."""
    pairs = pairs_of(make_pairs(tmp_path, 1, 0, pair_at=smooth, suffixes=(".jpg", ".jpg")))
    record = pairs.records[0]
    Image.open(record.rgb).convert("RGB").save(record.rgb, keep_rgb=True)
    record.rgb.write_bytes(change(record.rgb.read_bytes()))
    assert Image.open(record.rgb).size == record.rgb_hw[::-1]
    assert read_encoded(record) is None


def test_nvjpeg__thermal_files_may_have_three_channels(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 1, 0, pair_at=smooth, suffixes=(".jpg", ".jpg"))
    file = tmp_path / "ir" / "train" / "train_000.jpg"
    Image.open(file).convert("RGB").save(file)
    dataset = TrainDataset(pairs_of(descriptor), IMGSZ, augmentation(), seed=1)
    batch = tiles_of(dataset, keys_of(mosaic=False, num=1), "nvjpeg")
    assert len(batch.encoded_pairs) == 1
    assert (
        levels_apart(augment_batch(batch, CPU, IMGSZ), composed_of(dataset, keys_of(False, num=1)))[:, 3].mean() < 0.3
    )


@pytest.mark.parametrize(
    "changed",
    [
        PairFormat(affine=(1.0, 0.0, 2.0, 0.0, 1.0, 0.0)),
        PairFormat(ir_window=(0.0, 200.0)),
        PairFormat(ir_window=(0.0, 200.0), bits=16),
    ],
    ids=["affine", "window", "deep"],
)
def test_read_encoded__skips_registered_and_windowed_pairs(jpeg_pairs: PairSet, changed: PairFormat) -> None:
    record = jpeg_pairs.records[0]
    assert read_encoded(record) is not None
    assert read_encoded(replace(record, format=changed)) is None


@pytest.mark.parametrize("orientation", ["apply", "ignore"])
def test_nvjpeg__leaves_images_that_must_be_turned_to_the_cpu(tmp_path: Path, orientation: str) -> None:
    make_pairs(tmp_path, 1, 0, pair_at=smooth, suffixes=(".jpg", ".jpg"))
    for kind in ("rgb", "ir"):
        file = tmp_path / kind / "train" / "train_000.jpg"
        Image.open(file).save(file, exif=exif_of(6), quality=95)
    descriptor = write_descriptor(tmp_path, {"train": folders()}, orientation=orientation)
    dataset = TrainDataset(pairs_of(descriptor), IMGSZ, augmentation(), seed=1)
    batch = tiles_of(dataset, keys_of(mosaic=False, num=1), "nvjpeg")
    assert len(batch.encoded_pairs) == (orientation == "ignore")
    assert levels_apart(augment_batch(batch, CPU, IMGSZ), composed_of(dataset, keys_of(False, num=1))).mean() < 0.5


def test_nvjpeg__damaged_files_are_all_named(tmp_path: Path) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 4, 0, pair_at=smooth, suffixes=(".jpg", ".jpg")))
    broken = [tmp_path / "rgb" / "train" / f"train_00{number}.jpg" for number in (1, 3)]
    for file in broken:
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
    batch = tiles_of(TrainDataset(pairs, IMGSZ, augmentation(), seed=1), keys_of(mosaic=False, num=4), "nvjpeg")
    with pytest.raises(DataError, match="2 damaged files") as caught:
        augment_batch(batch, CPU, IMGSZ)
    assert all(str(file) in str(caught.value) for file in broken)
    assert "train_002" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.unlink(), "can't be read"),
        (lambda file: file.write_bytes(b""), "can't be"),
        (lambda file: file.write_bytes(file.read_bytes()[:12]), "can't be decoded"),
        (lambda file: cv2.imwrite(str(file), np.zeros((20, 30, 3), np.uint8)), "its size changed"),
    ],
    ids=["missing", "empty", "truncated header", "another size"],
)
def test_nvjpeg__changed_files_are_named(tmp_path: Path, change: Callable[[Path], object], message: str) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 2, 0, pair_at=smooth, suffixes=(".jpg", ".jpg")))
    file = tmp_path / "rgb" / "train" / "train_001.jpg"
    change(file)
    with pytest.raises(DataError, match=message) as caught:
        tiles_of(TrainDataset(pairs, IMGSZ, augmentation(), seed=1), keys_of(mosaic=False, num=2), "nvjpeg")
    assert str(file) in str(caught.value)


def test_nvjpeg__a_torchvision_without_decoder_is_refused(jpeg_pairs: PairSet, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = TrainDataset(jpeg_pairs, IMGSZ, augmentation(), seed=1)
    monkeypatch.delattr(torchvision.io, "decode_jpeg")
    TileDataset(dataset)
    with pytest.raises(ConfigError, match="install torchvision"):
        TileDataset(dataset, "nvjpeg")


def test_nvjpeg__a_device_without_decoder_is_not_reported_as_a_damaged_file(
    jpeg_pairs: PairSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = tiles_of(TrainDataset(jpeg_pairs, IMGSZ, augmentation(), seed=1), keys_of(mosaic=False), "nvjpeg")

    def refuse(*args: object, **options: object) -> list[torch.Tensor]:
        raise RuntimeError("not compiled with nvJPEG")

    monkeypatch.setattr(torchvision.io, "decode_jpeg", refuse)
    with pytest.raises(ConfigError, match="can't decode JPEG on cpu"):
        augment_batch(batch, CPU, IMGSZ)


@pytest.mark.real
@pytest.mark.parametrize("name", ["llvip-hr", "roadscene-flir"])
def test_nvjpeg__agrees_on_real_pairs(name: str) -> None:
    pairs = load_pairs(load_descriptor(real_data(name) / "data.yaml"), "train", verify=False)
    dataset = TrainDataset(pairs, 320, augmentation(), seed=1)
    keys = keys_of(mosaic=True, epochs=1)
    batch = tiles_of(dataset, keys, "nvjpeg")
    assert len(batch.encoded_pairs) > 10
    composed = augment_batch(batch, CPU, 320)
    assert levels_apart(composed, composed_of(dataset, keys)).mean() < 1
    assert levels_apart(composed, expected_of(dataset, keys)).mean() < 1


@pytest.mark.gpu
@pytest.mark.parametrize("imgsz", [64, 128])
def test_gpu__nvjpeg_agrees_with_the_pixel_route(jpeg_pairs: PairSet, imgsz: int) -> None:
    dataset = TrainDataset(jpeg_pairs, imgsz, augmentation(), seed=1)
    keys = keys_of(mosaic=True)
    batch = tiles_of(dataset, keys, "nvjpeg").pin_memory()
    apart = levels_apart(augment_batch(batch, torch.device("cuda"), imgsz), composed_of(dataset, keys))
    assert apart.mean() < 2.5


@pytest.mark.gpu
def test_gpu__nvjpeg_names_damaged_files(tmp_path: Path) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 2, 0, pair_at=smooth, suffixes=(".jpg", ".jpg")))
    file = tmp_path / "rgb" / "train" / "train_001.jpg"
    content = file.read_bytes()
    start = content.index(b"\xff\xc4")  # the first Huffman table: nothing can be decoded without
    file.write_bytes(content[: start + 6] + b"\xff" * 40 + content[start + 46 :])
    batch = tiles_of(TrainDataset(pairs, IMGSZ, augmentation(), seed=1), keys_of(mosaic=False, num=2), "nvjpeg")
    with pytest.raises(DataError, match="train_001"):
        augment_batch(batch, torch.device("cuda"), IMGSZ)
