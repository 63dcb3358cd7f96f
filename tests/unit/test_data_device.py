from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.utils.data import DataLoader

from tests.helpers import Picture, make_pairs, pairs_of, random_picture, record_calls
from yolofuse.config.schema import AugmentConfig
from yolofuse.data import coded, device
from yolofuse.data.coded import read_coded
from yolofuse.data.dataset import SampleKey, TrainDataset
from yolofuse.data.device import TileBatch, TileDataset, compose, unchanged
from yolofuse.data.loader import EpochSampler, collate
from yolofuse.data.pair_image import PAD
from yolofuse.data.pair_reader import PairReader
from yolofuse.data.pairs import PairSet
from yolofuse.errors import ConfigError, DataError
from yolofuse.types import PairedBatch, PairFormat

Decode = Literal["cpu", "nvjpeg"]
_CPU = torch.device("cpu")
_IMGSZ = 128
_PHOTOMETRY = ("hsv_h", "hsv_s", "hsv_v", "ir_gain", "ir_bias", "ir_noise")
_SIZES_HW = ((90, 150), (150, 90), (40, 60), (128, 128), (300, 211))  # upright, wide, small, exact, brought down


def _augment(**options: float) -> AugmentConfig:
    """Photometry off, but for what is given."""
    return AugmentConfig.model_validate({**dict.fromkeys(_PHOTOMETRY, 0.0), **options})


_STILL = {"scale": 0.0, "translate": 0.0, "flip_lr": 0.0}
GEOMETRIES = {
    "upright": _augment(flip_lr=0.0),
    "mirrored": _augment(flip_lr=1.0, flip_ud=1.0),
    "turned": _augment(degrees=25.0, shear=8.0, flip_ud=0.5),
    "strong": _augment(degrees=180.0, shear=20.0, scale=0.9, translate=0.4),
}


def _noisy(index: int) -> Picture:
    return random_picture(index, _SIZES_HW[index % len(_SIZES_HW)])


def _smooth(index: int) -> Picture:
    """Coarse noise, blown up, so that JPEG and OpenCV's fixed point have little to round."""
    height, width = _SIZES_HW[index % len(_SIZES_HW)]
    coarse = np.random.default_rng(index).integers(0, 256, (6, 8, 4), dtype=np.uint8)
    fine = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)
    return np.ascontiguousarray(fine[..., :3]), np.ascontiguousarray(fine[..., 3]), _noisy(index)[2]


def _ramp(index: int) -> Picture:
    """R is a pixel's column, G its row, IR which image it is of."""
    height, width = _SIZES_HW[index % 4]
    rows, columns = np.mgrid[:height, :width]
    bgr = np.stack([np.full_like(rows, 7), rows, columns], axis=-1).astype(np.uint8)
    return bgr, np.full((height, width), 10 * index, np.uint8), []


@pytest.fixture(scope="module")
def png_pairs(tmp_path_factory: pytest.TempPathFactory) -> PairSet:
    return pairs_of(make_pairs(tmp_path_factory.mktemp("png"), 5, 0, picture=_noisy))


@pytest.fixture(scope="module")
def jpeg_pairs(tmp_path_factory: pytest.TempPathFactory) -> PairSet:
    root = tmp_path_factory.mktemp("jpeg")
    return pairs_of(make_pairs(root, 5, 0, picture=_smooth, suffixes=(".jpg", ".jpeg")))


@pytest.fixture(scope="module")
def deep_pairs(tmp_path_factory: pytest.TempPathFactory) -> PairSet:
    """Thermal counts of 16 bits."""

    def deep(index: int) -> Picture:
        bgr, ir, boxes = _noisy(index)
        counts = 7000 + 4 * ir.astype(np.uint16)
        return bgr, counts, boxes  # type: ignore[return-value]

    root = tmp_path_factory.mktemp("deep")
    return pairs_of(make_pairs(root, 5, 0, picture=deep, extra={"ir_window": [7000, 8000]}))


def _keys(mosaic: bool, epochs: int = 2, num: int = 5) -> list[SampleKey]:
    return [SampleKey(epoch, index, mosaic) for epoch in range(epochs) for index in range(num)]


def _tiles(dataset: TrainDataset, keys: Sequence[SampleKey], decode: Decode = "cpu") -> TileBatch:
    return TileDataset(dataset, decode).__getitems__(list(keys))


