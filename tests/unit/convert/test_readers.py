"""Annotation files of strangers: read by value, and refused with file and line where they are broken or hostile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.convert_trees import coco, text, voc
from yolofuse.convert.bbgt import read_bbgt
from yolofuse.convert.coco_json import read_coco
from yolofuse.convert.safe_xml import XmlError, parse_xml
from yolofuse.convert.source_folder import SourceFolder
from yolofuse.convert.val_split import choose_by_hash, choose_groups
from yolofuse.convert.voc import read_voc

_BOMB = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<annotation><object><name>&b;</name></object></annotation>"""
_EXTERNAL = """<?xml version="1.0"?>
<!DOCTYPE annotation [<!ENTITY secret SYSTEM "file://{file}">]>
<annotation><object><name>&secret;</name></object></annotation>"""
_EXTERNAL_DTD = '<?xml version="1.0"?>\n<!DOCTYPE annotation SYSTEM "file://{file}">\n<annotation/>'


def _problem(source: SourceFolder) -> str:
    assert len(source.problems) == 1, source.problems
    return source.problems[0]


@pytest.mark.parametrize("content", [_BOMB, _EXTERNAL, _EXTERNAL_DTD], ids=["bomb", "external-entity", "external-dtd"])
def test_xml__entities_and_document_types_are_refused(tmp_path: Path, content: str) -> None:
    secret = text(tmp_path / "secret.txt", "the secret")
    path = text(tmp_path / "a.xml", content.replace("{file}", str(secret)))
    source = SourceFolder(tmp_path)
    assert read_voc(source, path).objects == []
    assert f"{path}:2: document types and entities are refused" in _problem(source)
    assert "the secret" not in _problem(source)


def test_xml__absurd_depth_is_refused() -> None:
    with pytest.raises(XmlError, match="more than 30 elements inside one another"):
        parse_xml(b"<a>" * 100_000)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.xml:1: not valid XML"),
        ("<annotation>\n<object>\n</annotation>", "a.xml:3: not valid XML (mismatched tag)"),
        ("<html/>", "a.xml:1: expected <annotation> (got <html>)"),
        ("<annotation>\n<object><bndbox>\n<xmin>1</xmin></bndbox></object></annotation>", "a.xml:2: <bndbox> without"),
        (
            "<annotation><object><bndbox>\n<xmin>one</xmin></bndbox></object></annotation>",
            "a.xml:2: <xmin>: expected a number (got 'one')",
        ),
        (
            "<annotation><object><bndbox>\n<xmin>nan</xmin></bndbox></object></annotation>",
            "a.xml:2: <xmin>: expected a number (got 'nan')",
        ),
        ("<annotation><size>\n<width>wide</width></size></annotation>", "a.xml:2: <width>: expected a number"),
    ],
    ids=["empty", "cut-off", "html", "no-corner", "word", "nan", "size"],
)
def test_voc__a_broken_file_is_named_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    source = SourceFolder(tmp_path)
    read_voc(source, text(tmp_path / "a.xml", content))
    assert message in _problem(source)


def test_voc__bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(b"\x00\xff" * 50)
    source = SourceFolder(tmp_path)
    read_voc(source, tmp_path / "a.xml")
    assert "a.xml:1: not valid XML" in _problem(source)


def test_voc__a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a.xml").open("wb") as stream:
        stream.truncate(9 << 20)
    source = SourceFolder(tmp_path)
    read_voc(source, tmp_path / "a.xml")
    assert "9 MiB; expected 8 MiB at most" in _problem(source)


