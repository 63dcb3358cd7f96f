"""faster-coco-eval gives pycocotools' figures, and both give what plain cocoapi gives for the two JSON files."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.support.pairs import real_data, record_calls
from yolofuse.config.schema import CocoBackend, ValConfig
from yolofuse.engine import evaluator
from yolofuse.engine.prefetcher import DevicePrefetcher
from yolofuse.errors import ConfigError
from yolofuse.eval.coco import CocoMatches, CocoResult, evaluate, ground_truth, prediction_rows
from yolofuse.eval.coco_backends import backend_version, require_backend
from yolofuse.types import Detections, FloatArray, IntArray, PairRecord

Case = tuple[dict[str, Any], list[dict[str, Any]]]
BACKENDS: tuple[CocoBackend, ...] = ("pycocotools", "faster")
SIDE = 200.0
NAMES = ("person", "bicycle", "car", "dog", "bus", "train", "boat")


def plain_cocoapi(truth: dict[str, Any], rows: list[dict[str, Any]], image_ids: list[int] | None = None) -> COCOeval:
    """pycocotools as its own demo uses it: loadRes on every row, nothing of ours between."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(truth)
        coco.createIndex()
        scorer = COCOeval(coco, coco.loadRes(copy.deepcopy(rows)), "bbox")
        if image_ids is not None:
            scorer.params.imgIds = image_ids
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    return scorer


def check_equal(truth: dict[str, Any], rows: list[dict[str, Any]], image_ids: list[int] | None = None) -> CocoResult:
    """Figures, classes and whole curves: the reference to the last digit, the other to 1e-9."""
    expected = plain_cocoapi(truth, rows, image_ids)
    reference, faster = (CocoMatches(truth, rows, backend) for backend in BACKENDS)
    result = reference.result(image_ids)
    assert list(result.figures().values()) == expected.stats.tolist()
    assert np.array_equal(reference.curves(image_ids).precision, expected.eval["precision"])
    assert np.array_equal(reference.curves(image_ids).recall, expected.eval["recall"])

    other, curves = faster.result(image_ids), faster.curves(image_ids)
    assert np.abs(curves.precision - expected.eval["precision"]).max(initial=0) <= 1e-9
    assert np.abs(curves.recall - expected.eval["recall"]).max(initial=0) <= 1e-9
    assert other.figures() == pytest.approx(result.figures(), rel=0, abs=1e-9)
    assert list(other.per_class) == list(result.per_class)
    for name, pair in result.per_class.items():
        assert other.per_class[name] == pytest.approx(pair, rel=0, abs=1e-9), name
    assert (other.num_images, other.num_boxes) == (result.num_images, result.num_boxes)
    return result


