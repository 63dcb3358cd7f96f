"""Both backends give cocoapi's metrics on any rows, and refuse the same ones."""

from __future__ import annotations

import copy
import logging
import math
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.coco_cases import (
    BACKENDS,
    NAMES,
    annotation,
    assert_backends_agree,
    dataset,
    evaluate,
    random_case,
    row,
)
from yolofuse.config.schema import CocoBackend
from yolofuse.errors import ConfigError
from yolofuse.eval.coco import CocoMatches
from yolofuse.eval.coco_backends import backend_version, require_backend

_SEEDS = range(30)
_FAST_SEEDS = (1, 2)  # together: crowds, ties, an overfull image, classes without labels


@pytest.mark.parametrize("seed", _FAST_SEEDS)
def test_backends__equal_on_random_detections(seed: int) -> None:
    assert_backends_agree(*random_case(seed))


@pytest.mark.soak
@pytest.mark.parametrize("seed", _SEEDS)
def test_backends__equal_on_many_random_detections(seed: int) -> None:
    assert_backends_agree(*random_case(seed))


@pytest.mark.soak
def test_backends__the_random_cases_hold_what_they_promise() -> None:
    """Equality on cases without a crowd, a tie or an overfull image would say little."""
    cases = [random_case(seed) for seed in _SEEDS]
    crowds = sum(box["iscrowd"] for truth, _ in cases for box in truth["annotations"])
    overfull = 0
    for _, rows in cases:
        counts: dict[tuple[int, int], int] = {}
        for found in rows:
            key = (found["image_id"], found["category_id"])
            counts[key] = counts.get(key, 0) + 1
        overfull += sum(count > 100 for count in counts.values())
    figures = [evaluate(*case).AP for case in cases]
    assert crowds > 50
    assert overfull > 5
    assert sum(0.05 < figure < 0.95 for figure in figures) > 15
    assert any(len({found["score"] for found in rows}) < len(rows) / 2 for _, rows in cases)


