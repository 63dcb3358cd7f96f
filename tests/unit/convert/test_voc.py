"""Pascal VOC files: read by value, and refused with file and line where they are broken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.convert_trees import only_problem, text, voc
from yolofuse.convert.source_folder import SourceFolder
from yolofuse.convert.voc import read_voc
from yolofuse.errors import DataError


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
    assert message in only_problem(source)


def test_voc__bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes(b"\x00\xff" * 50)
    source = SourceFolder(tmp_path)
    read_voc(source, tmp_path / "a.xml")
    assert "a.xml:1: not valid XML" in only_problem(source)


def test_voc__text_in_latin_1_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_bytes("<annotation><filename>Straße".encode("latin-1"))
    source = SourceFolder(tmp_path)
    read_voc(source, tmp_path / "a.xml")
    assert "it is not in UTF-8, but perhaps a text in Latin-1 or Windows-1252 (byte 0xdf" in only_problem(source)


def test_voc__boxes_in_0_to_1_are_refused_with_a_count(tmp_path: Path) -> None:
    boxes = [("car", 0.1, 0.2, 0.5, 1), ("car", 0, 0, 0.3, 0.25), ("car", 0, 0, 1, 1), ("car", 0.5, 0.5, 1.5, 1)]
    source = SourceFolder(tmp_path)
    read_voc(source, voc(tmp_path / "a.xml", boxes))
    with pytest.raises(DataError, match=r"2 boxes lie in 0\.\.1; are they normalised\?.*first .*a\.xml:3"):
        source.check()


def test_voc__a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "a.xml").open("wb") as stream:
        stream.truncate(9 << 20)
    source = SourceFolder(tmp_path)
    read_voc(source, tmp_path / "a.xml")
    assert "9 MiB; expected 8 MiB at most" in only_problem(source)


def test_voc__objects_sizes_and_lines(tmp_path: Path) -> None:
    source = SourceFolder(tmp_path)
    found = read_voc(source, voc(tmp_path / "a.xml", [("car", 1, 2, 3.5, 4), ("a b", 5, 6, 7, 8)], (640, 512)))
    assert found.size_wh == (640, 512)
    assert [(obj.name, obj.xyxy) for obj in found.objects] == [("car", (1, 2, 3.5, 4)), ("a b", (5, 6, 7, 8))]
    assert [obj.where.rpartition(":")[2] for obj in found.objects] == ["3", "4"]
    assert source.problems == []


@pytest.mark.parametrize("corners", [(20, 5, 10, 9), (10, 9, 20, 5), (20, 9, 10, 5)], ids=["x", "y", "both"])
def test_voc__swapped_corners_are_put_in_order_and_counted(tmp_path: Path, corners: tuple[int, int, int, int]) -> None:
    source = SourceFolder(tmp_path)
    found = read_voc(source, voc(tmp_path / "a.xml", [("car", *corners), ("car", 1, 2, 3, 4), ("car", *corners)]))
    assert [obj.xyxy for obj in found.objects] == [(10, 5, 20, 9), (1, 2, 3, 4), (10, 5, 20, 9)]
    [warning] = source.all_warnings()
    assert warning.startswith("2 boxes have swapped corners; read as the boxes between them; first ")
    assert "a.xml:3 " in warning


def _objects(*inner: str) -> str:
    box = "<bndbox><xmin>10</xmin><ymin>20</ymin><xmax>30</xmax><ymax>24</ymax></bndbox>"
    size = "<size><width>96</width><height>64</height></size>"
    return (
        f"<annotation>{size}"
        + "".join(f"\n<object><name>car</name>{part}{box}</object>" for part in inner)
        + "</annotation>"
    )


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("<bndbox><xmin>1</xmin></bndbox>", ":2: <object> with 2 <bndbox>; which is meant?"),
        ("<name>van</name>", ":2: <object> with 2 <name>; which is meant?"),
        ("<difficult>0</difficult><difficult>1</difficult>", ":2: <object> with 2 <difficult>; which is meant?"),
    ],
    ids=["boxes", "names", "flags"],
)
def test_voc__an_object_with_two_values_is_refused(tmp_path: Path, part: str, message: str) -> None:
    source = SourceFolder(tmp_path)
    read_voc(source, text(tmp_path / "a.xml", _objects(part)))
    assert message in only_problem(source)


def test_voc__a_number_has_no_underscore(tmp_path: Path) -> None:
    source = SourceFolder(tmp_path)
    read_voc(source, text(tmp_path / "a.xml", _objects("").replace(">10<", ">1_0<")))
    assert "<xmin>: expected a number (got '1_0')" in only_problem(source)


def test_voc__difficult_objects_are_regions_to_ignore_and_counted(tmp_path: Path) -> None:
    values = ("1", " 1 ", "0", "Unspecified", "")
    source = SourceFolder(tmp_path)
    content = _objects(*(f"<difficult>{value}</difficult>" for value in values), "")
    found = read_voc(source, text(tmp_path / "a.xml", content))
    assert [obj.ignore for obj in found.objects] == [True, True, False, False, False, False]
    [warning] = source.all_warnings()
    assert warning.startswith("2 objects are marked difficult; they become regions to ignore; first ")
    read_voc(source, text(tmp_path / "b.xml", _objects("<difficult>7</difficult>")))
    assert "b.xml:2: <difficult>: expected 0 or 1 (got '7')" in only_problem(source)


@pytest.mark.parametrize(
    ("degrees", "xyxy"), [("90", (18, 12, 22, 32)), ("-90.0", (18, 12, 22, 32)), ("30", (10.34, 15.27, 29.66, 28.73))]
)
def test_voc__a_turned_box_is_read_as_the_upright_box_around_it(
    tmp_path: Path, degrees: str, xyxy: tuple[float, ...]
) -> None:
    rotation = "<attributes><attribute><name>rotation</name><value>{}</value></attribute></attributes>"
    source = SourceFolder(tmp_path)
    found = read_voc(
        source,
        text(tmp_path / "a.xml", _objects(rotation.format(degrees), rotation.format("0.0"), rotation.format("360"))),
    )
    assert found.objects[0].xyxy == pytest.approx(xyxy, abs=0.01)
    assert [obj.xyxy for obj in found.objects[1:]] == [(10, 20, 30, 24)] * 2
    [warning] = source.all_warnings()
    assert warning.startswith("1 boxes are turned; the upright boxes around them are used; first ")


def test_voc__a_turned_box_of_rolabelimg_is_refused_by_name(tmp_path: Path) -> None:
    box = "<robndbox><cx>5</cx><cy>5</cy><w>2</w><h>4</h><angle>1.05</angle></robndbox>"
    source = SourceFolder(tmp_path)
    objects = f"\n<object><name>car</name>{box}</object>" * 3
    read_voc(source, text(tmp_path / "a.xml", f"<annotation>{objects}</annotation>"))
    with pytest.raises(DataError, match=r"1 problem\n  3 turned boxes of roLabelImg.*save upright .*first .*a\.xml:2$"):
        source.check()


@pytest.mark.parametrize("has_size", [True, False])
def test_voc__labels_without_a_size_are_counted(tmp_path: Path, has_size: bool) -> None:
    content = _objects("")
    if not has_size:
        content = re.sub("<size>.*</size>", "", content)
    source = SourceFolder(tmp_path)
    read_voc(source, text(tmp_path / "a.xml", content))
    said = [warning.partition(":")[0] for warning in source.all_warnings()]
    assert said == ([] if has_size else ["1 labels give no size of their image"])
