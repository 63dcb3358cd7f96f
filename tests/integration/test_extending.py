"""Each example of docs/extending.md and docs/python.md does what the page says, outside the project's folder."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import yaml

from tests.support.documents import python_examples
from tests.support.pairs import make_pairs
from tests.support.runs import REPO, write_config
from tests.support.videos import coded, encode, times

_PREDICT = ("Predict", "Follow objects in a video")
EXAMPLES = python_examples("docs/extending.md")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with ``mine.yaml``, whose run is ``runs/mine``."""
    config = write_config(tmp_path, make_pairs(tmp_path / "data"), train={"epochs": 1, "run": "runs/mine"})
    config.rename(tmp_path / "mine.yaml")
    return tmp_path


def _run(code: str, folder: Path, package: Path = REPO) -> None:
    environment = {**os.environ, "PYTHONPATH": str(package), "OMP_NUM_THREADS": "1"}
    (folder / "example.py").write_text(code)
    ended = subprocess.run(
        [sys.executable, "example.py"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def _config(folder: Path) -> dict[str, dict[str, object]]:
    return yaml.safe_load((folder / "runs/mine/config.yaml").read_text())  # type: ignore[no-any-return]


def _last_row(folder: Path) -> dict[str, str]:
    with (folder / "runs/mine/results.csv").open() as file:
        return list(csv.DictReader(file))[-1]


def test_page__has_the_seven_examples() -> None:
    assert list(EXAMPLES) == [
        "A fusion block",
        "A thermal augmentation",
        "A loss term",
        "A metric in the report",
        "A detection head",
        "A logger",
        "A callback",
    ]


def test_fusion_block(folder: Path) -> None:
    more = "\ndetector = yolofuse.load_detector(run, 'cpu').detector\nassert detector.fusion['4'].gain == 0.7\n"
    _run(EXAMPLES["A fusion block"] + more, folder)
    assert _config(folder)["model"]["fusion"] == {"name": "scaled", "gain": 0.7}


def test_thermal_augmentation(folder: Path) -> None:
    more = "\nfrom yolofuse.data import SampleKey, TrainDataset, load_descriptor, load_pairs\n" + (
        "from yolofuse.config.schema import AugmentConfig\nfrom pathlib import Path\n"
        "pairs = load_pairs(load_descriptor(Path('data/data.yaml')), 'train')\n"
        "key = SampleKey(0, 0, False)\n"
        "plain, hazy = (TrainDataset(pairs, 64, AugmentConfig(extra=more), 0)[key].image for more in ((), ('haze',)))\n"
        "assert (plain[..., :3] == hazy[..., :3]).all()\n"
        "assert hazy[..., 3].astype(int).sum() > plain[..., 3].astype(int).sum()\n"
    )
    _run(EXAMPLES["A thermal augmentation"] + more, folder)
    assert (folder / "runs/mine/FINISHED").is_file()


def test_loss_term(folder: Path) -> None:
    _run(EXAMPLES["A loss term"], folder)
    assert 0 < float(_last_row(folder)["train/sparse"]) < 0.5


def test_metric(folder: Path) -> None:
    _run("import yolofuse\nyolofuse.train('mine.yaml')\n" + EXAMPLES["A metric in the report"], folder)
    evaluation = folder / "runs/mine/eval-val"
    rows = json.loads((evaluation / "predictions.json").read_text())
    expected = sum(row["score"] >= 0.25 for row in rows) / 2
    assert json.loads((evaluation / "report.json").read_text())["extra"] == {"found per image": expected}
    assert f"| found per image | {expected:.4f} |" in (evaluation / "report.md").read_text()


def test_detection_head(folder: Path) -> None:
    more = "\nyolofuse.evaluate(run)\nassert len(yolofuse.load_detector(run).detector.heads['trunk'].cv3[0]) == 4\n"
    _run(EXAMPLES["A detection head"] + more, folder)
    assert (folder / "runs/mine/eval-val/report.json").is_file()


def test_logger(folder: Path) -> None:
    _run(EXAMPLES["A logger"], folder)
    assert (folder / "runs/mine/mine.txt").read_text().startswith("1 {'train/box'")


def test_callback(folder: Path) -> None:
    _run(EXAMPLES["A callback"], folder)
    assert (folder / "runs/mine/FINISHED").is_file()


def test_python_page__runs_from_top_to_bottom(folder: Path) -> None:
    examples = python_examples("docs/python.md")
    assert list(examples) == ["Train", "Evaluate", *_PREDICT, "Batches of your own", "Build"]
    for modality in ("rgb", "ir"):
        (folder / modality).mkdir()
        for name, file in (("a", "val_000"), ("b", "val_001")):
            image = cv2.imread(str(folder / "data" / modality / "val" / f"{file}.png"))
            assert image is not None
            cv2.imwrite(str(folder / modality / f"{name}.jpg"), image)
    for name in ("rgb", "ir"):
        encode(folder / f"{name}.mp4", coded(times(5, 1)))
    if not importlib.util.find_spec("trackers"):  # Python 3.10
        del examples["Follow objects in a video"]
    _run("\n".join(examples.values()), folder)
    assert (folder / "a.png").is_file()
    assert _config(folder)["model"]["cut"] == "late"
    assert json.loads((folder / "runs/mine/eval-val/report.json").read_text())["settings"]["nms"] == "IoU 0.6"


_INSIDE = {
    "A fusion block": ("nn/registries.py", "FUSIONS", "nn/scaled.py", "scaled", "ScaledSum"),
    "A thermal augmentation": ("data/augment/extra.py", "AUGMENTATIONS", "data/augment/haze.py", "haze", "Haze"),
    "A loss term": ("engine/loss_terms.py", "LOSS_TERMS", "engine/sparse.py", "sparse", "Sparse"),
    "A metric in the report": ("eval/extra_metrics.py", "METRICS", "eval/found.py", "found", "found_per_image"),
    "A detection head": ("nn/registries.py", "HEADS", "nn/deeper.py", "deeper", "deeper"),
}
"""Registry, its name, the new file, name and constructor of a part that is added to the project itself."""


def test_inside_the_project__two_files_are_enough(folder: Path) -> None:
    """The page's parts as parts of a copy of the package: an own file each, and a line in a registry."""
    package = folder / "changed" / "yolofuse"
    shutil.copytree(REPO / "yolofuse", package, ignore=shutil.ignore_patterns("__pycache__"))
    for title, (registry, table, own, name, constructor) in _INSIDE.items():
        code = EXAMPLES[title].partition(f"yolofuse.{table}[")[0]
        (package / own).write_text(code)
        file = package / registry
        opening = re.search(rf"^{table}: .*= Registry\(", file.read_text(), re.MULTILINE)
        assert opening is not None
        place = f"yolofuse.{own.removesuffix('.py').replace('/', '.')}:{constructor}"
        file.write_text(file.read_text().replace(opening[0], f'{opening[0]}{name}="{place}", '))
    use = """
import yolofuse
run = yolofuse.train(
    "mine.yaml", model={"fusion": {"name": "scaled", "gain": 0.7}, "head": "deeper"},
    train={"augment": {"extra": ["haze"]}, "loss": {"extra": ["sparse"]}}, val={"metrics": "found"},
)
assert "found" in yolofuse.evaluate(run).report.extra
detector = yolofuse.load_detector(run, "cpu").detector
assert type(detector.fusion["4"]).__module__ == "yolofuse.nn.scaled"
"""
    _run(use, folder, folder / "changed")
    assert float(_last_row(folder)["train/sparse"]) > 0


def test_wrong_names_and_options__are_told(folder: Path) -> None:
    wrong = """
import yolofuse
for options, text in [
    ({"model": {"head": "deepr"}}, "model.head: unknown name 'deepr'"),
    ({"train": {"augment": {"extra": ["haze"]}}}, "train.augment.extra: unknown name 'haze' (known: none"),
    ({"train": {"loss": {"extra": ["sparse"]}}}, "train.loss.extra: unknown name 'sparse'"),
    ({"val": {"metrics": ["count"]}}, "val.metrics: unknown name 'count'"),
]:
    try:
        yolofuse.train("mine.yaml", **options)
    except yolofuse.YolofuseError as error:
        assert text in str(error), error
    else:
        raise SystemExit(f"accepted: {options}")
yolofuse.LOSS_TERMS["sparse"] = lambda gain=1: None
try:
    yolofuse.train("mine.yaml", train={"loss": {"extra": [{"name": "sparse", "gian": 1}]}})
except yolofuse.YolofuseError as error:
    assert "gian: unknown key; did you mean gain?" in str(error), error
"""
    _run(wrong, folder)
    assert not (folder / "runs").exists()
