"""What an evaluation writes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

import yolofuse
from yolofuse.eval.coco import FIGURES, CocoResult
from yolofuse.eval.report import EvalReport, environment, format_table, git_commit, write_report
from yolofuse.files import save_json


def result(base: float) -> CocoResult:
    values = {name: base + 0.01 * index for index, name in enumerate(FIGURES)}
    return CocoResult(
        **{**values, "APs": -1.0}, per_class={"person": (base, 0.7), "car": (-1.0, -1.0)}, num_images=41, num_boxes=360
    )


REPORT = EvalReport(
    result=result(0.123456789),
    slices={"daynight=day": result(0.2), "daynight=night": result(0.1)},
    settings={"imgsz": 640, "conf": 0.001, "seed": None, "data": "configs/data/a|b.yaml"},
    ms_per_pair=12.34,
)


def test_write_report__leaves_four_files_that_hold_everything(tmp_path: Path) -> None:
    predictions = [{"image_id": 1, "category_id": 1, "bbox": [0.1, 0.2, 0.3, 0.4], "score": 1 / 3}]
    write_report(tmp_path / "new", REPORT, {"images": [], "annotations": [], "categories": []}, predictions)
    files = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert files == ["ground_truth.json", "predictions.json", "report.json", "report.md"]
    assert json.loads((tmp_path / "new/predictions.json").read_text()) == predictions
    saved = json.loads((tmp_path / "new/report.json").read_text())
    assert saved["AP"] == 0.123456789
    assert saved["APs"] == -1
    assert saved["per_class"]["person"] == {"AP": 0.123456789, "AP50": 0.7}
    assert saved["slices"]["daynight=night"]["AP"] == 0.1
    assert saved["settings"] == dict(REPORT.settings)
    assert (saved["num_images"], saved["num_boxes"], saved["ms_per_pair"]) == (41, 360, 12.34)
    page = (tmp_path / "new/report.md").read_text()
    assert "0.1235" in page
    assert "a\\|b.yaml" in page


def test_format_table__shows_figures_classes_and_slices() -> None:
    lines = format_table(REPORT).splitlines()
    assert lines[0] == "41 pairs, 360 boxes, 12.3 ms per pair"
    assert lines[2].split() == list(FIGURES[:6])
    assert lines[3].split()[:4] == ["0.1235", "0.1335", "0.1435", "-1"]
    assert ["car", "-1", "-1"] in [line.split() for line in lines]
    assert any(line.split()[:4] == ["daynight=night", "41", "360", "0.1000"] for line in lines)


def test_save_json__a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    save_json(path, {"AP": 0.1})
    with pytest.raises(ValueError, match="JSON compliant"):
        save_json(path, {"AP": float("nan")})
    assert json.loads(path.read_text()) == {"AP": 0.1}
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        save_json(tmp_path / "folder", {})
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["figures.json", "folder"]


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", *identity, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=clean).stdout.strip()


def test_git_commit__names_the_packages_own_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "checkout" / "yolofuse"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(yolofuse, "__file__", str(package / "__init__.py"))
    assert git_commit() == "unknown"
    git(package.parent, "init", "-q")
    assert git_commit() == "unknown"  # no commit yet
    git(package.parent, "add", ".")
    git(package.parent, "commit", "-q", "-m", "first")
    head = git(package.parent, "rev-parse", "HEAD")
    assert git_commit() == head
    (package / "__init__.py").write_text("changed = True\n")
    assert git_commit() == f"{head}-dirty"


def test_git_commit__somebody_elses_repository_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "venv" / "site-packages" / "yolofuse"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "theirs")
    monkeypatch.setattr(yolofuse, "__file__", str(package / "__init__.py"))
    assert git_commit() == "unknown"


def test_environment__says_what_ran() -> None:
    settings = environment()
    assert settings["date"].endswith("+00:00")
    assert {"commit", "python", "torch", "pycocotools"} <= settings.keys()
    assert settings["torch"][0].isdigit()
