"""Train and evaluate on images of unequal sizes, 16-bit thermal images, several sources and caches."""

from __future__ import annotations

import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from tests.support.pairs import make_pairs, random_pair, write_pair
from tests.support.processes import run_ranks
from tests.support.runs import same_tensors, write_config
from tests.support.runs import train_without_plots as train
from yolofuse.cli import train as train_cli
from yolofuse.cli import val as val_cli
from yolofuse.config import load_config
from yolofuse.weights import load_checkpoint

_RGB_HW, _IR_HW = (96, 160), (64, 80)


def _write_sources(root: Path) -> Path:
    """Write 16-bit thermal images of half the size, in a manifest with tags, and a second source of plain pairs."""
    rng = np.random.default_rng(0)
    rows = ["rgb,ir,label,split,daynight"]
    for index in range(8):
        split = "train" if index < 5 else "val"
        rgb, ir, boxes = random_pair(index, _RGB_HW)
        write_pair(root, split, f"pair{index}", (rgb, ir, boxes))
        counts = cv2.resize(ir, _IR_HW[::-1]).astype(np.uint16) * 8 + 7000 + rng.integers(0, 8, _IR_HW, dtype=np.uint16)
        file = root / "ir" / split / f"pair{index}.png"
        assert cv2.imwrite(str(file), counts)
        names = [
            f"{kind}/{split}/pair{index}.{end}" for kind, end in (("rgb", "png"), ("ir", "png"), ("labels", "txt"))
        ]
        rows.append(",".join([*names, split, "night" if index % 2 else "day"]))
    (root / "pairs.csv").write_text("\n".join(rows) + "\n")
    make_pairs(root / "plain", 3, 0, names=("pedestrian",))
    plain = {"name": "plain", "descriptor": "plain/data.yaml", "split": "train", "classes": {"pedestrian": "person"}}
    content = {
        "root": ".",
        "names": ["person"],
        "frame": "ir",
        "resize": "stretch",
        "ir_window": {"percentiles": [1, 99]},
        "splits": {"train": [{"name": "deep", "manifest": "pairs.csv"}, plain], "val": {"manifest": "pairs.csv"}},
    }
    descriptor = root / "both.yaml"
    descriptor.write_text(yaml.safe_dump(content))
    return descriptor


def test_run__on_16_bit_unequal_pairs_of_two_sources(tmp_path: Path) -> None:
    config = write_config(tmp_path, _write_sources(tmp_path / "set"), data={"cache_dir": str(tmp_path / "cache")})
    assert train_cli.main(["--cfg", str(config), "train.cache=disk", "data.workers=2"]) == 0
    run = tmp_path / "run"
    image = cv2.imread(str(run / "train_batch0.jpg"))
    assert image is not None
    assert image.std() > 20  # 16 bits mapped to 8: neither white nor black
    windows = load_checkpoint(run / "weights" / "best.pt")["ir_windows"]
    assert list(windows) == ["both.yaml train 1..99"]
    low, high = windows["both.yaml train 1..99"]
    assert 7000 <= low < high <= 7000 + 256 * 8

    assert val_cli.main(["--run", str(run)]) == 0
    truth = json.loads((run / "eval-val" / "ground_truth.json").read_text())
    assert {(image["height"], image["width"]) for image in truth["images"]} == {_IR_HW}
    report = json.loads((run / "eval-val" / "report.json").read_text())
    assert set(report["slices"]) == {"daynight=day", "daynight=night"}
    rows = list(csv.DictReader((run / "results.csv").open()))
    assert all(0 <= float(row["data_wait"]) <= 1 for row in rows)


def test_evaluation__uses_the_thermal_window_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_config(tmp_path, _write_sources(tmp_path / "set"), data={"cache_dir": str(tmp_path / "cache")})
    run = train(load_config(config, ["train.epochs=1"]))
    for cache in (tmp_path / "cache").glob("window-*.json"):
        cache.unlink()
    monkeypatch.setattr("yolofuse.data.index.pair_set.percentile_window", lambda *_: pytest.fail("computed again"))
    assert val_cli.main(["--run", str(run)]) == 0


@pytest.mark.parametrize("augment_on", ["loader", "device"])
def test_caches__leave_a_run_bit_identical(tmp_path: Path, augment_on: str) -> None:
    descriptor = make_pairs(tmp_path / "set", 6, 2, (150, 202), suffixes=(".jpg", ".jpg"))
    weights: list[Any] = []
    for cache, workers in (("none", 0), ("ram", 2), ("disk", 0)):
        folder = tmp_path / cache
        folder.mkdir()
        data = {"workers": workers, "cache_dir": str(tmp_path / "cache")}
        options = {"cache": cache, "epochs": 1, "augment_on": augment_on}
        run = train(load_config(write_config(folder, descriptor, data=data, train=options)))
        weights.append(load_checkpoint(run / "weights" / "last.pt")["model"])
    assert same_tensors(weights[0], weights[1])
    assert same_tensors(weights[0], weights[2])


def _train_as_rank(config: Path, rank: int) -> None:
    train(load_config(config))


def test_ram_cache__is_shared_by_ranks(tmp_path: Path) -> None:
    """Two ranks, of which the second maps the memory of the first, end as two ranks without a cache."""
    descriptor = make_pairs(tmp_path / "set", 6, 2, (150, 202), suffixes=(".jpg", ".jpg"))
    weights = []
    for cache in ("none", "ram"):
        folder = tmp_path / cache
        folder.mkdir()
        config = write_config(folder, descriptor, train={"cache": cache, "epochs": 1, "batch": 4})
        codes, output = run_ranks(partial(_train_as_rank, config), folder)
        assert codes == [0, 0], output
        weights.append(load_checkpoint(folder / "run" / "weights" / "last.pt")["model"])
    assert same_tensors(*weights)
