"""Every config that is shipped trains: built, stepped and scored once on a tiny data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.pairs import make_pairs
from yolofuse.config import load_config
from yolofuse.engine.train import train

REPO = Path(__file__).resolve().parents[2]
SHIPPED = sorted(path for path in (REPO / "configs").rglob("*.yaml") if path.parent.name != "data")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: str(p.relative_to(REPO)))
def test_shipped__steps_once(path: Path, tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path / "data", num_train=2, num_val=1)
    small = [
        f"data.descriptor={descriptor}",
        "data.val_split=val",
        "data.workers=0",
        f"train.run={tmp_path / 'run'}",
        "train.epochs=1",
        "train.batch=2",
        "train.imgsz=64",
        "train.device=cpu",
    ]
    run = train(load_config(path, small))
    assert (run / "weights" / "best.pt").is_file()


@pytest.mark.parametrize("name", ["llvip", "custom", "roadscene-flir", "llvip-256"])
def test_descriptor__reads_the_layout_it_describes(name: str, tmp_path: Path) -> None:
    import yaml

    from yolofuse.data import load_descriptor

    file = REPO / "configs" / "data" / f"{name}.yaml"
    for folders in yaml.safe_load(file.read_text())["splits"].values():
        for folder in folders.values():
            (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "meta.csv").write_text("name,daynight\n")
    descriptor = load_descriptor(file, tmp_path)
    assert set(descriptor.splits) <= {"train", "val", "test"}
