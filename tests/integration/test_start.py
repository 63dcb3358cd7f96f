"""Before the first step: val_dual --cfg, epoch 0 of a run, and one camera's images black."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import yolofuse.engine.train as loop
from tests.support.pairs import make_pairs
from tests.support.processes import run_forked
from tests.support.runs import REPO, write_config
from tests.support.runs import train_without_plots as train
from tests.support.weights import real_weights, single_stream_file
from yolofuse.cli import collect, probe, val
from yolofuse.cli import train as train_cli
from yolofuse.config import load_config
from yolofuse.engine import evaluate_split
from yolofuse.engine.active_run import ActiveRun
from yolofuse.weights import load_checkpoint

_REAL = Path(os.environ.get("YOLOFUSE_REAL_DATA", REPO / ".." / "shared" / "data"))
_NAMES = ("person", "bicycle", "car")


def _rows(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "results.csv").read_text().splitlines()))


def _with_weights(folder: Path, **sections: Any) -> Path:
    weights = {"pretrained": str(single_stream_file(folder / "source.pt", names=_NAMES))}
    return write_config(folder, weights=weights, **sections)


@pytest.mark.real
def test_real_start__is_that_of_the_source_and_epoch_0(tmp_path: Path) -> None:
    """AP50 of COCO's YOLOv5n, measured with other code: RGB .401, IR .289, features averaged .433."""
    if not (_REAL / "roadscene-flir").is_dir():
        pytest.skip(f"no real pairs at {_REAL}; set YOLOFUSE_REAL_DATA")
    config = REPO / "configs" / "small" / "roadscene-flir.yaml"
    words = [
        f"data.root={_REAL / 'roadscene-flir'}", f"weights.pretrained={real_weights('yolov5n.pt')}", "data.workers=0",
        "train.device=cpu", "val.precision=fp32", "val.iou=0.6", f"train.run={tmp_path / 'run'}",
    ]  # fmt: skip
    found = {}
    for model in ("streams=rgb", "streams=ir", "cut=mid"):
        out = tmp_path / model
        assert val.main(["--cfg", str(config), "--out", str(out), *words, f"model.{model}"]) == 0
        found[model] = json.loads((out / "report.json").read_text())["AP50"]
    assert found == pytest.approx({"streams=rgb": 0.401, "streams=ir": 0.289, "cut=mid": 0.433}, abs=0.01)
    assert not (tmp_path / "run").exists()


def test_val_cfg__judges_the_model_as_loaded_beside_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = _with_weights(tmp_path)
    assert val.main(["--cfg", str(config)]) == 0
    assert not (tmp_path / "run").exists()
    settings = json.loads((tmp_path / "run-untrained" / "eval-val" / "report.json").read_text())["settings"]
    assert settings["epoch"] == 0
    assert settings["weights"] == str(tmp_path / "source.pt")
    assert "classes: person" in capsys.readouterr().out
    assert train_cli.main(["--cfg", str(config), "train.epochs=1"]) == 0  # the run's folder is still unused
    with pytest.raises(SystemExit):
        val.main(["--cfg", str(config), "--run", str(tmp_path / "run")])


@pytest.mark.parametrize(
    ("model", "keys", "is_told"),
    [
        ("cut=mid", ["pretrained"], True),
        ("cut=mid", ["rgb", "ir"], True),
        ("cut=decision", ["ir"], True),
        ("cut=decision", ["rgb"], False),  # a window is of the thermal images alone
        ("streams=rgb", ["pretrained"], False),
    ],
)
def test_start_from_a_run__tells_of_images_that_are_read_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str, keys: list[str], is_told: bool
) -> None:
    (tmp_path / "old").mkdir()
    old = make_pairs(tmp_path / "old" / "data", extra={"ir_window": [0, 200]})
    run = train(load_config(write_config(tmp_path / "old", old), ["train.epochs=1", f"model.{model}"]))
    new = make_pairs(tmp_path / "data", extra={"ir_window": [0, 100]})
    told = f"{run / 'weights' / 'best.pt'} was trained on: ir_window: [0.0, 200.0] in training, [0.0, 100.0] now"
    words = ["--cfg", str(write_config(tmp_path, new)), f"model.{model}", *(f"weights.{key}={run}" for key in keys)]
    capsys.readouterr()
    for command in (val.main, train_cli.main):
        assert command([*words, "train.epochs=1"] if command is train_cli.main else words) == 0
        printed = capsys.readouterr().out
        assert (printed.count("read otherwise than"), printed.count(told)) == (is_told, is_told)
    settings = json.loads((tmp_path / "run-untrained" / "eval-val" / "report.json").read_text())["settings"]
    assert settings["weights"] == str(run / "weights" / "best.pt")


