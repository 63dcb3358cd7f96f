"""Choose how much of their start the averaged weights keep, within the training split: results/keep_start.md.

    python -m scripts.experiments.keep_start --weights ../shared/weights/yolov5n.pt

Each model is trained on three of four folds, keeping nothing, for every fold in turn (scripts/experiments/recipes.py).
Its weights are then mixed with those before training, and each mixture is evaluated on the fold left out. The
predictions of the folds together are those of models for pairs that they have not seen: their metrics have a
paired-bootstrap interval over the start's. What a detector forgets for want of labels shows against the start's own
detections in place of the labels. A finished run is not repeated.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from scripts.experiments.gain import EVALUATION, MODELS
from scripts.experiments.real_runs import Row, build_parser, join_blocks, run_missing, write_report
from scripts.experiments.recipes import DATA, EPOCHS, FOLDS, REFERENCE, Trial, run_trial, write_folds
from yolofuse.distributed.ranks import join_ranks
from yolofuse.engine.build import build_start
from yolofuse.engine.dataloaders import load_split
from yolofuse.engine.evaluate_split import evaluate_split
from yolofuse.engine.loaded_detector import load_detector
from yolofuse.eval.bootstrap import Predictions, compare
from yolofuse.eval.coco import CocoJson
from yolofuse.files import save_json
from yolofuse.tables import markdown_table

SHARES = (0.0, 0.3, 0.5, 0.7)
START = 1.0
LEAST_SCORES = {"bicycle": 0.03}
"""From this score on a detection of the start counts as its own; 0.2 for the other classes. Bicycles are rare here."""
CASES = {
    **{model: (model, REFERENCE) for model in MODELS},
    "RGB, all but the head at a tenth of the rate": ("RGB", "all but the head at a tenth of the rate"),
}

_OWN = [f"start's own {name}, AP50" for name in ("person", "bicycle", "car")]

Evaluated = tuple[CocoJson, Predictions]


def main() -> None:
    """Run what is missing of the chosen models, then write the table over all finished runs."""
    parser = build_parser(__doc__, "recipes", seeds=())
    parser.add_argument("--cases", nargs="*", choices=CASES, default=list(CASES), help="to train; none: only measure")
    parser.add_argument("--folds", type=int, default=FOLDS, help="run the first of the four folds only")
    args = parser.parse_args()
    write_folds(args.data_root.resolve(), args.runs / "folds")
    run_missing([trial for case in args.cases for trial in trials_of(case)[: args.folds]], run_trial, args)
    rows: list[Row] = []
    for case in CASES:
        finished = [trial for trial in trials_of(case) if trial.report(args.runs).exists()]
        if finished:
            rows += measure(case, finished, args.runs)
    write_report(args.out, "keep_start", rows, format_page(rows))


def trials_of(case: str) -> list[Trial]:
    """Return a case's run on each fold."""
    model, recipe = CASES[case]
    return [Trial(DATA, recipe, 0, model, fold) for fold in range(FOLDS)]


def measure(case: str, trials: Sequence[Trial], runs: Path) -> Iterator[Row]:
    """Yield the metrics over all folds for each share."""
    truth, start = join_folds([evaluate_mixture(trial, START, runs) for trial in trials])
    own = as_labels(start, truth)
    for share in (START, *SHARES):
        _, predictions = join_folds([evaluate_mixture(trial, share, runs) for trial in trials])
        of_labels = {found.name: found for found in compare(truth, [start], [predictions])}
        of_start = {found.name: found.b for found in compare(own, [start], [predictions], resamples=1)}
        row = {"model": case, "folds": str(len(trials)), "keep_start": str(share)}
        for name in ("AP50", "AP"):
            found = of_labels[name]
            row |= {name: f"{found.b:.4f}", f"{name} low": f"{found.low:.4f}", f"{name} high": f"{found.high:.4f}"}
        for name in (category["name"] for category in truth["categories"]):
            row[f"start's own {name}, AP50"] = f"{of_start[f'{name} AP50']:.4f}" if f"{name} AP50" in of_start else ""
        yield row


