"""Test that every shipped config trains, and that options of a fusion block train, resume and are validated."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.pairs import make_pairs
from tests.support.runs import train_without_plots, write_config
from yolofuse.cli import train as train_cli
from yolofuse.config import load_config
from yolofuse.config.field_types import part_options
from yolofuse.data import load_descriptor
from yolofuse.engine.loaded_detector import load_detector
from yolofuse.errors import RunError

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
    run = train_without_plots(load_config(path, small))
    assert (run / "weights" / "best.pt").is_file()


@pytest.mark.parametrize("name", ["custom", "roadscene-flir", "llvip-256", "llvip-hr"])
def test_descriptor__reads_the_layout_it_describes(name: str, tmp_path: Path) -> None:
    file = REPO / "configs" / "data" / f"{name}.yaml"
    for folders in yaml.safe_load(file.read_text())["splits"].values():
        for folder in folders.values():
            (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "meta.csv").write_text("name,daynight\n")
    descriptor = load_descriptor(file, tmp_path)
    assert set(descriptor.splits) <= {"train", "val", "test"}


def test_fusion_options__train_resume_and_evaluate(tmp_path: Path) -> None:
    fusion = {"name": "gated", "reduction": 16}
    file = write_config(tmp_path, model={"base": "yolov5n", "fusion": fusion}, train={"epochs": 1})
    run = train_without_plots(load_config(file))
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["fusion"] == fusion
    with pytest.raises(RunError, match=r"model.fusion.reduction: 16 when it was saved, 8 now"):
        train_without_plots(load_config(file, ["model.fusion={name: gated, reduction: 8}"]), resume="always")
    train_without_plots(load_config(file, ["train.epochs=2"]), resume="always", force=True)
    loaded = load_detector(run / "weights" / "best.pt")
    assert part_options(loaded.config.model.fusion) == {"reduction": 16}


@pytest.mark.parametrize(
    ("fusion", "message"),
    [
        ("gatd", "model.fusion: unknown name 'gatd'; did you mean gated?"),
        ("{name: gated, redction: 8}", "redction: unknown key; did you mean reduction?"),
        ("{name: gated, reduction: 0}", "reduction: must be at least 1 (got 0)"),
    ],
)
def test_fusion_options__are_checked_before_the_data_is_read(
    fusion: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_config(tmp_path, tmp_path / "nowhere.yaml", model={})
    assert train_cli.main(["--cfg", str(file), f"model.fusion={fusion}"]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
