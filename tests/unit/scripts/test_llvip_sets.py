"""Test scripts.data_sets.llvip_256 and llvip_hr on drawn trees, and their labels against the real ones."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from scripts.data_sets import llvip_256, llvip_hr
from scripts.paths import REPO
from tests.support.convert_trees import coco, image, labels
from tests.support.pairs import real_data
from yolofuse.convert.source_folder import SourceFolder
from yolofuse.data import load_descriptor, load_pairs
from yolofuse.errors import DataError

FULL_WH = (1280, 1024)


def _draw_ab(path: Path) -> Path:
    """Draw a red half and a thermal half that gets brighter to the right, with a tinge."""
    pixels = np.zeros((256, 512, 3), np.uint8)
    pixels[:, :256] = (200, 30, 20)
    pixels[:, 256:] = np.arange(256)[None, :, None]
    pixels[:, 256:264, 0] += 40
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95, subsampling=0)
    return path


def _write_tree(root: Path) -> tuple[Path, list[Path]]:
    """Write AB pictures of train, val and two others, and COCO files of both parts."""
    for name in ("train/010001", "train/010056", "test/190001", "test/020316", "test/030001"):
        _draw_ab(root / "pix2pix" / "datasets" / "images" / f"{name}.jpg")
    train = {"010001.jpg": [], "020316.jpg": [(1, (640.0, 512.0, 128.0, 256.0))]}
    test = {"190001.jpg": [(1, (0.0, 0.0, 64.0, 128.0)), (1, (1.0, 2.0, 3.0, 4.0))]}
    files = [
        coco(root / f"{part}.json", images, {1: "person"}, FULL_WH)
        for part, images in (("train", train), ("val", test))
    ]
    return root / "pix2pix", files


def test_cut__gives_both_halves(tmp_path: Path) -> None:
    rgb, ir = (Image.open(io.BytesIO(half)) for half in llvip_256.cut(_draw_ab(tmp_path / "190001.jpg")))
    for half in (rgb, ir):
        assert (half.size, half.mode, JpegImagePlugin.get_sampling(half)) == ((256, 256), "RGB", 0)
    np.testing.assert_allclose(np.asarray(rgb).reshape(-1, 3), np.tile((200, 30, 20), (256 * 256, 1)), atol=6)
    red, green, blue = np.moveaxis(np.asarray(ir).astype(int), 2, 0)
    assert (red == green).all()
    assert (red == blue).all()
    np.testing.assert_allclose(red[:, 16:].mean(axis=0), np.arange(16, 256), atol=2)


def test_cut__refuses_another_size_and_a_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected 512x256 px \(got \(64, 48\)\)"):
        llvip_256.cut(image(tmp_path / "a.jpg"))
    (tmp_path / "b.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"b.jpg: can't be decoded"):
        llvip_256.cut(tmp_path / "b.jpg")


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", ["190001", "190367", "010001", "010055"]),
        ("val", ["020316", "020400"]),
        (None, ["010056", "010000", "020315", "020401", "030001", "200002", "readme"]),
    ],
)
def test_split__is_by_scene(split: str | None, names: list[str]) -> None:
    assert {llvip_256.split_of(name) for name in names} == {split}


def test_llvip_256__is_read_by_the_descriptor(tmp_path: Path) -> None:
    src, files = _write_tree(tmp_path)
    llvip_256.build(src, files, tmp_path / "out")
    descriptor = load_descriptor(REPO / "configs" / "data" / "llvip-256.yaml", tmp_path / "out")
    train, val = (load_pairs(descriptor, split, cache_dir=tmp_path / "cache") for split in ("train", "val"))
    assert [record.key for record in train.records] == ["010001", "190001"]
    assert [len(train.labels(index)[1]) for index in range(2)] == [0, 2]
    assert labels(tmp_path / "out", "labels/val/020316.txt") == [[0, 0.55, 0.625, 0.1, 0.25]]
    assert val.size_hw(0) == (256, 256)
    assert "020316,val,night\n" in (tmp_path / "out" / "meta.csv").read_text()
    llvip_256.build(src, files, tmp_path / "out")  # a set made by this script may be made again


def test_llvip_256__names_frames_without_boxes_and_absent_splits(tmp_path: Path) -> None:
    src, (train, _) = _write_tree(tmp_path)
    with pytest.raises(DataError, match=r"190001: not of \(1280, 1024\) px in --boxes \(got None\); name both files"):
        llvip_256.build(src, [train], tmp_path / "out")
    (src / "datasets" / "images" / "test" / "020316.jpg").unlink()
    with pytest.raises(DataError, match="no image of val found; is --src the whole clone"):
        llvip_256.build(src, [train], tmp_path / "out")


def test_llvip_hr__is_read_by_the_descriptor(tmp_path: Path) -> None:
    train = [f"01{frame:04d}" for frame in range(1, 31)]
    val = [f"19{frame:04d}" for frame in range(1, 7)]
    places = {
        name: f"FusionGAN/{part}_LLVIP_{{}}/{name}.jpg" for part, n in (("Train", train), ("Test", val)) for name in n
    }
    places["010001"] = "imagefusion_densefuse/datasets/010001_{}.jpg"
    for place in places.values():
        image(tmp_path / "src" / place.format("vi"))
        image(tmp_path / "src" / place.format("ir"))
    file = coco(tmp_path / "a.json", {f"{name}.jpg": [(1, (0, 0, 64, 128))] for name in places}, {1: "person"}, FULL_WH)
    llvip_hr.build(tmp_path / "src", [file], tmp_path / "out")
    descriptor = load_descriptor(REPO / "configs" / "data" / "llvip-hr.yaml", tmp_path / "out")
    for split, names in (("train", train), ("val", val)):
        pairs = load_pairs(descriptor, split, cache_dir=tmp_path / "cache")
        assert [record.key for record in pairs.records] == names
    (tmp_path / "src" / places["190006"].format("ir")).unlink()
    with pytest.raises(DataError, match=r"no file FusionGAN/Test_LLVIP_ir/190006\.jpg"):
        llvip_hr.build(tmp_path / "src", [file], tmp_path / "out")


@pytest.mark.real
@pytest.mark.parametrize(("name", "num_frames"), [("llvip-256", 421 + 85), ("llvip-hr", 30 + 6)])
def test_real_boxes__become_the_real_labels(name: str, num_frames: int) -> None:
    root = real_data(name)
    real = {path.stem: path.read_text() for path in (root / "labels").glob("*/*.txt")}
    source = SourceFolder(root)
    made = llvip_256.read_labels(source, sorted((root / "annotations").glob("*.json")), real)
    source.check()
    assert len(real) == num_frames
    assert made == real
    if name == "llvip-256":
        assert all(llvip_256.split_of(path.stem) == path.parent.name for path in (root / "labels").glob("*/*.txt"))