def _composed(dataset: TrainDataset, keys: Sequence[SampleKey], decode: Decode = "cpu") -> PairedBatch:
    return compose(_tiles(dataset, keys, decode), _CPU, dataset.imgsz)


def _expected(dataset: TrainDataset, keys: Sequence[SampleKey]) -> PairedBatch:
    return collate([dataset[key] for key in keys]).to(_CPU)


def _levels_apart(one: PairedBatch, other: PairedBatch, full_scale: int = 255) -> torch.Tensor:
    """Differences in levels of the file."""
    return ((one.pixels.float() - other.pixels.float()).abs() * full_scale).cpu()


def _assert_same_but_pixels(one: PairedBatch, other: PairedBatch) -> None:
    assert one.pixels.shape == other.pixels.shape
    assert one.pixels.dtype == other.pixels.dtype
    assert one.pixels.stride() == other.pixels.stride()
    for field in fields(PairedBatch):
        if field.name != "pixels":
            mine, theirs = getattr(one, field.name).cpu(), getattr(other, field.name).cpu()
            assert mine.dtype == theirs.dtype, field.name
            assert torch.equal(mine, theirs), field.name


def _identical(one: TileBatch, other: TileBatch) -> bool:
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(TileBatch)]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in pairs)


@pytest.mark.parametrize("mosaic", [True, False])
@pytest.mark.parametrize("kind", ["noisy", "smooth"])
@pytest.mark.parametrize("augment", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_compose__gives_the_pixels_of_the_cpu_path(
    augment: AugmentConfig, kind: str, mosaic: bool, png_pairs: PairSet, jpeg_pairs: PairSet
) -> None:
    dataset = TrainDataset(png_pairs if kind == "noisy" else jpeg_pairs, _IMGSZ, augment, seed=1)
    keys = _keys(mosaic)
    composed, expected = _composed(dataset, keys), _expected(dataset, keys)
    _assert_same_but_pixels(composed, expected)
    assert len(expected.boxes_xyxy) > 5
    apart = _levels_apart(composed, expected)
    assert apart.mean() < 0.25
    if augment.degrees:
        # A pixel on the edge of a tile may fall to its neighbour.
        assert (apart > 1.01).float().mean() < 3e-4
    else:
        assert apart.max() < 1.01


@pytest.mark.parametrize("mosaic", [True, False])
@pytest.mark.parametrize("augment", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_compose__shows_each_place_where_the_plan_puts_it(tmp_path: Path, augment: AugmentConfig, mosaic: bool) -> None:
    """Against the plan's matrices, without the CPU path."""
    pairs = pairs_of(make_pairs(tmp_path, 4, 0, picture=_ramp))
    imgsz = 192  # larger than the pictures, so that a stored pixel is one of the file
    dataset = TrainDataset(pairs, imgsz, augment, seed=2)
    keys = _keys(mosaic, 3, 4)
    pixels = (_composed(dataset, keys).pixels * 255).numpy()
    rows, columns = np.mgrid[:imgsz, :imgsz]
    centres = np.stack([columns + 0.5, rows + 0.5, np.ones_like(rows)])
    for image, key in zip(pixels, keys, strict=True):
        owner, found = np.full((imgsz, imgsz), -1), np.zeros((2, imgsz, imgsz))
        for tile in dataset.plan(key).tiles:
            height, width = pairs.size_hw(tile.index)
            x, y, _ = np.tensordot(np.linalg.inv(tile.matrix), centres, axes=1)
            inside = (x > 0) & (y > 0) & (x < width) & (y < height)
            window = np.zeros_like(inside)
            tile.window.of(window.view(np.uint8))[:] = 1
            inside &= window
            owner[inside] = tile.index
            found[:, inside] = np.stack([x, y])[:, inside]
        covered = owner >= 0
        assert covered.any()
        near = cv2.dilate((~covered).astype(np.uint8), np.ones((3, 3))) > 0
        for index in range(4):  # seams between two pictures are anyone's
            near |= (cv2.dilate((owner == index).astype(np.uint8), np.ones((3, 3))) > 0) & (owner != index)
        shown, empty = covered & ~near, ~covered & (cv2.dilate(covered.astype(np.uint8), np.ones((3, 3))) == 0)
        np.testing.assert_allclose(image[3][shown], 10 * owner[shown], atol=1e-3)
        np.testing.assert_allclose(image[:, empty], PAD, atol=1e-3)
        # Half a level of rounding, and half a pixel where a picture's outermost pixel goes on to its edge.
        assert np.abs(image[:2, shown] - (found[:, shown] - 0.5)).max() < 1.0
        assert np.abs(image[:2, shown] - (found[:, shown] - 0.5)).mean() < 0.3


def test_compose__tiles_leave_no_seam(tmp_path: Path) -> None:
    white: Picture = (np.full((200, 200, 3), 255, np.uint8), np.full((200, 200), 255, np.uint8), [])
    pairs = pairs_of(make_pairs(tmp_path, 2, 0, picture=lambda index: white))
    dataset = TrainDataset(pairs, _IMGSZ, _augment(degrees=180.0, scale=0.2, translate=0.0), seed=5)
    pixels = _composed(dataset, [SampleKey(epoch, 0, True) for epoch in range(50)]).pixels
    middle = slice(_IMGSZ * 3 // 10, _IMGSZ * 7 // 10)
    assert (pixels[:, :, middle, middle] == 1).all()


@pytest.mark.parametrize("depth", ["8 bits", "16 bits"])
@pytest.mark.parametrize("name", [*_PHOTOMETRY, "all"])
def test_compose__changes_colours_as_the_cpu_path(
    name: str, depth: str, png_pairs: PairSet, deep_pairs: PairSet
) -> None:
    strong = dict.fromkeys(_PHOTOMETRY if name == "all" else [name], 0.5)
    pairs = png_pairs if depth == "8 bits" else deep_pairs
    dataset = TrainDataset(pairs, _IMGSZ, _augment(**strong, **_STILL), seed=1)
    keys = [SampleKey(epoch, 3, False) for epoch in range(4)]  # image 3 is copied as it is
    composed, expected = _composed(dataset, keys), _expected(dataset, keys)
    assert not torch.equal(expected.pixels[0], expected.pixels[1])
    apart = _levels_apart(composed, expected, 255 if depth == "8 bits" else 65535)
    assert apart.max() <= 1.5
    assert (apart > 0.5).float().mean() < 0.01


def test_compose__draws_the_same_noise(png_pairs: PairSet) -> None:
    dataset = TrainDataset(png_pairs, _IMGSZ, _augment(ir_noise=0.2), seed=4)
    keys = _keys(mosaic=True)
    plain = TrainDataset(png_pairs, _IMGSZ, _augment(), seed=4)
    mine = _composed(dataset, keys).ir - _composed(plain, keys).ir
    theirs = _expected(dataset, keys).ir - _expected(plain, keys).ir
    for one, other in zip(mine, theirs, strict=True):
        assert torch.corrcoef(torch.stack([one.ravel(), other.ravel()]))[0, 1] > 0.99
    assert abs(torch.corrcoef(torch.stack([mine[0].ravel(), theirs[1].ravel()]))[0, 1]) < 0.2


@pytest.mark.parametrize("mosaic", [True, False])
def test_compose__keeps_16_bits(deep_pairs: PairSet, mosaic: bool) -> None:
    dataset = TrainDataset(deep_pairs, _IMGSZ, GEOMETRIES["turned"], seed=1)
    keys = _keys(mosaic)
    batch = _tiles(dataset, keys)
    assert batch.images.dtype == torch.uint16
    composed, expected = compose(batch, _CPU, _IMGSZ), _expected(dataset, keys)
    _assert_same_but_pixels(composed, expected)
    assert _levels_apart(composed, expected).mean() < 0.05
    assert len(composed.ir.unique()) > 1000


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_compose__takes_the_wanted_dtype(deep_pairs: PairSet, dtype: torch.dtype) -> None:
    batch = _tiles(TrainDataset(deep_pairs, _IMGSZ, AugmentConfig(), seed=1), _keys(mosaic=True, epochs=1))
    wanted = compose(batch, _CPU, _IMGSZ, dtype)
    assert wanted.pixels.dtype == dtype
    assert torch.equal(wanted.pixels, compose(batch, _CPU, _IMGSZ).pixels.to(dtype))


def test_compose__pictures_of_no_object_make_no_boxes(tmp_path: Path) -> None:
    empty: Callable[[int], Picture] = lambda index: (*_noisy(index)[:2], [])  # noqa: E731
    dataset = TrainDataset(pairs_of(make_pairs(tmp_path, 3, 0, picture=empty)), _IMGSZ, AugmentConfig(), seed=1)
    keys = _keys(mosaic=True, num=3)
    composed = _composed(dataset, keys)
    assert composed.boxes_xyxy.shape == (0, 4)
    _assert_same_but_pixels(composed, _expected(dataset, keys))


def test_compose__a_picture_beside_the_canvas_leaves_it_grey(png_pairs: PairSet) -> None:
    dataset = TrainDataset(png_pairs, _IMGSZ, _augment(translate=1.0, scale=0.9), seed=1)
    beside = [key for key in _keys(mosaic=False, epochs=200, num=2) if not dataset.plan(key).tiles][:3]
    shown = SampleKey(0, 3, True)
    alone = _composed(dataset, beside)
    assert len(alone) == 3
    torch.testing.assert_close(alone.pixels, torch.full_like(alone.pixels, PAD / 255))
    mixed = _composed(dataset, [beside[0], shown])
    assert torch.equal(mixed.pixels[0], alone.pixels[0])
    assert torch.equal(mixed.pixels[1], _composed(dataset, [shown]).pixels[0])


@pytest.mark.parametrize("decode", ["cpu", "nvjpeg"])
def test_compose__chunks_change_no_byte(jpeg_pairs: PairSet, decode: Decode, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = _tiles(TrainDataset(jpeg_pairs, _IMGSZ, AugmentConfig(degrees=5.0), seed=1), _keys(mosaic=True), decode)
    whole = compose(batch, _CPU, _IMGSZ)
    monkeypatch.setattr(device, "_CHUNK_PIXELS", 3 * _IMGSZ**2)
    monkeypatch.setattr(coded, "_CHUNK_PIXELS", 40_000)
    calls = record_calls(monkeypatch, coded, "_decode")
    painted = record_calls(monkeypatch, device, "_paint")
    assert torch.equal(compose(batch, _CPU, _IMGSZ).pixels, whole.pixels)
    assert len(calls) == (0 if decode == "cpu" else 2 * 4)
    assert len(painted) == 4 * 4  # four slots, ten samples by threes


def test_tiles__read_each_pair_once(png_pairs: PairSet, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = record_calls(monkeypatch, PairReader, "read")
    dataset = TrainDataset(png_pairs, _IMGSZ, AugmentConfig(), seed=1)
    batch = _tiles(dataset, _keys(mosaic=True))
    assert sorted(index for _, index in calls) == list(range(5))
    assert batch.images.shape[0] == 5
    assert batch.numbers.shape == (4, 10)


@pytest.mark.parametrize("decode", ["cpu", "nvjpeg"])
def test_loader__worker_count_changes_no_byte(jpeg_pairs: PairSet, decode: Decode) -> None:
    batches: dict[int, list[TileBatch]] = {}
    for workers in (0, 2):
        sampler = EpochSampler(len(jpeg_pairs), 4, seed=7)
        tiles = TileDataset(TrainDataset(jpeg_pairs, 64, AugmentConfig(degrees=5.0), seed=7), decode)
        context = "fork" if workers else None
        loader = DataLoader(
            tiles, batch_sampler=sampler, collate_fn=unchanged, num_workers=workers, multiprocessing_context=context
        )
        batches[workers] = []
        for epoch in (0, 1):
            sampler.set_epoch(epoch, mosaic=epoch == 0)
            batches[workers] += list(loader)
    assert len(batches[0]) == len(batches[2]) == 4
    assert all(_identical(one, two) for one, two in zip(batches[0], batches[2], strict=True))
    assert not _identical(batches[0][0], batches[0][1])


@pytest.mark.parametrize("imgsz", [32, 64, 96, 128, 320])
def test_nvjpeg__agrees_with_the_pixel_route(jpeg_pairs: PairSet, imgsz: int) -> None:
    dataset = TrainDataset(jpeg_pairs, imgsz, _augment(), seed=1)
    keys = _keys(mosaic=imgsz != 64)
    batch = _tiles(dataset, keys, "nvjpeg")
    assert len(batch.images) == 0
    assert len(batch.coded_pairs) == 5
    composed, expected = compose(batch, _CPU, imgsz), _composed(dataset, keys)
    _assert_same_but_pixels(composed, expected)
    apart = _levels_apart(composed, expected)
    # OpenCV decodes straight to a half, a quarter or an eighth, which is not quite the mean of the whole.
    assert apart.mean() < (1.5 if imgsz < 128 else 0.3)
    assert torch.quantile(apart.ravel()[::7], 0.999) < (16 if imgsz < 128 else 3)


def test_nvjpeg__the_second_camera_may_be_of_another_size(tmp_path: Path) -> None:
    """Frame 90 x 150; the other camera has three times, or two thirds of, its pixels a side."""

    def picture(index: int) -> Picture:
        bgr, ir, boxes = _smooth(0)
        return bgr, np.asarray(cv2.resize(ir, (451, 271) if index else (100, 60)), np.uint8), boxes

    descriptor = make_pairs(tmp_path, 2, 0, picture=picture, suffixes=(".jpg", ".jpg"), extra={"resize": "stretch"})
    dataset = TrainDataset(pairs_of(descriptor), _IMGSZ, _augment(**_STILL), seed=1)
    keys = _keys(mosaic=False, num=2)
    apart = _levels_apart(_composed(dataset, keys, "nvjpeg"), _composed(dataset, keys))
    assert apart.mean() < 1
    assert apart.max() < 16


def test_nvjpeg__other_files_come_as_pixels(tmp_path: Path) -> None:
    make_pairs(tmp_path, 4, 0, picture=_smooth, suffixes=(".jpg", ".jpg"))
    for number in (0, 2):  # one picture of the pair is enough
        old = tmp_path / "ir" / "train" / f"train_00{number}.jpg"
        cv2.imwrite(str(old.with_suffix(".png")), cv2.imread(str(old), cv2.IMREAD_GRAYSCALE))
        old.unlink()
    dataset = TrainDataset(pairs_of(tmp_path / "data.yaml"), _IMGSZ, _augment(), seed=1)
    keys = _keys(mosaic=True, num=4)
    batch = _tiles(dataset, keys, "nvjpeg")
    assert batch.images.shape[0] == 2
    assert sorted(pair.rgb.stem for pair in batch.coded_pairs) == ["train_001", "train_003"]
    assert _levels_apart(compose(batch, _CPU, _IMGSZ), _composed(dataset, keys)).mean() < 0.3


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
    descriptor = make_pairs(tmp_path, 1, 0, picture=_smooth, suffixes=(".jpg", ".jpg"))
    file = tmp_path / "rgb" / "train" / "train_000.jpg"
    picture = Image.open(file).convert(mode)
    picture.save(file, **options)  # type: ignore[arg-type]
    dataset = TrainDataset(pairs_of(descriptor), _IMGSZ, _augment(), seed=1)
    keys = _keys(mosaic=False, num=1)
    batch = _tiles(dataset, keys, "nvjpeg")
    assert len(batch.coded_pairs) == int(is_plain)
    assert _levels_apart(compose(batch, _CPU, _IMGSZ), _composed(dataset, keys)).mean() < 0.5


@pytest.mark.parametrize(
    "changed",
    [
        PairFormat(affine=(1.0, 0.0, 2.0, 0.0, 1.0, 0.0)),
        PairFormat(ir_window=(0.0, 200.0)),
        PairFormat(ir_window=(0.0, 200.0), bits=16),
    ],
    ids=["affine", "window", "deep"],
)
def test_nvjpeg__registered_and_windowed_pairs_come_as_pixels(jpeg_pairs: PairSet, changed: PairFormat) -> None:
    record = jpeg_pairs.records[0]
    assert read_coded(record) is not None
    assert read_coded(replace(record, format=changed)) is None


def test_nvjpeg__ignores_orientation_notes(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 1, 0, picture=_smooth, suffixes=(".jpg", ".jpg"))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    for kind in ("rgb", "ir"):
        file = tmp_path / kind / "train" / "train_000.jpg"
        Image.open(file).save(file, exif=exif, quality=95)
    dataset = TrainDataset(pairs_of(descriptor), _IMGSZ, _augment(), seed=1)
    batch = _tiles(dataset, _keys(mosaic=False, num=1), "nvjpeg")
    assert len(batch.coded_pairs) == 1
    assert _levels_apart(compose(batch, _CPU, _IMGSZ), _composed(dataset, _keys(False, num=1))).mean() < 0.5


def test_nvjpeg__damaged_files_are_all_named(tmp_path: Path) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 4, 0, picture=_smooth, suffixes=(".jpg", ".jpg")))
    broken = [tmp_path / "rgb" / "train" / f"train_00{number}.jpg" for number in (1, 3)]
    for file in broken:
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
    batch = _tiles(TrainDataset(pairs, _IMGSZ, _augment(), seed=1), _keys(mosaic=False, num=4), "nvjpeg")
    with pytest.raises(DataError, match="2 JPEG files that can't be decoded") as caught:
        compose(batch, _CPU, _IMGSZ)
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
    ids=["gone", "empty", "cut in its header", "another size"],
)
def test_nvjpeg__changed_files_are_named(tmp_path: Path, change: Callable[[Path], object], message: str) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 2, 0, picture=_smooth, suffixes=(".jpg", ".jpg")))
    file = tmp_path / "rgb" / "train" / "train_001.jpg"
    change(file)
    with pytest.raises(DataError, match=message) as caught:
        _tiles(TrainDataset(pairs, _IMGSZ, _augment(), seed=1), _keys(mosaic=False, num=2), "nvjpeg")
    assert str(file) in str(caught.value)


