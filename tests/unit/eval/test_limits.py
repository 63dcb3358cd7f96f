"""What AP cannot show of a split: absent classes, crowded images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.coco_cases import evaluate
from tests.support.pairs import make_pairs, pairs_of
from yolofuse.data import PairSet
from yolofuse.eval.coco import ground_truth
from yolofuse.eval.limits import score_limits


def _split(folder: Path, *counts: int, class_id: int = 0) -> PairSet:
    """Write a split of persons, cars and dogs: a pair with so many small boxes of one class for each count."""
    descriptor = make_pairs(folder, len(counts), 0, (400, 400), names=["person", "car", "dog"])
    for number, count in enumerate(counts):
        places = [(0.02 + 0.04 * (i % 24), 0.02 + 0.04 * (i // 24)) for i in range(count)]
        text = "".join(f"{class_id} {x:.3f} {y:.3f} 0.03 0.03\n" for x, y in places)
        (folder / "labels" / "train" / f"train_{number:03d}.txt").write_text(text)
    return pairs_of(descriptor)


def test_score_limits__names_absent_classes_and_crowded_images(tmp_path: Path) -> None:
    pairs = _split(tmp_path, 200, 100, 3, class_id=1)
    absent, crowded, cut = score_limits(pairs, 150, 0.001)
    assert absent == "no box, so no AP: person, dog"
    assert crowded.startswith("car: more than 100 objects in 1 pair (up to 200); cocoapi counts 100 detections")
    assert cut == "more objects than val.max_det: 150 in 1 pair (up to 200); raise it"
    assert len(score_limits(pairs, 200, 0.001)) == 2


@pytest.mark.parametrize("counts", [(200,), (101,), (150, 40)])
def test_score_limits__tells_what_a_perfect_detector_gets(tmp_path: Path, counts: tuple[int, ...]) -> None:
    pairs = _split(tmp_path, *counts)
    truth = ground_truth(pairs.records, pairs.labels, pairs.names)
    rows = [{key: a[key] for key in ("image_id", "category_id", "bbox")} | {"score": 1.0} for a in truth["annotations"]]
    best = evaluate(truth, rows).per_class["person"][0]
    assert score_limits(pairs, 300, 0.001)[-1].endswith(f"even a perfect detector has an AP of {best:.3f}")
    assert counts != (200,) or best == pytest.approx(0.505, abs=5e-4)


def test_score_limits__of_a_split_without_a_box_or_with_nothing_odd(tmp_path: Path) -> None:
    assert score_limits(_split(tmp_path / "none", 0, 0), 300, 0.001) == ["the split has no box: its AP is undefined"]
    descriptor = make_pairs(tmp_path / "good", 2, 0)
    assert score_limits(pairs_of(descriptor), 300, 0.001) == []


def test_class_counts__leave_out_regions_to_ignore(tmp_path: Path) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 4, 0, names=["person", "car"]))
    pairs.scan.crowd[1] = True
    positions, class_ids, counts = pairs.class_counts()
    assert (positions.tolist(), class_ids.tolist(), counts.tolist()) == ([0, 2, 3], [0, 0, 1], [1, 1, 1])
    assert pairs.num_backgrounds == 1
    assert np.all(counts > 0)


@pytest.mark.parametrize(("conf", "said"), [(0.001, []), (0.01, []), (0.3, ["scores of 0.3 and less are left out"])])
def test_score_limits__say_that_weak_detections_are_left_out(tmp_path: Path, conf: float, said: list[str]) -> None:
    found = score_limits(pairs_of(make_pairs(tmp_path, 1, 0)), 300, conf)
    assert [text.partition(" (")[0] for text in found] == said