def test_voc__objects_sizes_and_lines(tmp_path: Path) -> None:
    source = SourceFolder(tmp_path)
    found = read_voc(source, voc(tmp_path / "a.xml", [("car", 1, 2, 3.5, 4), ("a b", 5, 6, 7, 8)], (640, 512)))
    assert found.size_wh == (640, 512)
    assert [(obj.name, obj.xyxy) for obj in found.objects] == [("car", (1, 2, 3.5, 4)), ("a b", (5, 6, 7, 8))]
    assert [obj.where.rpartition(":")[2] for obj in found.objects] == ["3", "4"]
    assert source.problems == []


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
    assert message in _problem(source)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"bbox": [1, 2, 3, 4]', '"bbox": [1, 2, 3]'), "annotations[0]: bbox: expected 4 numbers"),
        (('"bbox": [1, 2, 3, 4]', '"bbox": [1, 2, 3, "4"]'), "annotations[0]: bbox: expected 4 numbers"),
        (('"bbox": [1, 2, 3, 4]', '"bbox": [1, 2, 3, 1e999]'), "annotations[0]: bbox: expected 4 numbers"),
        (('"category_id": 1', '"category_id": 9'), "annotations[0]: category_id 9 is not among the categories"),
        (('"image_id": 0', '"image_id": 7'), "annotations[0]: image_id 7 is not among the images"),
        (('"file_name": "a.jpg"', '"file_name": 5'), "images[0]: expected {id: , file_name: text}"),
        (('"name": "car"', '"name": ""'), "categories[0]: expected {id: whole number, name: text}"),
    ],
)
def test_coco__a_broken_record_is_named(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = coco(tmp_path / "a.json", {"a.jpg": [(1, [1, 2, 3, 4])]}, {1: "car"})
    assert change[0] in path.read_text()
    path.write_text(path.read_text().replace(*change))
    source = SourceFolder(tmp_path)
    read_coco(source, path)
    assert message in source.problems[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.txt:1: expected '% bbGt version=3' (got 'an empty file')"),
        ("person 1 2 3 4 0 0 0 0 0 0 0", "a.txt:1: expected '% bbGt version=3'"),
        ("% bbGt version=3\nperson 1 2 3\n", "a.txt:2: expected a label and 11 numbers"),
        ("% bbGt version=3\nperson 1 2 3 x 0 0 0 0 0 0 0\n", "a.txt:2: expected a label and 11 numbers"),
    ],
)
def test_bbgt__a_broken_file_is_named_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    source = SourceFolder(tmp_path)
    assert read_bbgt(source, text(tmp_path / "a.txt", content)) == []
    assert message in _problem(source)


def test_origin__a_loop_of_links_ends(tmp_path: Path) -> None:
    text(tmp_path / "data" / "a.xml", "")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data")
    assert list(SourceFolder(tmp_path).files(tmp_path / "data", (".xml",))) == ["a"]


@pytest.mark.parametrize(
    ("sizes", "share", "wanted"),
    [
        ({"01": 60, "02": 10, "03": 30}, 0.1, ("02",)),
        ({"01": 50, "02": 4, "03": 6, "04": 40}, 0.1, ("02", "03")),
        ({"01": 10, "02": 10, "03": 80}, 0.1, ("01",)),  # equal: first in order
        ({"01": 80, "02": 10, "03": 4, "04": 6}, 0.1, ("02",)),  # equal: fewest groups
        ({"01": 99, "02": 1}, 0.1, ("02",)),
        ({"01": 50, "02": 50}, 0.1, ("01",)),
        ({"01": 7}, 0.1, ()),
        ({}, 0.1, ()),
    ],
)
def test_groups__nearest_to_the_share(sizes: dict[str, int], share: float, wanted: tuple[str, ...]) -> None:
    assert choose_groups(sizes, share) == wanted


def test_hash_split__does_not_depend_on_order_and_grows_with_the_share() -> None:
    keys = [f"{number:05d}" for number in range(100)]
    small = choose_by_hash(keys, 0, 0.2)
    assert len(small) == 20
    assert small == choose_by_hash(keys[::-1], 0, 0.2)
    assert small < choose_by_hash(keys, 0, 0.3)
    assert small != choose_by_hash(keys, 1, 0.2)


def test_hash_split__is_the_published_rule() -> None:
    # SHA-256 of 0:00000 begins with 50, of 0:00001 with 90, of 0:00002 with c7
    assert choose_by_hash(["00002", "00001", "00000"], 0, 0.34) == {"00000"}