def test_nvjpeg__a_torchvision_without_decoder_is_refused(jpeg_pairs: PairSet, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = TrainDataset(jpeg_pairs, _IMGSZ, _augment(), seed=1)
    monkeypatch.delattr(torchvision.io, "decode_jpeg")
    TileDataset(dataset)
    with pytest.raises(ConfigError, match="use train.decode: cpu"):
        TileDataset(dataset, "nvjpeg")


def test_nvjpeg__a_device_without_decoder_is_no_file_s_fault(
    jpeg_pairs: PairSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = _tiles(TrainDataset(jpeg_pairs, _IMGSZ, _augment(), seed=1), _keys(mosaic=False), "nvjpeg")

    def refuse(*args: object) -> list[torch.Tensor]:
        raise RuntimeError("not compiled with nvJPEG")

    monkeypatch.setattr(coded, "_decode", refuse)
    with pytest.raises(ConfigError, match="can't decode JPEG on cpu"):
        compose(batch, _CPU, _IMGSZ)


@pytest.mark.gpu
@pytest.mark.parametrize("mosaic", [True, False])
@pytest.mark.parametrize("depth", ["8 bits", "16 bits"])
def test_gpu__composes_as_the_cpu_without_waiting(
    mosaic: bool, depth: str, png_pairs: PairSet, deep_pairs: PairSet
) -> None:
    augment = AugmentConfig(degrees=10.0, ir_noise=0.1)
    pairs = png_pairs if depth == "8 bits" else deep_pairs
    batch = _tiles(TrainDataset(pairs, _IMGSZ, augment, seed=1), _keys(mosaic)).pin_memory()
    expected = compose(batch, _CPU, _IMGSZ)
    compose(batch, torch.device("cuda"), _IMGSZ)  # the first uploads the table of noise
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        composed = compose(batch, torch.device("cuda"), _IMGSZ)
        halved = compose(batch, torch.device("cuda"), _IMGSZ, torch.float16)
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    _assert_same_but_pixels(composed, expected)
    apart = _levels_apart(composed, expected)
    assert apart.mean() < 0.05
    assert (apart > 2.01).float().mean() < 3e-4
    assert torch.equal(halved.pixels, composed.pixels.to(torch.float16))


@pytest.mark.gpu
@pytest.mark.parametrize("imgsz", [64, 128])
def test_gpu__nvjpeg_agrees_with_the_pixel_route(jpeg_pairs: PairSet, imgsz: int) -> None:
    dataset = TrainDataset(jpeg_pairs, imgsz, _augment(), seed=1)
    keys = _keys(mosaic=True)
    batch = _tiles(dataset, keys, "nvjpeg").pin_memory()
    apart = _levels_apart(compose(batch, torch.device("cuda"), imgsz), _composed(dataset, keys))
    assert apart.mean() < 2.5


@pytest.mark.gpu
def test_gpu__nvjpeg_names_damaged_files(tmp_path: Path) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 2, 0, picture=_smooth, suffixes=(".jpg", ".jpg")))
    file = tmp_path / "rgb" / "train" / "train_001.jpg"
    content = file.read_bytes()
    start = content.index(b"\xff\xc4")  # the first Huffman table: nothing can be decoded without
    file.write_bytes(content[: start + 6] + b"\xff" * 40 + content[start + 46 :])
    batch = _tiles(TrainDataset(pairs, _IMGSZ, _augment(), seed=1), _keys(mosaic=False, num=2), "nvjpeg")
    with pytest.raises(DataError, match="train_001"):
        compose(batch, torch.device("cuda"), _IMGSZ)
