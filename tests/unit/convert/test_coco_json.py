"""COCO files: refused with the record where they are broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.convert_trees import coco, only_problem, text
from yolofuse.convert.coco_json import read_coco
from yolofuse.convert.source_folder import SourceFolder
from yolofuse.errors import DataError


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{\n  'a': 1}", "a.json:2: not valid JSON"),
        ("[1, 2]", "expected {images, annotations, categories} (got list)"),
        ('{"images": [], "annotations": {}}', "annotations: expected a list (got dict)"),
        ('{"images": [NaN], "annotations": [], "categories": []}', "NaN is no number in JSON"),
        ("[" * 200_000, "not valid JSON"),
    ],
    ids=["quotes", "list", "mapping", "nan", "deep"],
)
def test_coco__a_broken_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    source = SourceFolder(tmp_path)
    assert read_coco(source, text(tmp_path / "a.json", content)).images == []
    assert message in only_problem(source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"bbox": [1, 2, 3, 4]', '"bbox": [1, 2, 3]'), "annotations[0]: bbox: expected [x, y, width, height]"),
        (('"bbox": [1, 2, 3, 4]', '"bbox": [1, 2, 3, "4"]'), "annotations[0]: bbox: expected [x, y, width, height]"),
        (('"bbox": [1, 2, 3, 4]', '"bbox": [1, 2, 3, 1e999]'), "annotations[0]: bbox: expected [x, y, width, height]"),
        (('"category_id": 1', '"category_id": 9'), "annotations[0]: category_id: no category has it (got 9)"),
        (('"image_id": 0', '"image_id": 7'), "annotations[0]: image_id: no image has it (got 7)"),
        (('"file_name": "a.jpg"', '"file_name": 5'), "images[0]: expected id and file_name (got 0, 5)"),
        (('"name": "car"', '"name": ""'), "categories[0]: expected {id, name}"),
    ],
)
def test_coco__a_broken_record_is_named(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = coco(tmp_path / "a.json", {"a.jpg": [(1, [1, 2, 3, 4])]}, {1: "car"})
    assert change[0] in path.read_text()
    path.write_text(path.read_text().replace(*change))
    source = SourceFolder(tmp_path)
    read_coco(source, path)
    assert message in source.problems[0]


def test_coco__a_turned_box_is_read_as_the_upright_box_around_it(tmp_path: Path) -> None:
    path = coco(tmp_path / "a.json", {"a.jpg": [(1, [10, 20, 20, 4])]}, {1: "car"})
    path.write_text(path.read_text().replace('"bbox"', '"attributes": {"rotation": 90.0}, "bbox"'))
    source = SourceFolder(tmp_path)
    [image] = read_coco(source, path).images
    assert image.objects[0].xyxy == pytest.approx((18, 12, 22, 32))
    [warning] = source.all_warnings()
    assert warning.startswith("1 boxes are turned; the upright boxes around them are used; first ")


def test_coco__boxes_in_0_to_1_are_refused_with_a_count(tmp_path: Path) -> None:
    path = coco(tmp_path / "a.json", {"a.jpg": [(1, [0.5, 0.25, 0.5, 0.5]), (1, [0.1, 0.1, 4, 5])]}, {1: "car"})
    source = SourceFolder(tmp_path)
    read_coco(source, path)
    with pytest.raises(DataError, match=r"1 boxes lie in 0\.\.1; are they normalised\?.*annotations\[0\]"):
        source.check()
