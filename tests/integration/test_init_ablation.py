"""Test scripts.experiments.init_ablation: its runs, statistics and report."""

from __future__ import annotations

import csv
import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from scripts.experiments.init_ablation import ablate, cells
from scripts.experiments.init_ablation.report import Result, format_block, format_csv, verdict
from scripts.experiments.stats import paired_interval, student_coverage, student_quantile
from tests.support.runs import REPO, write_config
from yolofuse.config import load_config
from yolofuse.errors import RunError
from yolofuse.run.folder import RunFolder
from yolofuse.weights.init.policy import resolve_policy

_POLICIES = ("kaiming", "zeros")


def _result(policy: str, seed: int, ap: float, *, totals: list[float] | None = None, nan: bool = False) -> Result:
    totals = totals or [16.0 - 0.1 * step for step in range(50)]
    return Result(
        block="scratch",
        policy=policy,
        seed=seed,
        nan_step=len(totals) if nan else None,
        seconds=1.0,
        figures={"AP": ap, "AP50": ap, "AP75": ap},
        first={"box": 4.0, "cls": 12.0, "total": 16.0},
        curve=list(enumerate(totals, start=1)),
        origin={},
    )


def _arguments(tmp_path: Path, cfg: Path, *more: str) -> list[str]:
    folders = ["--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs"), "--name", "tiny", "--cfg", str(cfg)]
    return [*folders, "--policies", *_POLICIES, "--seeds", "0", "1", "--jobs", "2", *more]