def dataset(image_ids: list[int], names: tuple[str, ...], boxes: list[dict[str, Any]]) -> dict[str, Any]:
    images = [{"id": i, "file_name": f"{i}.png", "width": int(SIDE), "height": int(SIDE)} for i in image_ids]
    categories = [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
    return {"images": images, "annotations": boxes, "categories": categories}


def annotation(number: int, image_id: int, class_id: int, bbox: list[float], iscrowd: int = 0) -> dict[str, Any]:
    area = bbox[2] * bbox[3]
    return {
        "id": number, "image_id": image_id, "category_id": class_id, "bbox": bbox, "area": area, "iscrowd": iscrowd,
    }  # fmt: skip


def row(image_id: int, class_id: int, bbox: list[float], score: float) -> dict[str, Any]:
    return {"image_id": image_id, "category_id": class_id, "bbox": bbox, "score": score}


def random_box(rng: np.random.Generator) -> list[float]:
    """Mostly ordinary, on whole pixels so that overlaps tie; some empty, tiny or huge."""
    kind = rng.random()
    if kind < 0.1:
        width, height = float(rng.integers(0, 2)) * 20, 0.0
    elif kind < 0.15:
        width, height = 1e5, 1.5e5
    elif kind < 0.2:
        width, height = 1e-4, 1e-4
    else:
        width, height = (float(side) for side in rng.integers(1, 150, 2))
    left, top = (float(edge) for edge in rng.integers(-20, int(SIDE), 2))
    return [left, top, width, height]


def random_case(seed: int) -> Case:
    """Everything at once: ties, crowds, images without labels or detections, absent and unknown classes, no order."""
    rng = np.random.default_rng(seed)
    names = NAMES[: int(rng.integers(1, len(NAMES) + 1))]
    image_ids = rng.permutation(1000)[: int(rng.integers(1, 9))].tolist()
    numbers = (rng.permutation(500) + 1).tolist()
    boxes, rows = [], []
    present = int(rng.integers(1, len(names) + 1))  # classes above have no label
    for image_id in image_ids:
        own = []
        for _ in range(int(rng.choice([0, 1, 5, 12]))):
            own.append(
                annotation(
                    numbers.pop(), image_id, int(rng.integers(1, present + 1)), random_box(rng), int(rng.random() < 0.2)
                )
            )
        boxes += own
        for _ in range(int(rng.choice([0, 3, 30, 260], p=[0.2, 0.3, 0.3, 0.2]))):
            like = own[int(rng.integers(len(own)))] if own and rng.random() < 0.6 else None
            bbox = random_box(rng)
            if like is not None:
                bbox = [edge + float(shift) for edge, shift in zip(like["bbox"], rng.integers(-3, 4, 4), strict=True)]
                bbox[2:] = [max(side, 0.0) for side in bbox[2:]]
            class_id = like["category_id"] if like is not None else int(rng.integers(1, len(names) + 2))
            rows.append(row(image_id, class_id, bbox, round(float(rng.random()), int(rng.integers(1, 4)))))
    rng.shuffle(boxes)
    rng.shuffle(rows)
    return dataset(image_ids, names, boxes), rows or [row(image_ids[0], 1, [0.0, 0.0, 9.0, 9.0], 0.5)]


@pytest.mark.parametrize("seed", range(30))
def test_backends__equal_on_random_detections(seed: int) -> None:
    check_equal(*random_case(seed))


def test_backends__the_random_cases_hold_what_they_promise() -> None:
    """Equality on cases without a crowd, a tie or an overfull image would say little."""
    cases = [random_case(seed) for seed in range(30)]
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
    assert any(found["category_id"] > len(truth["categories"]) for truth, rows in cases for found in rows)


corner = st.integers(0, 6).map(float)
size = st.integers(0, 6).map(float)
small_box = st.tuples(corner, corner, size, size).map(list)
label = st.tuples(st.integers(1, 3), st.integers(1, 2), small_box, st.booleans())
found = st.tuples(
    st.integers(1, 3), st.integers(1, 3), small_box, st.sampled_from([0.0, 0.3, 0.30000000000000004, 1.0])
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(labels=st.lists(label, max_size=8), detections=st.lists(found, min_size=1, max_size=12))
def test_backends__equal_where_everything_touches(labels: list[Any], detections: list[Any]) -> None:
    """Boxes of a few pixels on a coarse grid: overlaps of exactly a threshold, and several labels equally near."""
    boxes = [annotation(n, i, c, box, int(crowd)) for n, (i, c, box, crowd) in enumerate(labels, start=1)]
    check_equal(dataset([3, 1, 2], ("a", "b"), boxes), [row(*values) for values in detections])


@pytest.mark.parametrize("seed", range(8))
def test_backends__equal_on_a_part_of_the_images(seed: int) -> None:
    truth, rows = random_case(seed)
    image_ids = sorted(image["id"] for image in truth["images"])[::2]
    result = check_equal(truth, rows, image_ids)
    for backend in BACKENDS:
        alone = evaluate(truth, rows, image_ids, backend=backend)
        assert alone.figures() == pytest.approx(result.figures(), rel=0, abs=1e-9)
        assert alone.num_images == len(image_ids)


def test_reference__a_part_after_the_whole_and_the_whole_again() -> None:
    """One matching serves all parts, in any order."""
    truth, rows = random_case(1)
    image_ids = sorted(image["id"] for image in truth["images"])
    assert len(image_ids) > 4
    matches = CocoMatches(truth, rows)
    whole, first, second = matches.result(), matches.result(image_ids[:2]), matches.result(image_ids[2:])
    assert first == evaluate(truth, rows, image_ids[:2])
    assert second == evaluate(truth, rows, image_ids[2:])
    assert whole == matches.result() == evaluate(truth, rows)
    assert whole.figures() != first.figures()


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
    assert set(result.figures().values()) == {-1.0}
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


def record(image_id: int, size_hw: tuple[int, int], rgb: Path = Path("a.png")) -> PairRecord:
    return PairRecord(image_id, rgb.stem, rgb, rgb, None, rgb_hw=size_hw, ir_hw=size_hw)


def test_ground_truth__ignore_regions_are_crowds_and_not_counted() -> None:
    def labels(_: int) -> tuple[FloatArray, IntArray]:
        return np.array([[0.5, 0.5, 0.2, 0.4]], dtype=np.float32), np.array([0])

    def ignored(position: int) -> tuple[FloatArray, IntArray]:
        regions = np.array([[0.25, 0.5, 0.5, 1.0]], dtype=np.float32)[: 1 - position]
        return regions, np.array([1])[: 1 - position]

    records = [record(7, (100, 200)), record(9, (100, 200))]
    truth = ground_truth(records, labels, NAMES[:2], ignored)
    assert [(a["id"], a["image_id"], a["category_id"], a["iscrowd"]) for a in truth["annotations"]] == [
        (1, 7, 1, 0), (2, 7, 2, 1), (3, 9, 1, 0),
    ]  # fmt: skip
    assert truth["annotations"][1]["bbox"] == [0.0, 0.0, 100.0, 100.0]
    result = evaluate(truth, [])
    assert result.num_boxes == 2
    assert result.per_class["bicycle"] == (-1.0, -1.0)  # only a crowd of it: nothing to be found
    assert ground_truth(records, labels, NAMES[:2]) == ground_truth(records, labels, NAMES[:2], None)


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
    ],
    ids=["score", "width", "corner", "image"],
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
        CocoMatches(truth, rows, image_ids=[some, 5000])
    with pytest.raises(ValueError, match="not matched"):
        CocoMatches(truth, rows, image_ids=[some]).result([image["id"] for image in truth["images"]])


@pytest.mark.parametrize("backend", BACKENDS)
def test_backends__change_neither_argument_and_say_nothing(
    backend: CocoBackend, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    truth, rows = random_case(1)
    before = copy.deepcopy((truth, rows))
    with caplog.at_level(logging.DEBUG):
        evaluate(truth, rows, backend=backend)
    assert (truth, rows) == before
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_faster__missing_package_is_a_mistake_of_the_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(ConfigError, match=r"pip install 'yolofuse\[fast-coco\]'"):
        evaluate(*random_case(0), backend="faster")
    require_backend("pycocotools")


def test_backend_version__names_the_package_of_each() -> None:
    names = [backend_version(backend).split() for backend in BACKENDS]
    assert [package for package, _ in names] == ["pycocotools", "faster-coco-eval"]
    assert all(version[0].isdigit() for _, version in names)


def test_faster__is_imported_when_asked_for_and_brings_no_network() -> None:
    """Its plotting and download helpers stay where they are."""
    code = """
import sys
import yolofuse.eval.coco
assert "faster_coco_eval" not in sys.modules
"""
    bare = """
import sys
import faster_coco_eval
unwanted = {"matplotlib", "plotly", "pandas", "requests", "urllib.request", "http.client", "socket", "ssl"}
assert not unwanted & set(sys.modules), unwanted & set(sys.modules)
"""
    for script in (code, bare):
        subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


@pytest.mark.parametrize("backend", BACKENDS)
def test_validate__hands_the_choice_on(backend: CocoBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = SimpleNamespace(
        feed=DevicePrefetcher(list, lambda position: None, cast(Any, None), torch.device("cpu")), num_steps=0
    )
    monkeypatch.setattr(evaluator, "build_eval_loader", lambda *_: empty)
    calls = record_calls(monkeypatch, evaluator, "CocoMatches")
    box = np.array([[0.5, 0.5, 0.2, 0.4]], dtype=np.float32), np.array([0])
    nothing = (np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    records = [record(1, (100, 200))]
    pairs = SimpleNamespace(records=records, labels=lambda _: box, ignored=lambda _: nothing, names=NAMES[:1])
    detector = SimpleNamespace(training=False, heads={}, stride=32, eval=lambda: None, train=lambda _: None)
    ranks = SimpleNamespace(is_main=True, gather=lambda part: [part])
    config = SimpleNamespace(val=ValConfig(backend=backend))
    scored = evaluator.evaluate_split(*(cast(Any, part) for part in (detector, pairs, config, ranks)))
    assert scored is not None
    assert scored.result.num_boxes == 1
    assert [call[2] for call in calls] == [backend]


def jittered(records: list[PairRecord], truth: dict[str, Any], num_classes: int) -> list[Detections]:
    """Three detections near each label, forty anywhere; scores in hundredths, so that many tie."""
    rng = np.random.default_rng(0)
    detections = []
    for pair in records:
        own = [a for a in truth["annotations"] if a["image_id"] == pair.image_id]
        near = np.repeat(np.array([a["bbox"] for a in own], dtype=np.float64).reshape(-1, 4), 3, axis=0)
        near += near[:, [2, 3, 2, 3]] * rng.normal(0, 0.06, near.shape)
        width, height = pair.size_hw[1], pair.size_hw[0]
        far = np.hstack((rng.uniform(0, 0.8, (40, 2)), rng.uniform(0.02, 0.2, (40, 2)))) * ([width, height] * 2)
        boxes = np.vstack((near, far))
        boxes[:, 2:] += boxes[:, :2]
        class_ids = [a["category_id"] - 1 for a in own for _ in range(3)] + rng.integers(0, num_classes, 40).tolist()
        scores = rng.uniform(0, 1, len(boxes)).round(2).astype(np.float32)
        detections.append(Detections(pair.image_id, boxes.astype(np.float32), scores, np.array(class_ids)))
    return detections


@pytest.mark.real
@pytest.mark.parametrize(("name", "num_classes"), [("roadscene-flir", 3), ("llvip-256", 1)])
def test_backends__equal_on_real_labels(name: str, num_classes: int) -> None:
    folder = real_data(name)
    records, labels = [], []
    for image_id, file in enumerate(sorted((folder / "images" / "val").iterdir()), start=1):
        with Image.open(file) as picture:
            records.append(record(image_id, (picture.height, picture.width), file))
        lines = (folder / "labels" / "val" / f"{file.stem}.txt").read_text().splitlines()
        table = np.array([line.split() for line in lines], dtype=np.float32).reshape(-1, 5)
        labels.append((table[:, 1:].copy(), table[:, 0].astype(np.int64)))
    truth = ground_truth(records, labels.__getitem__, NAMES[:num_classes])
    result = check_equal(truth, prediction_rows(jittered(records, truth, num_classes)))
    assert result.num_boxes > 200
    assert 0.05 < result.AP < 0.95
