from __future__ import annotations

import pickle
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.support.pairs import make_pairs, pairs_of, random_picture, real_data, record_calls, write_pair
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.images.decode import inspect_image
from yolofuse.data.index import scan as scan_module
from yolofuse.data.index.pair_set import load_pairs
from yolofuse.errors import DataError


def _write_label(text: str) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        (root / "labels" / "train" / "train_001.txt").write_text(text)

    return write


def _remove(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


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


RGB, IR = "rgb/train/train_001.jpg", "ir/train/train_001.png"

FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "no IR partner": (_remove(IR), r"train_001\.jpg: no IR partner"),
    "no RGB partner": (_remove(RGB), r"train_001\.png: no RGB partner"),
    "shared stem": (_copy(RGB, "rgb/train/train_001.png"), "same stem as train_001.jpg"),
    "label without image": (_copy("data.yaml", "labels/train/lonely.txt"), r"lonely\.txt: label without an image"),
    "other size": (_write_image(IR, np.zeros((32, 40), np.uint8)), "sizes differ: rgb 96x64, ir 40x32"),
    "16-bit IR": (_write_image(IR, np.zeros((64, 96), np.uint16)), "more than 8 bits"),
    "16-bit RGB": (_write_image("rgb/train/train_001.png", np.zeros((64, 96, 3), np.uint16)), "same stem"),
    "truncated JPEG": (_truncate(RGB), r"train_001\.jpg: can't be decoded"),
    "truncated PNG": (_truncate(IR), r"train_001\.png: can't be decoded"),
    "no image": (_copy("data.yaml", IR), r"train_001\.png: can't be decoded"),
    "image bomb": (_claim_to_be_huge, "11000x11000 is more than 100 million pixels"),
    "four fields": (_write_label("0 .5 .5 .1\n"), r"train_001\.txt:1: expected 5 numbers"),
    "word": (_write_label("\n0 .5 .5 .1 x\n"), r"train_001\.txt:2: expected 5 numbers"),
    "unknown class": (_write_label("1 .5 .5 .1 .1\n"), r"class must be 0 \.\. 0 \(got 1\)"),
    "half a class": (_write_label("0.5 .5 .5 .1 .1\n"), "class must be"),
    "nan": (_write_label("0 nan .5 .1 .1\n"), "must be finite"),
    "infinite": (_write_label("0 .5 .5 inf .1\n"), "must be finite"),
    "pixels": (_write_label("0 48 32 10 10\n"), r"must lie in 0\.\.1"),
    "no area": (_write_label("0 .5 .5 .1 0\n"), "must be above 0"),
}


