"""Reading the results of a run from its folder."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from tests.support.cluster_runs import config_file, event_line, write_run
from yolofuse.cluster.run_results import find_runs, read_run
from yolofuse.config import dump_config, load_config
from yolofuse.errors import RunError
from yolofuse.files import save_text
from yolofuse.run.folder import RunFolder
from yolofuse.tables import csv_text


def test_find_runs__includes_those_that_were_only_submitted(tmp_path: Path) -> None:
    run = write_run(tmp_path / "runs" / "deep", 0, 0.3)
    waiting = tmp_path / "runs" / "waiting"
    save_text(waiting / "submitted.yaml", dump_config(load_config(config_file(tmp_path))))
    assert find_runs(tmp_path / "runs") == sorted([run, waiting])
    results = read_run(waiting)
    assert (results.state, results.epochs, results.wall_s) == ("submitted", 0, None)
    assert read_run(run).state == "finished"


def test_read_run__the_model_before_training_is_no_epoch(tmp_path: Path) -> None:
    run = write_run(tmp_path, 0, 0.3)
    rows = [{"epoch": epoch, **{f"val/{name}": 0.1 for name in ("AP", "AP50", "AP75")}} for epoch in range(4)]
    save_text(run / "results.csv", csv_text(rows))
    assert read_run(run).epochs == 3


def test_read_run__a_killed_run_counts_until_it_was_last_seen(tmp_path: Path) -> None:
    run = write_run(tmp_path, 0, 0.3)
    seen = "2026-11-22T10:05:00+00:00"
    events = event_line("10:00:00", "begun", epoch=0, step=0)
    events += event_line("11:00:00", "resumed", epoch=0, step=5, last_seen=seen)
    save_text(run / "events.jsonl", events + event_line("11:10:00", "finished", epoch=10, step=50))
    results = read_run(run)
    assert (results.wall_s, results.busy_s, results.interruptions) == (70 * 60, 15 * 60, 1)


def test_read_run__an_undefined_ap_is_no_result_and_of_equals_the_newest_is_best(tmp_path: Path) -> None:
    run = write_run(tmp_path, 0, 0.3)
    save_text(run / "eval-val" / "report.json", '{"AP": -1.0, "AP50": -1.0}')
    save_text(run / "results.csv", "epoch,val/AP,val/AP50\n1,-1,-1\n2,-1,-1\n")  # as of yolofuse 0.1.0
    results = read_run(run)
    assert (results.epochs, results.best, results.evaluations) == (2, {}, {"eval-val": {}})
    save_text(run / "results.csv", "epoch,val/AP,val/AP50\n1,0.2,0.3\n2,0.2,0.4\n3,,\n")
    assert read_run(run).best == {"AP": 0.2, "AP50": 0.4}


def test_read_run__names_the_settings_of_an_evaluation_that_are_not_the_runs(tmp_path: Path) -> None:
    run = write_run(tmp_path, 0, 0.3)
    config = RunFolder(run).load_config()
    own = {"split": "val", "data": config.data.descriptor, "root": None, "imgsz": 640, "conf": 0.001, "nms": "IoU 0.7"}
    changed = {"imgsz": 32, "root": "/other", "nms": "IoU 0.5, inside the file"}
    for folder, settings in (("eval-val", own), ("eval-other-data-val", own | {"data": "x"}), ("eval-a", {})):
        save_text(run / folder / "report.json", json.dumps({"AP": 0.5, "AP50": 0.7, "settings": settings}))
    assert list(read_run(run).evaluations) == ["eval-a", "eval-other-data-val", "eval-val"]
    save_text(run / "eval-val" / "report.json", json.dumps({"AP": 0.5, "AP50": 0.7, "settings": own | changed}))
    marked = "eval-val (imgsz=32, root=/other, nms=IoU 0.5, inside the file)"
    assert read_run(run).evaluations[marked] == {"AP": 0.5, "AP50": 0.7}


def test_read_run__tells_of_an_evaluation_of_other_weights(tmp_path: Path) -> None:
    run = write_run(tmp_path, 0, 0.3)
    save_text(run / "weights" / "best.pt", "best")
    for content, name in (("best", "eval-val"), ("others", "eval-val (other weights than best.pt)")):
        settings = {"split": "val", "weights_sha256": sha256(content.encode()).hexdigest()}
        save_text(run / "eval-val" / "report.json", json.dumps({"AP": 0.5, "AP50": 0.7, "settings": settings}))
        assert list(read_run(run).evaluations) == [name]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("results.csv", "epoch,val/AP,val/AP50\n1,x,0\n", "not a run's results"),
        ("results.csv", "a\n1\n", "not a run's results"),
        ("results.csv", "epoch,val/AP,val/AP50\n1,7.0,9.0\n", "a metric is above 1"),
        ("results.csv", "epoch,val/AP,val/AP50\n1,nan,0.1\n", "or not a number"),
        ("eval-val/report.json", "[" * 100_000, "not a report"),
        ("eval-val/report.json", '{"AP": NaN, "AP50": 0}', "not a number"),
        ("eval-val/report.json", '{"AP": 0.5}', "not a report"),
    ],
    ids=["results", "columns", "above 1", "nan in results", "depth", "nan", "missing"],
)
def test_read_run__damaged_files_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    run = write_run(tmp_path, 0, 0.3)
    save_text(run / name, content)
    with pytest.raises(RunError, match=f"{name}: .*{message}"):
        read_run(run)