def test_val_cfg__refuses_a_split_of_another_depth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The counts of 16 bits would be white by a window for 8."""
    data = make_pairs(tmp_path / "data", extra={"ir_window": [0, 255]})
    for file in (data.parent / "ir" / "val").iterdir():
        counts = np.asarray(cv2.imread(str(file), cv2.IMREAD_UNCHANGED), np.uint16)
        assert cv2.imwrite(str(file), 257 * counts)
    assert val.main(["--cfg", str(write_config(tmp_path, data))]) == 2
    assert "train_000.png has 8 bits and" in (error := capsys.readouterr().err)
    assert "val_000.png has 16 bits; counts of one depth mean others in another" in error


def test_probe__tells_how_good_the_start_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "probe"
    for name, words, known in (("with", [], True), ("without", ["weights.pretrained=null"], False)):
        folder = tmp_path / name
        folder.mkdir()
        assert probe.main(["--cfg", str(_with_weights(folder)), "--out", str(out), *words]) == 0
        printed = capsys.readouterr().out
        assert ("before training: AP 0.0000, AP50 0.0000 on the 3 pairs of val" in printed) == known
        assert ("start" in json.loads((out / "probe.json").read_text())) == known


def test_epoch_0__is_recorded_and_counts(tmp_path: Path) -> None:
    run = train(load_config(_with_weights(tmp_path), ["train.lr0=1e-12", "train.patience=1", "train.epochs=5"]))
    rows = _rows(run)
    assert [row["epoch"] for row in rows] == ["0", "1"]  # patience counts from the start
    assert list(rows[0])[:2] == ["epoch", "train/box"]
    assert list(rows[0])[-3:] == ["val/AP", "val/AP50", "val/AP75"]
    assert rows[0]["train/box"] == rows[0]["lr"] == ""
    assert float(rows[0]["val/AP"]) >= 0
    assert rows[0]["val/AP"] == rows[1]["val/AP"]
    assert load_checkpoint(run / "weights" / "best.pt")["epoch"] == 1  # of equals the newest
    saved = load_config(run / "config.yaml")
    assert (saved.train.recipe, saved.train.score_start, saved.train.freeze_bn) == ("finetune", True, True)


def test_epoch_0__may_stay_the_best(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall(run: ActiveRun, next_epoch: int | None = None) -> dict[str, float]:
        return dict.fromkeys(("AP", "AP50", "AP75"), 0.5 if next_epoch == 0 else 0.4)

    monkeypatch.setattr(loop, "evaluate_epoch", fall)
    with caplog.at_level("INFO", logger="yolofuse"):
        run = train(load_config(_with_weights(tmp_path), ["train.epochs=1"]))
    assert load_checkpoint(run / "weights" / "best.pt")["epoch"] == 0
    assert "no epoch was better than the start: best.pt is the model before training" in caplog.text


def test_without_a_box_to_score__no_epoch_has_an_ap_and_best_is_the_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run without validation shows no -1, keeps its last weights as best, resumes, and is evaluated."""
    config = _with_weights(tmp_path, train={"val_every": 0, "patience": 1, "epochs": 3})
    for file in (tmp_path / "data" / "labels" / "val").iterdir():
        file.write_text("")
    run = tmp_path / "run"
    assert train_cli.main(["--cfg", str(config)]) == 0
    assert [(row["epoch"], row["val/AP"]) for row in _rows(run)] == [("0", ""), ("1", ""), ("2", ""), ("3", "")]
    assert load_checkpoint(run / "weights" / "best.pt")["epoch"] == 3
    printed = capsys.readouterr().out
    assert "val: no box in 3 pairs, so there is nothing to score" in printed
    assert "no epoch has an AP: best.pt is epoch 3" in printed
    assert train_cli.main(["--resume", str(run)]) == 0
    assert val.main(["--run", str(run), "val.blank=[rgb, ir]"]) == 0
    assert probe.main(["--cfg", str(config), "--out", str(tmp_path / "probe")]) == 0
    assert json.loads((tmp_path / "probe" / "probe.json").read_text())["start"]["AP"] is None
    assert collect.main([str(run)]) == 0
    printed = capsys.readouterr().out
    assert "the split has no box: its AP is undefined" in printed
    assert re.search(r"\s-1\b", printed) is None