@pytest.mark.parametrize(("break_it", "message"), FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_fault__is_named(tmp_path: Path, break_it: Callable[[Path], None], message: str) -> None:
    descriptor = make_pairs(tmp_path, 3, 0, suffixes=(".jpg", ".png"))
    assert len(pairs_of(descriptor)) == 3
    break_it(tmp_path)
    with pytest.raises(DataError, match=message):
        pairs_of(descriptor)


def test_faults__are_told_all_at_once(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 3, 0)
    for index in (0, 2):
        (tmp_path / "labels" / "train" / f"train_{index:03d}.txt").write_text("bad\n")
    with pytest.raises(DataError, match="2 problems"):
        pairs_of(descriptor)


def test_empty_split__is_refused(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 1, 0)
    for kind in ("rgb", "ir", "labels"):
        shutil.rmtree(tmp_path / kind / "train")
        (tmp_path / kind / "train").mkdir()
    with pytest.raises(DataError, match="no images in"):
        pairs_of(descriptor)


def test_unknown_split__is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no split 'test'; it has train, val"):
        pairs_of(make_pairs(tmp_path), "test")


def test_truncated_jpeg__is_found_even_where_pil_was_told_to_be_lenient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    descriptor = make_pairs(tmp_path, 2, 0, suffixes=(".jpg", ".jpg"))
    _truncate("ir/train/train_001.jpg")(tmp_path)
    with pytest.raises(DataError, match="can't be decoded"):
        pairs_of(descriptor)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


def test_subfolders__equal_stems_are_different_pairs(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 1, 0)
    for index, folder in enumerate(("set00", "set01")):
        write_pair(tmp_path, "train", f"{folder}/0001", random_picture(index), (".bmp", ".png"))
    records = pairs_of(descriptor).records
    assert [(record.image_id, record.key) for record in records] == [
        (1, "set00/0001"),
        (2, "set01/0001"),
        (3, "train_000"),
    ]


def test_orientation_note__does_not_turn_the_image(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 1, 0, suffixes=(".jpg", ".png"))
    file = tmp_path / "rgb" / "train" / "train_000.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    with Image.open(file) as image:
        image.save(file, exif=exif)
    record = pairs_of(descriptor).records[0]
    assert record.size_hw == (64, 96)
    assert inspect_image(file, verify=True) == (64, 96, 8)


def test_background__missing_and_empty_labels_count(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 3, 0)
    (tmp_path / "labels" / "train" / "train_000.txt").unlink()
    (tmp_path / "labels" / "train" / "train_001.txt").write_text("\n")
    pairs = pairs_of(descriptor)
    assert pairs.num_backgrounds == 2
    assert pairs.records[0].label is None
    assert [len(pairs.labels(index)[1]) for index in range(3)] == [0, 0, 1]


def test_rounding__past_the_border_is_clipped_and_a_twin_box_is_used_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    descriptor = make_pairs(tmp_path, 2, 0)
    _write_label("0 .5 .5 1.0000005 .5\n0 .5 .5 1.0000005 .5\n")(tmp_path)
    boxes_xywhn, _ = pairs_of(descriptor).labels(1)
    np.testing.assert_array_equal(boxes_xywhn, np.array([[0.5, 0.5, 1.0, 0.5]], np.float32))
    assert "train_001.txt:2: the same box stands twice" in caplog.text


def test_tags__come_from_the_csv_by_stem(tmp_path: Path) -> None:
    tags = {"tags": {"file": "meta.csv", "key": "name", "columns": ["daynight"]}}
    (tmp_path / "meta.csv").write_text("name,daynight\ntrain_001,night\ntrain_000,day\n")
    descriptor = make_pairs(tmp_path, 2, 0, extra=tags)
    assert [record.tags["daynight"] for record in pairs_of(descriptor).records] == ["day", "night"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,weather\ntrain_000,fog\n", "no column daynight"),
        ("name,daynight\nother,day\n", "no row with name = train_000"),
        ("name,daynight\ntrain_000,day\ntrain_000,night\n", "stands twice"),
    ],
)
def test_tags__mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    tags = {"tags": {"file": "meta.csv", "key": "name", "columns": ["daynight"]}}
    (tmp_path / "meta.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        pairs_of(make_pairs(tmp_path, 1, 0, extra=tags))


def test_cache__second_start_reads_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = make_pairs(tmp_path, 3, 0)
    first = pairs_of(descriptor)
    seen = record_calls(monkeypatch, scan_module, "inspect_image")
    second = pairs_of(descriptor)
    assert not seen
    assert second.fingerprint == first.fingerprint
    assert list(second.records) == list(first.records)


@pytest.mark.parametrize("name", ["rgb/train/train_001.png", "ir/train/train_001.png", "labels/train/train_001.txt"])
def test_cache__is_keyed_by_both_modalities_and_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    descriptor = make_pairs(tmp_path, 3, 0)
    pairs_of(descriptor)
    seen = record_calls(monkeypatch, scan_module, "inspect_image")
    file = tmp_path / name
    file.write_bytes(file.read_bytes() + b"\n")
    pairs_of(descriptor)
    assert seen


def test_cache__unverified_does_not_stand_for_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = make_pairs(tmp_path, 2, 0)
    pairs_of(descriptor, verify=False)
    seen = record_calls(monkeypatch, scan_module, "inspect_image")
    pairs_of(descriptor, verify=True)
    assert seen


class _Bomb:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return Path.touch, (Path("exploded"),)  # type: ignore[return-value]


@pytest.mark.parametrize("kind", ["noise", "pickle", "object array", "half a file"])
def test_cache__damaged_or_planted_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    descriptor = make_pairs(tmp_path, 2, 0)
    first = pairs_of(descriptor)
    (cache,) = (tmp_path / "cache").iterdir()
    if kind == "noise":
        cache.write_bytes(b"not a zip")
    elif kind == "pickle":
        cache.write_bytes(pickle.dumps(_Bomb()))
    elif kind == "object array":
        np.savez(cache, signature=np.array([_Bomb()], dtype=object))
    else:
        cache.write_bytes(cache.read_bytes()[:200])
    assert pairs_of(descriptor).fingerprint == first.fingerprint
    assert not (tmp_path / "exploded").exists()


def test_fingerprint__follows_labels_not_times_or_places(tmp_path: Path) -> None:
    first = pairs_of(make_pairs(tmp_path / "a", 2, 0)).fingerprint
    other = make_pairs(tmp_path / "b", 2, 0)
    assert pairs_of(other).fingerprint == first
    (tmp_path / "b" / "labels" / "train" / "train_001.txt").write_text("0 .5 .5 .25 .25\n")
    assert pairs_of(other).fingerprint != first


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("roadscene-flir", {"train": (121, 653), "val": (41, 360)}),
        ("llvip-256", {"train": (421, 1303), "val": (85, 238)}),
        ("llvip-hr", {"train": (30, 125), "val": (6, 16)}),
    ],
)
def test_real_data__pairs_from_its_own_yaml(tmp_path: Path, name: str, counts: dict[str, tuple[int, int]]) -> None:
    descriptor = load_descriptor(real_data(name) / "data.yaml")
    for split, expected in counts.items():
        pairs = load_pairs(descriptor, split, cache_dir=tmp_path)
        assert (len(pairs), len(pairs.scan.class_ids)) == expected