def test_ablation__reports_all_runs_repeats_none_and_keeps_its_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = write_config(tmp_path, train={"epochs": 1})
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # the command sets it; restored after the test
    monkeypatch.setattr(sys, "argv", ["init_ablation", *_arguments(tmp_path, cfg)])
    with pytest.raises(SystemExit) as ended:  # as `python -m`, but without importing everything once more
        runpy.run_module("scripts.experiments.init_ablation", run_name="__main__")
    assert ended.value.code == 0, capsys.readouterr().err
    checkpoints = sorted(tmp_path.glob("runs/tiny/*/weights/last.pt"))
    assert [path.parts[-3] for path in checkpoints] == [f"{p}-scratch-{s}" for p in _POLICIES for s in (0, 1)]
    stamps = [path.stat().st_mtime_ns for path in checkpoints]
    with (tmp_path / "out" / "tiny.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["policy"], row["seed"]) for row in rows] == [(p, s) for p in _POLICIES for s in ("0", "1")]
    assert all(float(row["first_total"]) > 0 and float(row["loss_last"]) > 0 and row["steps"] == "3" for row in rows)
    page = (tmp_path / "out" / "tiny.md").read_text()
    assert "1 epochs (3 steps) at 64 px, batch 2, yolov8n" in page.splitlines()[0]
    assert "6 train, 3 val pairs" in page.splitlines()[0]
    assert "| kaiming | 2 |" in page
    assert "| zeros   | 2 |" in page
    assert (tmp_path / "out" / "tiny.png").stat().st_size > 10_000

    assert ablate.main(_arguments(tmp_path, cfg)) == 0
    assert [path.stat().st_mtime_ns for path in checkpoints] == stamps
    assert (tmp_path / "out" / "tiny.md").read_text() == page

    capsys.readouterr()
    assert ablate.main(_arguments(tmp_path, cfg, "train.epochs=2")) == 2
    error = capsys.readouterr().err
    assert "started with another budget" in error
    assert "train.epochs: 1 there, 2 now" in error


def _cell(tmp_path: Path, *overrides: str) -> cells.Cell:
    ablation = ablate.prepare_ablation(write_config(tmp_path, train={"epochs": 1}), tmp_path / "runs", overrides)
    (cell,) = ablation.cells("scratch", ["kaiming"], [0], None)
    return cell


def test_run__with_a_non_finite_loss_is_counted(tmp_path: Path) -> None:
    cell = _cell(tmp_path, "train.lr0=1e30", "train.warmup_epochs=0", "train.nominal_batch=2", "train.nan_rollbacks=0")
    cells.run_cell(cell)
    result = cells.read_result(cell.result_file)
    assert result.nan_step in {2, 3}
    assert result.figures == {"AP": 0.0, "AP50": 0.0, "AP75": 0.0}
    assert [step for step, _ in result.curve] == list(range(1, result.nan_step))
    assert result.loss_at(None) is None
    row = next(line for line in format_block([result]) if line.startswith("| kaiming"))
    assert row.split("|")[-4].strip() == "1"  # the column of runs whose loss became non-finite


def test_run__other_error_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = _cell(tmp_path)

    def refuse(*args: object, **kwargs: object) -> None:
        raise RunError("the disk is full")

    monkeypatch.setattr(cells, "train", refuse)
    with pytest.raises(RunError, match="disk is full"):
        cells.run_cell(cell)
    assert not cell.result_file.exists()


def test_run__killed_before_its_result_was_saved_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = _cell(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(cells, "read_metrics", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            cells.run_cell(cell)
    assert not cell.result_file.exists()
    before = torch.load(RunFolder(cell.config.run_dir).last, weights_only=True)["epoch"]
    cells.run_cell(cell)
    assert before == 1
    assert len(cells.read_result(cell.result_file).curve) == 3


def test_ablation__other_weights_in_a_used_folder_are_refused(tmp_path: Path) -> None:
    ablation = ablate.prepare_ablation(write_config(tmp_path, train={"epochs": 1}), tmp_path / "runs", [])
    (tmp_path / "a.pt").touch()
    (old,) = ablation.cells("pretrained", ["kaiming"], [0], tmp_path / "a.pt")
    RunFolder(old.config.run_dir).create(old.config)
    ablate.check_existing_runs(ablation, [old])
    (new,) = ablation.cells("pretrained", ["kaiming"], [0], tmp_path / "b.pt")
    with pytest.raises(RunError, match=r"kaiming-pretrained-0: weights\.pretrained: .*a\.pt there, .*b\.pt now"):
        ablate.check_existing_runs(ablation, [new])


def test_ablation__other_data_in_a_used_folder_is_refused(tmp_path: Path) -> None:
    ablation = ablate.prepare_ablation(write_config(tmp_path, train={"epochs": 1}), tmp_path / "runs", [])
    (cell,) = ablation.cells("scratch", ["kaiming"], [0], None)
    cell.result_file.parent.mkdir(parents=True)
    cell.result_file.write_text(json.dumps({**vars(_result("kaiming", 0, 0.1)), "origin": {"data_hash": "another"}}))
    with pytest.raises(RunError, match="data hash another there"):
        ablate.check_existing_runs(ablation, [cell])


@pytest.mark.parametrize("policy", ablate.POLICIES)
def test_policy__is_accepted_by_the_package(policy: str) -> None:
    plain = [*ablate.PLAIN_INIT, "train.run=x"]
    config = load_config(REPO / "configs" / "demo.yaml", [*plain, *ablate.POLICIES[policy]])
    assert resolve_policy(config.init, seed=0, imgsz=192).config == config.init
    assert policy == "kaiming" or config.init != load_config(REPO / "configs" / "demo.yaml", plain).init


@pytest.mark.parametrize(  # t_{0.975} as printed in every table
    ("df", "t"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (10, 2.228), (29, 2.045), (120, 1.980)]
)
def test_student_quantile__matches_printed_tables(df: int, t: float) -> None:
    assert student_quantile(0.95, df) == pytest.approx(t, abs=6e-4)
    assert student_coverage(student_quantile(0.9, df), df) == pytest.approx(0.9, abs=1e-12)


def test_paired_interval__known_example() -> None:
    # Student 1908, hours of sleep gained: the differences of the two drugs over ten patients; 0.70 to 2.46.
    gained = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    interval = paired_interval(dict(enumerate(gained)), dict.fromkeys(range(10), 0.0))
    assert interval is not None
    assert (interval.mean, interval.low, interval.high) == pytest.approx((1.58, 0.7001142, 2.4598858), abs=1e-6)
    assert interval.excludes_zero


def test_paired_interval__uses_only_common_seeds() -> None:
    interval = paired_interval({0: 0.5, 1: 0.7, 5: 9.0}, {0: 0.4, 1: 0.4, 2: 7.0})
    assert interval is not None
    assert interval.num == 2
    assert interval.mean == pytest.approx(0.2)
    alone = paired_interval({0: 0.5}, {0: 0.4})
    assert alone is not None
    assert alone.low is None
    assert not alone.excludes_zero
    assert paired_interval({0: 0.5}, {1: 0.4}) is None


def test_verdict__follows_the_intervals() -> None:
    runs = [
        _result(policy, seed, ap + noise)
        for policy, ap, step in (("kaiming", 0.5, 0.0), ("xavier", 0.51, 0.05), ("zeros", 0.1, 0.01))
        for seed, noise in enumerate((-step, 0.0, step))
    ]
    runs += [_result("ultralytics", seed, 0.9 + 0.001 * seed) for seed in range(3)] + [_result("constant", 0, 0.2)]
    *_, blank, sentence = format_block(runs)
    assert blank == ""
    higher, lower, undecided, none = sentence.removesuffix(".").split("; ")
    assert "higher than kaiming's for ultralytics (+0.399 to +0.403, n = 3)" in higher
    assert "lower than kaiming's for zeros (-0.425 to -0.375, n = 3)" in lower
    assert "undecided against kaiming, because the interval includes 0: xavier (-0.114 to +0.134, n = 3)" in undecided
    assert none.endswith("constant")
    assert "nothing is compared" in verdict({}, num_baseline=0)


def test_loss_at__is_the_mean_around_the_step() -> None:
    totals = [float(step**2) for step in range(1, 21)]
    run = _result("kaiming", 0, 0.5, totals=totals)
    assert run.loss_at(10) == pytest.approx((64 + 81 + 100 + 121 + 144) / 5)
    assert run.loss_at(None) == pytest.approx((256 + 289 + 324 + 361 + 400) / 5)
    assert run.loss_at(30) is None
    broken = _result("kaiming", 1, 0.0, totals=totals[:11], nan=True)
    assert broken.loss_at(10) is None
    table = format_block([run, broken])
    assert "102.00 (1 of 2)" in table[2]
    rows = list(csv.DictReader(format_csv({}, [run, broken], ablate.POLICIES).splitlines()))
    assert [(row["nan"], row["nan_step"], row["loss_10"]) for row in rows] == [("0", "", "102"), ("1", "11", "")]
