"""Parts of the experiments on real pairs that no run of them would show to be wrong."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import pytest

from scripts.experiments.keep_start import as_labels, join_folds
from scripts.experiments.real_runs import RunSpec, run_missing

_CATEGORIES = [{"id": 1, "name": "person"}, {"id": 2, "name": "bicycle"}]


def _evaluated(score: float, category: int = 1) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    box = {"image_id": 7, "category_id": category, "bbox": [0.0, 0.0, 2.0, 3.0]}
    truth = {"images": [{"id": 7}], "annotations": [{**box, "id": 3}], "categories": _CATEGORIES}
    return truth, [{**box, "score": score}]


def test_join_folds__images_of_equal_ids_stay_apart() -> None:
    truth, predictions = join_folds([_evaluated(0.5), _evaluated(0.9)])
    images = [image["id"] for image in truth["images"]]
    assert len(set(images)) == 2
    assert [box["image_id"] for box in truth["annotations"]] == images
    assert len({box["id"] for box in truth["annotations"]}) == 2
    assert [(row["image_id"], row["score"]) for row in predictions] == [(images[0], 0.5), (images[1], 0.9)]


@pytest.mark.parametrize(("category", "score", "num"), [(1, 0.25, 1), (1, 0.1, 0), (2, 0.1, 1), (2, 0.01, 0)])
def test_as_labels__takes_the_surer_detections(category: int, score: float, num: int) -> None:
    truth, predictions = _evaluated(score, category)
    labels = as_labels(predictions, truth)["annotations"]
    assert [(box["category_id"], box["area"]) for box in labels] == [(category, 6.0)] * num


def test_run_missing__a_failure_ends_it_without_the_runs_that_wait(tmp_path: Path) -> None:
    started: list[int] = []

    def run(spec: RunSpec, args: argparse.Namespace) -> None:
        started.append(spec.seed)
        time.sleep(0.05)
        raise SystemExit("failed")

    with pytest.raises(SystemExit, match="failed"):
        run_missing([RunSpec("d", "v", seed) for seed in range(50)], run, argparse.Namespace(jobs=1, runs=tmp_path))
    assert len(started) < 50
