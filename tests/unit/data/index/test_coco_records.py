"""COCO records: the loader and ``prepare`` read the same boxes and ignore regions, and refuse the same files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.coco_cases import evaluate, row
from tests.support.descriptors import COCO_SOURCE
from tests.support.pairs import make_pairs, pairs_of
from yolofuse.convert.coco_json import read_coco
from yolofuse.convert.source_folder import SourceFolder
from yolofuse.errors import DataError
from yolofuse.eval.coco import ground_truth

_BOX = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [8, 8, 24, 16]}


def _document(**more: object) -> dict[str, Any]:
    return {
        "images": [{"id": 1, "file_name": "train_000.png", "width": 96, "height": 64}],
        "annotations": [_BOX],
        "categories": [{"id": 1, "name": "person"}],
        **more,
    }


def _counts(root: Path, content: str) -> list[tuple[int, int]]:
    """Return the number of boxes and of ignore regions as both readers read them.

    Raises:
        DataError: With the errors of both readers, if there are any.
    """
    descriptor = make_pairs(root, 1, 0, extra={"splits": {"train": COCO_SOURCE}})
    (root / "gt.json").write_text(content)
    source = SourceFolder(root)
    images = read_coco(source, root / "gt.json").images
    errors, counts = [*source.problems], []
    try:
        pairs = pairs_of(descriptor)
        counts.append((len(pairs.labels(0)[0]), len(pairs.ignored(0)[0])))
    except DataError as error:
        errors.append(str(error))
    assert len(errors) in (0, 2), f"one reader alone refuses it: {errors}"
    if errors:
        raise DataError("\n---\n".join(errors))
    ignored = sum(obj.ignore for obj in images[0].objects)
    return [*counts, (len(images[0].objects) - ignored, ignored)]


@pytest.mark.parametrize(
    ("flags", "is_ignored"),
    [
        ({}, False),
        ({"iscrowd": 0}, False),
        ({"iscrowd": False, "ignore": 0}, False),
        ({"iscrowd": None}, False),
        ({"iscrowd": 1}, True),
        ({"iscrowd": True}, True),
        ({"ignore": 1}, True),
        ({"iscrowd": 0, "ignore": 1}, True),
        ({"iscrowd": 0, "ignore": True}, True),
    ],
)
def test_flags__make_a_box_or_an_ignore_region_in_both_readers(
    tmp_path: Path, flags: dict[str, object], is_ignored: bool
) -> None:
    content = json.dumps(_document(annotations=[{**_BOX, **flags}]))
    assert _counts(tmp_path, content) == [(0, 1) if is_ignored else (1, 0)] * 2


def _changed(key: str, **change: object) -> str:
    document = _document()
    document[key] = [{**document[key][0], **change}]
    return json.dumps(document)


REFUSED: dict[str, tuple[str, str]] = {
    "text-flag": (_changed("annotations", iscrowd="0"), r"annotations[0]: iscrowd: expected 0 or 1 (got '0')"),
    "text-ignore": (_changed("annotations", ignore="false"), "annotations[0]: ignore: expected 0 or 1 (got 'false')"),
    "other-number": (_changed("annotations", iscrowd=2), "annotations[0]: iscrowd: expected 0 or 1 (got 2)"),
    "image-true": (_changed("annotations", image_id=True), "annotations[0]: image_id: no image has it (got True)"),
    "category-text": (_changed("annotations", category_id="1"), "annotations[0]: category_id: no category has it"),
    "negative-side": (_changed("annotations", bbox=[30, 8, -9, 9]), "annotations[0]: bbox: width and height must be"),
    "text-size": (_changed("images", width="96"), "images[0]: train_000.png: expected width and height in pixels"),
    "id-twice": (
        json.dumps(_document(images=[*_document()["images"], {**_document()["images"][0], "file_name": "b.png"}])),
        "images[1]: id 1 is given twice",
    ),
    "category-twice": (
        json.dumps(_document(categories=[{"id": 1, "name": "person"}, {"id": 1, "name": "car"}])),
        "categories[1]: expected {id, name} with a unique id (got 1)",
    ),
    "key-twice": (
        json.dumps(_document()).replace('"bbox"', '"bbox": [1, 1, 2, 2], "bbox"'),
        "key 'bbox' is given twice in one object",
    ),
    "lists-twice": (
        json.dumps(_document())[:-1] + ', "annotations": []}',
        "key 'annotations' is given twice in one object",
    ),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_mistake__is_refused_with_its_place_by_both_readers(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        _counts(tmp_path, content)
    assert [message in errors for errors in str(caught.value).split("\n---\n")] == [True, True]


@pytest.mark.parametrize("flag", ["iscrowd", "ignore"])
def test_ignore__counts_neither_way_in_the_evaluation(tmp_path: Path, flag: str) -> None:
    descriptor = make_pairs(tmp_path, 1, 0, extra={"splits": {"train": COCO_SOURCE}})
    region = {**_BOX, "id": 2, "bbox": [50, 30, 40, 30], flag: 1}
    (tmp_path / "gt.json").write_text(json.dumps(_document(annotations=[_BOX, region])))
    pairs = pairs_of(descriptor)
    truth = ground_truth(pairs.records, pairs.labels, pairs.names, pairs.ignored)
    rows = [row(1, 1, [8.0, 8.0, 24.0, 16.0], 0.5), row(1, 1, [60.0, 35.0, 10.0, 10.0], 0.9)]
    result = evaluate(truth, rows)
    assert (result.num_boxes, result.AP, result.AP50) == pytest.approx((1, 1.0, 1.0))


@pytest.mark.parametrize(("score", "is_refused"), [(0.03, True), (0.99, True), (1, False), (1.0, False), (None, False)])
def test_annotations_with_scores__are_detections(tmp_path: Path, score: float | None, is_refused: bool) -> None:
    content = json.dumps(_document(annotations=[_BOX | {"score": score}]))
    if not is_refused:
        assert _counts(tmp_path, content) == [(1, 0), (1, 0)]
        return
    with pytest.raises(DataError, match=r"1 annotation has a score below 1; .*first annotations\[0\]"):
        _counts(tmp_path, content)
