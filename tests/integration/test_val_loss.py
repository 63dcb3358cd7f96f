"""The validation loss: its value, its columns, and that it changes nothing else."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from tests.support.runs import run_python, without_plots, write_config
from yolofuse.config import load_config
from yolofuse.config.schema import LossConfig
from yolofuse.data import EvalDataset, collate
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine.dataloaders import load_split
from yolofuse.engine.loaded_detector import load_detector
from yolofuse.engine.loss import DetectionLoss
from yolofuse.engine.train import train
from yolofuse.viz import curves
from yolofuse.weights import load_checkpoint

REPO = Path(__file__).resolve().parents[2]


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("model", "terms"),
    [
        ({"base": "yolov8n", "cut": "mid"}, ("box", "cls", "dfl")),
        ({"base": "yolov8n", "cut": "decision"}, ("box", "cls", "dfl")),
        ({"base": "yolo26n", "cut": "late"}, ("box", "cls", "l1")),
        ({"base": "yolov5n", "head": "anchors"}, ("box", "obj", "cls")),
    ],
    ids=["mid", "decision", "end to end", "anchors"],
)
def test_val_loss__is_that_of_the_averaged_weights(
    tmp_path: Path, model: dict[str, str], terms: tuple[str, ...]
) -> None:
    """Against the loss of the saved weights, in the detector's own training outputs with BatchNorm in eval mode."""
    file = write_config(tmp_path, model=model, train={"epochs": 1, "val_loss": True}, val={"letterbox": "square"})
    with without_plots():
        run = train(load_config(file))
    (row,) = _rows(run)
    assert [name for name in row if name.startswith("val/")][3:] == [f"val/{name}" for name in terms]

    loaded = load_detector(run / "weights" / "last.pt")
    pairs = load_split(loaded.config, "val", Ranks(0, 1, torch.device("cpu")))
    dataset = EvalDataset(pairs, 64, "square")
    criterion = DetectionLoss(loaded.model, LossConfig(), epochs=1)
    for head in loaded.model.heads.values():
        head.training = True  # raw outputs alone; every other module stays in eval mode
    expected = dict.fromkeys(terms, 0.0)
    for indices in ([0, 1], [2]):
        batch = collate([dataset[index] for index in indices]).to(torch.device("cpu"))
        with torch.no_grad():
            found = criterion(loaded.model(batch.rgb, batch.ir), batch).terms
        for name in terms:
            expected[name] += float(found[name]) * len(indices) / 3
    assert {name: float(row[f"val/{name}"]) for name in terms} == pytest.approx(expected, rel=1e-4)


def test_val_loss__leaves_training_as_it_is(tmp_path: Path) -> None:
    file = write_config(tmp_path, train={"val_every": 2, "epochs": 3})
    with without_plots():
        plain, with_loss = (
            train(load_config(file, [f"train.run={tmp_path / str(value)}", f"train.val_loss={value}"]))
            for value in (False, True)
        )
    one, two = (load_checkpoint(run / "weights" / "last.pt")["ema"] for run in (plain, with_loss))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert [bool(row["val/box"]) for row in _rows(with_loss)] == [False, True, True]
    assert "val/box" not in _rows(plain)[0]


def test_val_loss__is_that_of_one_rank_on_two(tmp_path: Path) -> None:
    file = write_config(tmp_path, train={"epochs": 1, "val_loss": True, "score_start": True})
    losses = []
    for ranks in (1, 2):
        run = tmp_path / f"ranks{ranks}"
        ended = run_python(REPO / "train_dual.py", "--cfg", str(file), f"train.run={run}", ranks=ranks)
        assert ended.returncode == 0, ended.stderr
        start = _rows(run)[0]  # before training, which differs by the order of summation
        losses.append({name: float(start[name]) for name in ("val/box", "val/cls", "val/dfl")})
    assert losses[0]["val/cls"] > 0
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_curves__draw_it_dashed_in_the_colour_of_its_term(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, path: figures.append(figure))
    history: list[dict[str, float | None]] = [
        {"epoch": n, "train/box": 2.0 / n, "train/cls": 1.0, "val/AP": 0.1, "val/box": 2.5 / n, "val/cls": 1.2}
        for n in (1, 2, 3)
    ]
    curves.save_curves(history, tmp_path / "curves.png")
    lines = figures[0].axes[0].get_lines()
    styles = [(line.get_linestyle(), line.get_color()) for line in lines]
    assert [style for style, _ in styles] == ["-", "-", "--", "--"]
    assert [colour for _, colour in styles[:2]] == [colour for _, colour in styles[2:]]
    assert lines[2].get_ydata().tolist() == [2.5, 1.25, 2.5 / 3]
