from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.support.descriptors import COCO_SOURCE, folders, write_coco, write_descriptor
from tests.support.pairs import make_pairs, pairs_of, random_pair, real_data, write_pair
from yolofuse.boxes import xywhn_to_xyxy
from yolofuse.data import load_descriptor, load_pairs
from yolofuse.errors import DataError


def _coco(root: Path, **more: object) -> None:
    images = [{"id": 7 + n, "file_name": f"train_{n:03d}.png", "width": 96, "height": 64} for n in (0, 1)]
    boxes = [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 20, 30, 40]},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 90, 10], "iscrowd": 1},
        {"id": 3, "image_id": 8, "category_id": 3, "bbox": [-5, -5, 20, 20]},
    ]
    content = {"images": images, "annotations": boxes, "categories": [{"id": 3, "name": "person"}], **more}
    (root / "gt.json").write_text(json.dumps(content))


def test_coco__boxes_regions_to_ignore_and_what_it_lists(tmp_path: Path) -> None:
    make_pairs(tmp_path, 3, 0)
    _coco(tmp_path)
    descriptor = write_descriptor(tmp_path, {"train": COCO_SOURCE})
    for pairs in (pairs_of(descriptor), pairs_of(descriptor)):  # read, and from the cache
        assert [record.key for record in pairs.records] == ["train_000", "train_001"]  # the third is not listed
        np.testing.assert_allclose(xywhn_to_xyxy(pairs.labels(0)[0], (64, 96)), [[10, 20, 40, 60]], atol=1e-4)
        np.testing.assert_allclose(xywhn_to_xyxy(pairs.ignored(0)[0], (64, 96)), [[0, 0, 90, 10]], atol=1e-4)
        np.testing.assert_allclose(xywhn_to_xyxy(pairs.labels(1)[0], (64, 96)), [[0, 0, 15, 15]], atol=1e-4)
        assert pairs.num_boxes == 2
        assert len(pairs.ignored(1)[1]) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"images": [{"id": 1, "file_name": "none.png", "width": 96, "height": 64}]},
            r"none\.png: matches no pair",
        ),
        ({"images": [{"id": 1, "file_name": "train_000.png", "width": 0, "height": 64}]}, "expected width and height"),
        ({"annotations": [{"image_id": 99, "category_id": 3, "bbox": [1, 1, 2, 2]}]}, r"annotations\[0\]: image_id"),
        ({"annotations": [{"image_id": 7, "category_id": 9, "bbox": [1, 1, 2, 2]}]}, "category_id: no category"),
        ({"annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 1, 0, 2]}]}, "must be above 0"),
        ({"annotations": [{"image_id": 7, "category_id": 3, "bbox": [200, 1, 5, 5]}]}, "lies outside its image"),
        ({"annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 2, "x", 4]}]}, r"expected \[x, y, width"),
        (
            {"annotations": [{"image_id": 7, "category_id": 3, "bbox": [0.1, 0.2, 0.3, 0.4]}] * 2},
            r"gt\.json: all its 2 boxes lie in 0\.\.1; normalised\?",
        ),
        (
            {"annotations": [{"image_id": 7, "category_id": 3, "bbox": [x, 9, x + 30, 30]} for x in range(0, 50, 10)]},
            r"gt\.json: 1 of 5 boxes reach beyond their image, and all fit as corners: x1 y1 x2 y2\?",
        ),
        ({"annotations": [3]}, r"annotations\[0\]"),
        ({"categories": [{"id": 3, "name": "dog"}]}, "none of its categories is among names"),
        ({"images": None}, "no COCO ground truth"),
    ],
)
def test_coco__mistake_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    make_pairs(tmp_path, 2, 0)
    _coco(tmp_path, **change)
    with pytest.raises(DataError, match=message):
        pairs_of(write_descriptor(tmp_path, {"train": COCO_SOURCE}))


@pytest.mark.parametrize("boxes", [[[0.1, 0.2, 0.3, 0.4], [5, 5, 9, 9]], [[0, 0, 1, 1]], [[1, 1, 99, 9]]])
def test_coco__small_boxes_are_read(tmp_path: Path, boxes: list[list[float]]) -> None:
    make_pairs(tmp_path, 2, 0)
    _coco(tmp_path, annotations=[{"image_id": 7, "category_id": 3, "bbox": box} for box in boxes])
    assert pairs_of(write_descriptor(tmp_path, {"train": COCO_SOURCE})).num_boxes == len(boxes)


@pytest.mark.parametrize(
    ("polygons", "is_told"),
    [
        ([[20, 20, 60, 20, 60, 40]], True),  # as on an image of twice the size
        ([[10, 10, 30, 10, 30, 20]], False),
        ([[10, 10, 12, 10, 12, 20], [28, 10, 30, 10, 30, 18]], False),  # of one object
        ([], False),
        ({"counts": [1], "size": [64, 96]}, False),
    ],
)
def test_coco__boxes_off_their_polygons_are_counted(
    tmp_path: Path, polygons: object, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    make_pairs(tmp_path, 2, 0)
    box = {"image_id": 7, "category_id": 3, "bbox": [10, 10, 20, 10], "segmentation": polygons}
    _coco(tmp_path, annotations=[box])
    assert pairs_of(write_descriptor(tmp_path, {"train": COCO_SOURCE})).num_boxes == 1
    text = "1 boxes lie elsewhere than their polygons; the boxes are used; first annotations[0]"
    assert (text in caplog.text) == is_told


@pytest.mark.real
@pytest.mark.parametrize("name", ["roadscene-flir", "llvip-hr"])
def test_coco__real_files_agree_with_the_txt_labels(tmp_path: Path, name: str) -> None:
    root = real_data(name)
    names = list(yaml.safe_load((root / "data.yaml").read_text())["names"].values())
    file = tmp_path / "data.yaml"
    splits = {"val": {"rgb": "images/val", "ir": "imagesIR/val", "coco": "annotations/coco_val.json"}}
    file.write_text(yaml.safe_dump({"root": str(root), "names": names, "splits": splits}))
    ours = load_pairs(load_descriptor(file), "val", cache_dir=tmp_path)
    txt = load_pairs(load_descriptor(root / "data.yaml"), "val", cache_dir=tmp_path)
    assert [record.key for record in ours.records] == [record.key for record in txt.records]
    for index in range(len(ours)):
        (one, classes), (two, expected) = ours.labels(index), txt.labels(index)
        order, other = np.lexsort(one.round(3).T), np.lexsort(two.round(3).T)
        np.testing.assert_allclose(one[order], two[other], atol=2e-3)
        np.testing.assert_array_equal(classes[order], expected[other])


@pytest.mark.parametrize("form", ["list", "manifest"])
def test_coco__one_file_serves_all_splits(tmp_path: Path, form: str) -> None:
    make_pairs(tmp_path, 4, 0)
    keys = [f"train_{n:03d}" for n in range(4)]
    write_coco(tmp_path / "all.json", {n: f"{key}.png" for n, key in enumerate(keys, start=1)})
    (tmp_path / "train.txt").write_text("\n".join(keys[:3]))
    rows = [f"rgb/train/{key}.png,ir/train/{key}.png,{'val' if n == 3 else 'train'}" for n, key in enumerate(keys)]
    (tmp_path / "pairs.csv").write_text("\n".join(["rgb,ir,split", *rows]))
    part = {"rgb": "rgb/train", "ir": "ir/train", "list": "train.txt"} if form == "list" else {"manifest": "pairs.csv"}
    pairs = pairs_of(write_descriptor(tmp_path, {"train": {**part, "coco": "all.json"}}))
    assert [record.key.rpartition("/")[2] for record in pairs.records] == keys[:3]
    assert pairs.num_boxes == 3


@pytest.mark.parametrize(
    ("train", "val", "is_told"),
    [
        (COCO_SOURCE, folders("val"), True),
        ({**COCO_SOURCE, "list": "train.txt"}, folders("val"), True),
        ({"manifest": "pairs.csv", "coco": "gt.json"}, folders("val"), True),
        (COCO_SOURCE, {**COCO_SOURCE, "coco": "val.json"}, False),  # the files divide a folder
    ],
    ids=["folders", "list", "manifest", "shared"],
)
def test_coco__pairs_that_it_does_not_list_are_counted(
    tmp_path: Path, train: dict[str, str], val: dict[str, str], is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    make_pairs(tmp_path, 5, 1)
    keys = [f"train_{n:03d}" for n in range(5)]
    write_coco(tmp_path / "gt.json", {1: "train_000.png", 2: "train_002.png"})
    write_coco(tmp_path / "val.json", {1: "train_001.png", 2: "train_003.png", 3: "train_004.png"})
    (tmp_path / "train.txt").write_text("\n".join(keys[:4]))  # the fifth is of another split
    rows = [f"rgb/train/{key}.png,ir/train/{key}.png,{'val' if key == keys[4] else 'train'}" for key in keys]
    (tmp_path / "pairs.csv").write_text("\n".join(["rgb,ir,split", *rows]))
    descriptor = write_descriptor(tmp_path, {"train": train, "val": val})
    for _ in ("read", "from the cache"):
        caplog.clear()
        assert len(pairs_of(descriptor)) == 2
        count = "2 of 4" if train != COCO_SOURCE else "3 of 5"
        text = (
            f"gt.json: {count} pairs of splits.train are not listed and are left out, such as rgb/train/train_001.png"
        )
        assert (text in caplog.text) == is_told
        assert ("not listed" in caplog.text) == is_told


def test_coco__a_category_has_one_name_in_both_unicode_forms(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", "0001", random_pair(0))
    nfc, nfd = (unicodedata.normalize(form, "véhicule") for form in ("NFC", "NFD"))
    write_coco(tmp_path / "gt.json", {1: "0001.png"})
    for ours, theirs in ((nfc, nfd), (nfd, nfc)):
        content = json.loads((tmp_path / "gt.json").read_text())
        (tmp_path / "gt.json").write_text(json.dumps({**content, "categories": [{"id": 1, "name": theirs}]}))
        pairs = pairs_of(write_descriptor(tmp_path, {"train": COCO_SOURCE}, names=[ours]))
        assert (pairs.names, pairs.num_boxes) == ((nfc,), 1)
    with pytest.raises(DataError, match="a name is given twice"):
        pairs_of(write_descriptor(tmp_path, {"train": COCO_SOURCE}, names=[nfc, nfd]))


def test_coco__that_lists_nothing_is_reported(tmp_path: Path) -> None:
    write_pair(tmp_path, "train", "0001", random_pair(0))
    write_coco(tmp_path / "gt.json", {})
    with pytest.raises(DataError, match=r"lists no pair of splits\.train"):
        pairs_of(write_descriptor(tmp_path, {"train": COCO_SOURCE}))


def test_coco__a_turned_box_is_read_as_the_part_inside_of_the_upright_box_around_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make_pairs(tmp_path, 2, 0)
    turned = {"image_id": 7, "category_id": 3, "attributes": {"occluded": False, "rotation": 90.0}}
    boxes = [{"id": 1, **turned, "bbox": [10, 20, 20, 4]}, {"id": 2, **turned, "bbox": [0, 40, 20, 4]}]
    boxes[1:] += [{"id": 3, **turned, "bbox": [50, 2, 20, 4], "attributes": {"rotation": 0.0}}]
    _coco(tmp_path, annotations=boxes)
    pairs = pairs_of(write_descriptor(tmp_path, {"train": COCO_SOURCE}))
    expected = [[18, 12, 22, 32], [8, 32, 12, 52], [50, 2, 70, 6]]
    np.testing.assert_allclose(xywhn_to_xyxy(pairs.labels(0)[0], (64, 96)), expected, atol=1e-4)
    assert "2 boxes are turned; the upright boxes around them are used; first annotations[0]" in caplog.text


def test_coco__a_rotation_that_is_no_number_is_refused(tmp_path: Path) -> None:
    make_pairs(tmp_path, 2, 0)
    box = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "attributes": {"rotation": "left"}}
    _coco(tmp_path, annotations=[box])
    with pytest.raises(DataError, match=r"annotations\[0\]: attributes.rotation: expected degrees \(got 'left'\)"):
        pairs_of(write_descriptor(tmp_path, {"train": COCO_SOURCE}))


def test_pairs_that_no_coco_file_lists__are_counted_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_pairs(tmp_path, 4, 0)
    splits = {}
    for split, keys in (("train", ["train_000"]), ("val", ["train_001", "train_002"])):
        write_coco(tmp_path / f"{split}.json", {n: f"{key}.png" for n, key in enumerate(keys)})
        splits[split] = {"rgb": "rgb/train", "ir": "ir/train", "coco": f"{split}.json"}
    descriptor = write_descriptor(tmp_path, splits)
    assert [len(pairs_of(descriptor, split)) for split in ("train", "val")] == [1, 2]
    (told,) = [record.getMessage() for record in caplog.records if "of 4 pairs" in record.getMessage()]
    assert "1 of 4 pairs of splits.train are listed neither here nor in" in told
    assert "val.json and are left out, such as rgb/train/train_003.png" in told


@pytest.mark.parametrize(
    ("name", "frame", "is_refused"),
    [
        ("ir/train/train_000.png", "rgb", True),
        ("ir/train/train_000.png", "ir", False),
        ("rgb/train/train_000.png", "ir", True),
        ("rgb/train/train_000.png", "rgb", False),
        ("train_000.png", "rgb", False),  # of either
    ],
)
def test_coco__of_the_other_camera_is_refused_where_images_lie_apart(
    tmp_path: Path, name: str, frame: str, is_refused: bool
) -> None:
    make_pairs(tmp_path, 1, 0)
    write_coco(tmp_path / "gt.json", {1: name})
    source: dict[str, object] = {"rgb": "rgb/train", "ir": "ir/train", "coco": "gt.json", "frame": frame}
    assert pairs_of(write_descriptor(tmp_path, {"train": source})).num_boxes == 1  # they cover each other
    descriptor = write_descriptor(tmp_path, {"train": source | {"resize": {"affine": [[1, 0, 9], [0, 1, 0]]}}})
    if is_refused:
        with pytest.raises(DataError, match=f"it lists images of {name.partition('/')[0]}: are its boxes"):
            pairs_of(descriptor)
    else:
        assert pairs_of(descriptor).num_boxes == 1