def evaluate_mixture(trial: Trial, share: float, runs: Path) -> Evaluated:
    """Return labels and predictions of a run's weights, mixed with a share of those before training.

    The average of mixtures with the start is the mixture of the average with the start: it is as if the run itself
    had kept the share.
    """
    file = trial.run_dir(runs) / f"keep-{share}.json"
    if not file.exists():
        loaded = load_detector(trial.run_dir(runs) / "weights" / "last.pt", EVALUATION)
        start = build_start(loaded.config, loaded.names).detector.state_dict()
        loaded.model.load_state_dict(
            {
                name: tensor.lerp(start[name], share) if tensor.is_floating_point() else tensor
                for name, tensor in loaded.model.state_dict().items()
            }
        )
        with join_ranks("cpu") as ranks:
            pairs = load_split(loaded.config, loaded.config.data.val_split, ranks)
            evaluation = evaluate_split(loaded.detector, pairs, loaded.config, ranks, with_slices=False)
        assert evaluation is not None, "one rank"
        save_json(file, [evaluation.ground_truth, evaluation.predictions])
    truth, predictions = json.loads(file.read_text())
    return truth, predictions


def join_folds(folds: Sequence[Evaluated]) -> Evaluated:
    """Return labels and predictions of several evaluations as one, with new ids of images and labels."""
    joined: CocoJson = {**folds[0][0], "images": [], "annotations": []}
    predictions: list[Mapping[str, Any]] = []
    image_ids, label_ids = count(1), count(1)
    for truth, rows in folds:
        new = {image["id"]: next(image_ids) for image in truth["images"]}
        joined["images"] += [{**image, "id": new[image["id"]]} for image in truth["images"]]
        joined["annotations"] += [
            {**label, "id": next(label_ids), "image_id": new[label["image_id"]]} for label in truth["annotations"]
        ]
        predictions += [{**row, "image_id": new[row["image_id"]]} for row in rows]
    return joined, predictions


def as_labels(predictions: Predictions, truth: CocoJson) -> CocoJson:
    """Return the labels with a detector's own surer detections in place of the boxes."""
    least = {category["id"]: LEAST_SCORES.get(category["name"], 0.2) for category in truth["categories"]}
    sure = [row for row in predictions if row["score"] > least[row["category_id"]]]
    boxes = [
        {**row, "id": number, "area": row["bbox"][2] * row["bbox"][3], "iscrowd": 0}
        for number, row in enumerate(sure, start=1)
    ]
    return {**truth, "annotations": boxes}


def format_page(rows: Sequence[Row]) -> str:
    """Format a line per model and share."""
    table = [["model", "folds", "keep_start", "AP50", "over the start", "AP", "over the start", *_OWN]]
    starts = {row["model"]: row for row in rows if row["keep_start"] == str(START)}
    for row in rows:
        if row is starts[row["model"]]:
            table.append(
                [row["model"], row["folds"], "all: the start", row["AP50"], "", row["AP"], *[""] * (len(_OWN) + 1)]
            )
            continue
        cells = [row["model"], row["folds"], row["keep_start"]]
        for name in ("AP50", "AP"):
            gain = float(row[name]) - float(starts[row["model"]][name])
            interval = f"{float(row[f'{name} low']):+.3f} to {float(row[f'{name} high']):+.3f}"
            cells += [row[name], f"{gain:+.3f} ({interval})"]
        table.append([*cells, *(row[name] for name in _OWN)])
    return join_blocks(
        f"## {DATA} train, {FOLDS} folds: how much of the start to keep, {EPOCHS} epochs at 320 px, batch 8, one seed",
        markdown_table(table),
        "Metrics over the predictions of all folds, each by a run that has not seen it; in brackets the 95 % interval "
        "of a paired bootstrap over the images. The last columns are the AP50 of the mixture if the start's own "
        "detections were the labels (score above 0.2; of bicycles above 0.03): 1 where nothing has changed. Made by "
        "`python -m scripts.experiments.keep_start`.",
    )


if __name__ == "__main__":
    main()
