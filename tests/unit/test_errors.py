from __future__ import annotations

import pytest

from yolofuse.errors import did_you_mean, listing, plural


def test_did_you_mean__suggests_only_what_is_close() -> None:
    assert did_you_mean("bacth", ["batch", "epochs"]) == "; did you mean batch?"
    assert did_you_mean("yolo11", ["yolo11n", "yolo11s", "rtdetr"], count=2) == "; did you mean yolo11s or yolo11n?"
    assert did_you_mean("qqq", ["batch"]) == ""


def test_listing__counts_what_it_does_not_show() -> None:
    assert listing("a.yaml", ["x: wrong"]) == "a.yaml: 1 problem\n  x: wrong"
    assert listing("a.yaml", [str(i) for i in range(23)]).splitlines()[-1] == "  ... and 3 more"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 box", (1, "box")),
        ("2 boxes", (2, "box")),
        ("0 pairs", (0, "pair")),
        ("3 classes", (3, "class")),
        ("4 RGB images without an IR partner", (4, "RGB image", "without an IR partner")),
    ],
)
def test_plural__is_of_the_noun_alone(text: str, words: tuple[int, str] | tuple[int, str, str]) -> None:
    assert plural(*words) == text