def test_epoch_0__is_left_out_on_request_and_from_scratch(tmp_path: Path) -> None:
    config = _with_weights(tmp_path)
    run = train(load_config(config, ["train.epochs=1", "train.score_start=false"]))
    assert [row["epoch"] for row in _rows(run)] == ["1"]
    run = train(load_config(config, ["train.epochs=1", "weights.pretrained=null", f"train.run={tmp_path / 'scratch'}"]))
    assert [row["epoch"] for row in _rows(run)] == ["1"]


def _die_in_start(argv: list[str]) -> int:
    def die(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(loop, "compute_metrics", die)  # noqa: B010 - a module does not export what it imports
    return train_cli.main(argv)


def test_epoch_0__killed_in_it_or_after_it_is_resumed_with_one(tmp_path: Path) -> None:
    config = _with_weights(tmp_path, train={"epochs": 2, "save_every": 1})
    whole = train(load_config(config, [f"train.run={tmp_path / 'whole'}"]))
    code, output = run_forked(partial(_die_in_start, ["--cfg", str(config)]), tmp_path)
    assert code == -signal.SIGKILL, output
    run = tmp_path / "run"
    (run / "weights" / "best.pt").unlink(missing_ok=True)
    assert train_cli.main(["--cfg", str(config), "--auto-resume"]) == 0
    columns = ("epoch", "train/box", "val/AP")
    assert [[row[c] for c in columns] for row in _rows(run)] == [[row[c] for c in columns] for row in _rows(whole)]
    assert (run / "weights" / "best.pt").exists()


def test_freeze_bn__keeps_every_statistic(tmp_path: Path) -> None:
    run = train(load_config(_with_weights(tmp_path), ["train.epochs=1"]))
    source = load_checkpoint(run / "weights" / "best.pt")["ema"]
    last = load_checkpoint(run / "weights" / "last.pt")["model"]
    statistics = [name for name in last if name.endswith(("running_mean", "running_var"))]
    assert statistics
    assert all(bool((last[name] == source[name]).all()) for name in statistics)
    assert any(bool((last[name] != source[name]).any()) for name in last if name.endswith("conv.weight"))


def test_blank__equals_an_evaluation_of_black_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = make_pairs(tmp_path / "data", num_train=6, num_val=3, size_hw=(64, 64))  # without padding
    config = write_config(tmp_path, pairs, train={"epochs": 1})
    run = train(load_config(config))
    predictions: list[Any] = []
    compute_metrics = evaluate_split.compute_metrics

    def keep(found: Any, *args: Any, **options: Any) -> Any:
        predictions.append([(d.boxes_xyxy, d.scores) for d in found.detections])
        return compute_metrics(found, *args, **options)

    monkeypatch.setattr(evaluate_split, "compute_metrics", keep)
    black = tmp_path / "black"
    shutil.copytree(tmp_path / "data", black)
    for file in (black / "ir" / "val").iterdir():
        assert cv2.imwrite(str(file), np.zeros_like(cv2.imread(str(file), cv2.IMREAD_UNCHANGED)))
    reports = {}
    for name, words in (
        ("blank", ["val.conf=0.0", "val.blank=ir"]),
        ("black", ["val.conf=0.0", "--data", str(black / "data.yaml")]),
    ):
        assert val.main(["--run", str(run), "--out", str(tmp_path / f"eval-{name}"), *words]) == 0
        reports[name] = json.loads((tmp_path / f"eval-{name}" / "report.json").read_text())
    assert reports["blank"]["blanked"].keys() == {"ir"}
    full, blanked, black_images = predictions
    assert sum(len(scores) for _, scores in black_images) > 10
    for (boxes, scores), (expected_boxes, expected_scores) in zip(blanked, black_images, strict=True):
        np.testing.assert_array_equal(boxes, expected_boxes)
        np.testing.assert_array_equal(scores, expected_scores)
    assert any(len(a[1]) != len(b[1]) or (a[1] != b[1]).any() for a, b in zip(full, blanked, strict=True))
    assert "one camera black" in (tmp_path / "eval-blank" / "report.md").read_text()
    assert "one camera black" not in (tmp_path / "eval-black" / "report.md").read_text()


def test_blank__of_both_cameras_in_turn(tmp_path: Path) -> None:
    pairs = make_pairs(tmp_path / "data", num_train=2, num_val=2)
    config = write_config(tmp_path, pairs)
    assert val.main(["--cfg", str(config), "val.blank=[rgb,ir]", "--out", str(tmp_path / "out")]) == 0
    assert list(json.loads((tmp_path / "out" / "report.json").read_text())["blanked"]) == ["rgb", "ir"]