corner = st.integers(0, 6).map(float)
size = st.integers(0, 6).map(float)
small_box = st.tuples(corner, corner, size, size).map(list)
label = st.tuples(st.integers(1, 3), st.integers(1, 2), small_box, st.booleans())
found = st.tuples(
    st.integers(1, 3), st.integers(1, 2), small_box, st.sampled_from([0.0, 0.3, 0.30000000000000004, 1.0])
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(labels=st.lists(label, max_size=8), detections=st.lists(found, min_size=1, max_size=12))
def test_backends__equal_where_everything_touches(labels: list[Any], detections: list[Any]) -> None:
    """Boxes of a few pixels on a coarse grid: overlaps of exactly a threshold, and several labels equally near."""
    boxes = [annotation(n, i, c, box, int(crowd)) for n, (i, c, box, crowd) in enumerate(labels, start=1)]
    assert_backends_agree(dataset([3, 1, 2], ("a", "b"), boxes), [row(*values) for values in detections])


@pytest.mark.parametrize("seed", _FAST_SEEDS)
def test_backends__equal_on_a_part_of_the_images(seed: int) -> None:
    truth, rows = random_case(seed)
    image_ids = sorted(image["id"] for image in truth["images"])[::2]
    result = assert_backends_agree(truth, rows, image_ids)
    for backend in BACKENDS:
        alone = evaluate(truth, rows, image_ids, backend=backend)
        assert alone.metrics() == pytest.approx(result.metrics(), rel=0, abs=1e-9)
        assert alone.num_images == len(image_ids)


def test_pycocotools__a_part_after_the_whole_and_the_whole_again() -> None:
    """One matching serves all parts, in any order."""
    truth, rows = random_case(1)
    image_ids = sorted(image["id"] for image in truth["images"])
    assert len(image_ids) > 4
    matches = CocoMatches(truth, rows)
    whole, first, second = matches.result(), matches.result(image_ids[:2]), matches.result(image_ids[2:])
    assert first == evaluate(truth, rows, image_ids[:2])
    assert second == evaluate(truth, rows, image_ids[2:])
    assert whole == matches.result() == evaluate(truth, rows)
    assert whole.metrics() != first.metrics()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("with_boxes", [True, False], ids=["boxes", "no boxes"])
def test_backends__no_detections(backend: CocoBackend, with_boxes: bool) -> None:
    boxes = [annotation(1, 1, 1, [5.0, 5.0, 50.0, 50.0])] if with_boxes else []
    result = evaluate(dataset([1, 2], NAMES[:2], boxes), [], backend=backend)
    assert pytest.approx(0.0 if with_boxes else -1.0) == result.AP
    assert result.per_class["bicycle"] == (-1.0, -1.0)
    assert result.APs == -1.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends__no_images(backend: CocoBackend) -> None:
    truth, rows = random_case(0)
    result = evaluate(truth, rows, [], backend=backend)
    assert set(result.metrics().values()) == {-1.0}
    assert (result.num_images, result.num_boxes) == (0, 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends__a_detection_in_a_crowd_is_neither_right_nor_wrong(backend: CocoBackend) -> None:
    person, crowd = [10.0, 10.0, 40.0, 40.0], [100.0, 0.0, 100.0, 200.0]
    truth = dataset([1], NAMES[:1], [annotation(1, 1, 1, person), annotation(2, 1, 1, crowd, iscrowd=1)])
    inside = [row(1, 1, [110.0, 30.0 * i, 20.0, 20.0], 0.9) for i in range(5)]  # each wholly within the crowd
    hit = row(1, 1, person, 0.5)
    assert pytest.approx(1.0) == evaluate(truth, [*inside, hit], backend=backend).AP
    truth["annotations"].pop()
    assert pytest.approx(1 / 6) == evaluate(truth, [*inside, hit], backend=backend).AP


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends__only_cocos_own_fields_count(backend: CocoBackend) -> None:
    """faster-coco-eval would obey LVIS marks in the rows and ``is_crowd`` in the labels; pycocotools would not."""
    truth = dataset([1], NAMES[:1], [annotation(1, 1, 1, [10.0, 10.0, 40.0, 40.0])])
    rows = [row(1, 1, [10.0, 10.0, 40.0, 40.0], 0.5), row(1, 1, [90.0, 90.0, 40.0, 40.0], 0.9)]
    clean = evaluate(truth, rows, backend=backend)
    truth["annotations"][0] |= {"is_crowd": 1, "ignore": 1}
    marked = [found | {"lvis_mark": True, "drop": True} for found in rows]
    assert evaluate(truth, marked, backend=backend) == clean
    assert pytest.approx(0.5) == clean.AP


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": math.nan}, "1 of 2 predictions have a score or box that is not finite; the first is row 1"),
        ({"bbox": [0.0, 0.0, math.inf, 1.0]}, "not finite"),
        ({"bbox": [0.0, math.nan, 1.0, 1.0]}, "not finite"),
        ({"image_id": 5}, "1 images that the ground truth does not have: 5"),
        ({"image_id": "1"}, "1 images that the ground truth does not have: '1'"),
        ({"category_id": 1001}, "1 categories that the ground truth does not have: 1001"),
    ],
    ids=["score", "width", "corner", "image", "text", "class"],
)
def test_backends__refuse_what_has_no_meaning(backend: CocoBackend, change: dict[str, Any], message: str) -> None:
    """A NaN overlap is a match for one library and none for the other."""
    good = row(1, 1, [0.0, 0.0, 9.0, 9.0], 0.5)
    truth = dataset([1], NAMES[:1], [annotation(1, 1, 1, [0.0, 0.0, 9.0, 9.0])])
    with pytest.raises(ValueError, match=message):
        evaluate(truth, [good, good | change], backend=backend)


def test_matches__refuse_images_that_were_not_matched() -> None:
    truth, rows = random_case(0)
    some = truth["images"][0]["id"]
    with pytest.raises(ValueError, match=r"1 images that were not matched: \[5000\]"):
        CocoMatches(truth, rows).result([some, 5000])


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends__change_neither_argument_and_print_nothing(
    backend: CocoBackend, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    truth, rows = random_case(1)
    before = copy.deepcopy((truth, rows))
    with caplog.at_level(logging.DEBUG):
        evaluate(truth, rows, backend=backend)
    assert (truth, rows) == before
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_faster__a_missing_package_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(ConfigError, match=r"pip install .*\[fast-coco\]"):
        evaluate(*random_case(0), backend="faster")
    require_backend("pycocotools")


def test_backend_version__names_the_package_of_each() -> None:
    names = [backend_version(backend).split() for backend in BACKENDS]
    assert [package for package, _ in names] == ["pycocotools", "faster-coco-eval"]
    assert all(version[0].isdigit() for _, version in names)
