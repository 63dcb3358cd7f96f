from __future__ import annotations

from pathlib import Path

import pytest

from yolofuse.data.index.yolo_labels import read_labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 .5 .5 .1\n", ":1: expected 5 numbers"),
        ("\n0 .5 .5 .1 x\n", ":2: expected 5 numbers"),
        ("1 .5 .5 .1 .1\n", ":1: class must be 0 .. 0 (got 1)"),
        ("0.5 .5 .5 .1 .1\n", ":1: class must be"),
        ("0 nan .5 .1 .1\n", ":1: numbers must be finite"),
        ("0 .5 .5 inf .1\n", ":1: numbers must be finite"),
        (
            "0 .5 .5 .1 .1 .9\n",
            ":1: expected 5 numbers 'class x y w h', or a polygon 'class x y x y ...' (got 6); is the",
        ),
        (
            "0 .1 .1 .2 .2 .3 .3 .4\n",
            ":1: expected 5 numbers 'class x y w h', or a polygon 'class x y x y ...' (got 8)",
        ),
        ("0 1 1 20 1 20 30\n", ":1: x y of a polygon must lie in 0..1"),
        ("0 .1 .1 .2 .1 .3 .1\n", ":1: width and height must be above 0"),
        ("0 .1 .1 .2 .1 nan .1\n", ":1: numbers must be finite"),
        ("0 .5 .5 .2 .2 .9 1\n", ":1: expected numbers 'class x y w h', or a polygon 'class x y x y ...' (got "),
        ("0 .5 .5 .2 .2 .9 17.0\n", ":1: expected numbers 'class x y w h', or a polygon 'class x y x y ...' (got "),
        ("0 .5 .5 .1_5 .2\n", ":1: expected 5 numbers"),
        ("0_0 .5 .5 .1 .2\n", ":1: expected 5 numbers"),
        ("0 48 32 10 10\n", ":1: x y w h must lie in 0..1"),
        ("0 .5 .5 .1 0\n", ":1: width and height must be above 0"),
    ],
)
def test_read_labels__error_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "label.txt"
    file.write_text(text)
    (problem,) = read_labels(file, 1).problems
    assert problem.text.startswith(f"{file}{message}")


def test_read_labels__rounding_past_the_border_is_clipped_and_a_duplicate_box_is_used_once(tmp_path: Path) -> None:
    file = tmp_path / "label.txt"
    file.write_text("0 .5 .5 1.0000005 .5\n0 .5 .5 1.0000005 .5\n")
    label = read_labels(file, 1)
    assert label.boxes_xywhn == [(0.5, 0.5, 1.0, 0.5)]
    assert [warning.text for warning in label.warnings] == [f"{file}:2: the same box is given twice; one is used"]


def test_polygon__becomes_the_box_around_it(tmp_path: Path) -> None:
    file = tmp_path / "label.txt"
    file.write_text("0 .2 .3 .6 .1 .4 .5\n0 .5 .5 .1 .1\n1 0 0 1.0000005 0 1 1 0 1\n")
    label = read_labels(file, 2)
    expected = [(0.4, 0.3, 0.4, 0.4), (0.5, 0.5, 0.1, 0.1), (0.5, 0.5, 1.0, 1.0)]
    assert label.boxes_xywhn == [pytest.approx(box) for box in expected]
    assert (label.class_ids, label.long_lines.num_lines, label.problems) == ([0, 0, 1], 2, [])


@pytest.mark.parametrize("head", ["imagesource:GoogleEarth\ngsd:0.14\n", ""])
def test_labels__of_dota_are_named_once(tmp_path: Path, head: str) -> None:
    file = tmp_path / "a.txt"
    file.write_text(head + "2753.0 2408.0 2861.0 2385.0 2888.0 2468.0 2805.0 2502.0 small-vehicle 1\n" * 3)
    (problem,) = read_labels(file, 3).problems
    assert problem.text.startswith(f"{file}:1: labels of DOTA ('x1 y1 x2 y2 x3 y3 x4 y4 class difficulty', in pixels)")


@pytest.mark.parametrize(
    ("encoding", "what"),
    [("utf-16", "is a text in UTF-16, not in UTF-8"), ("utf-16-le", "holds zero bytes, as a text in UTF-16 does")],
)
def test_labels__in_utf_16_are_named(tmp_path: Path, encoding: str, what: str) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("0 0.5 0.5 0.1 0.1\n".encode(encoding))
    (problem,) = read_labels(file, 1).problems
    assert problem.text == f"{file}: {what}; save it as UTF-8"
