"""Test that any user error gives a clear message and exit code 2, and starts no run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ultralytics.nn.tasks import DetectionModel

from tests.support.pairs import make_pairs, random_pair, write_pair
from tests.support.runs import write_config
from yolofuse.cli import train as train_cli
from yolofuse.cli import val as val_cli

Damage = Callable[[Path], None]


def _first(root: Path, kind: str) -> Path:
    return min((root / kind / "train").iterdir())


def _remove_partner(root: Path) -> None:
    _first(root, "ir").unlink()


def _remove_rgb(root: Path) -> None:
    _first(root, "rgb").unlink()


def _duplicate_stem(root: Path) -> None:
    file = _first(root, "rgb")
    file.with_suffix(".bmp").write_bytes(file.read_bytes())


def _truncate_jpeg(root: Path) -> None:
    write_pair(root, "train", "cut", random_pair(50), (".jpg", ".jpg"))
    file = root / "rgb" / "train" / "cut.jpg"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _label(text: str) -> Damage:
    def damage(root: Path) -> None:
        _first(root, "labels").write_text(text)

    return damage


def _no_images(root: Path) -> None:
    for kind in ("rgb", "ir", "labels"):
        for file in (root / kind / "train").iterdir():
            file.unlink()


def _no_boxes(split: str) -> Damage:
    def damage(root: Path) -> None:
        for file in (root / "labels" / split).iterdir():
            file.write_text("")

    return damage


DATA: dict[str, tuple[Damage, str]] = {
    "missing-ir": (_remove_partner, "no IR partner"),
    "missing-rgb": (_remove_rgb, "no RGB partner"),
    "duplicate-stem": (_duplicate_stem, "stem"),
    "truncated-jpeg": (_truncate_jpeg, "cut.jpg"),
    "malformed-label": (_label("0 0.5 0.5 0.1\n"), ".txt:1"),
    "not-a-number": (_label("0 0.5 0.5 0.1 x\n"), ".txt:1"),
    "class-out-of-range": (_label("0 0.5 0.5 0.1 0.1\n7 0.5 0.5 0.1 0.1\n"), ".txt:2"),
    "nan": (_label("0 nan 0.5 0.1 0.1\n"), ".txt:1"),
    "no-images": (_no_images, "no images"),
    "no-box-to-learn": (_no_boxes("train"), "train: no box in 4 pairs, so there is nothing to learn"),
    "no-box-to-score": (_no_boxes("val"), "evaluate another split with data.val_split, or train without validation"),
}


@pytest.mark.parametrize("name", DATA)
def test_data__damage_is_reported_at_start(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage, expected = DATA[name]
    descriptor = make_pairs(tmp_path / "data")
    damage(tmp_path / "data")
    config = write_config(tmp_path, descriptor)
    assert train_cli.main(["--cfg", str(config)]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert expected in message
    assert not (tmp_path / "run").exists()


CONFIG: dict[str, tuple[list[str], str]] = {
    "unknown-key": (["train.bacth=3"], "train.bacth: unknown key; did you mean train.batch?"),
    "wrong-cut": (["model.cut=middle"], "model.cut"),
    "cut-out-of-range": (["model.cut=99"], "model.cut: 99 is out of range"),
    "unknown-size": (["model.base=yolo11q"], "unknown size 'q'"),
    "missing-size": (["model.base=yolo11"], "has no size"),
    "missing-weights": (["weights.pretrained=nowhere.pt"], "nowhere.pt: no such weights file"),
    "missing-descriptor": (["data.descriptor=nowhere.yaml"], "nowhere.yaml"),
    "imgsz": (["train.imgsz=650"], "train.imgsz: must be a multiple of 32 (got 650)"),
    "nan": (["train.lr0=.nan"], "train.lr0"),
    "unknown-split": (["data.train_split=trian"], "trian"),
    "class-without-box": (["data.classes=[car]"], "train: no box of car (data.classes) in 6 pairs"),
    "no-box-of-the-one": (
        ["data.classes=[car]", "data.single_class=x"],
        "val: no box of car (data.classes)",
    ),
    "unknown-device": (["train.device=tpu9"], "train.device"),
    "freeze-nothing": (["train.freeze=[rbg.*]"], "'rbg.*' matches no parameter"),
    "freeze-all": (["train.freeze=['*']"], "nothing to train"),
    "not-an-override": (["imgsz"], "section.key=value"),
    "unknown-scheme": (["init.rules=[{scheme: kaimng}]"], "init.rules.0.scheme"),
    "missing-activation": (["init.rules=[{scheme: kaiming_normal, nonlinearity: swish}]"], "nonlinearity: input"),
    "option-of-another-scheme": (["init.rules=[{scheme: zeros, std: 0.1}]"], "zeros has no std"),
    "rule-for-nothing": (["init.rules=[{name: 'rbg.*', scheme: zeros}]"], "no module or parameter has such a name"),
    "rule-for-no-type": (["init.rules=[{type: Conv3d, scheme: zeros}]"], "did you mean Conv2d?"),
    "unknown-preset": (["init.preset=he"], "init.preset"),
    "start-of-add": (["model.fusion=add", "init.fusion=rgb"], "'add' is always the average"),
    "required-but-none": (["weights.require=0.9"], "weights.require: 90.0%"),
    "no-such-stream": (["model.streams=rgb", "weights.ir=x.pt"], "no ir stream of its own"),
    "share-nothing": (["model.cut=input", "model.share=true"], "no streams to share"),
}


@pytest.mark.parametrize("name", CONFIG)
def test_config__mistake_is_reported_at_start(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overrides, expected = CONFIG[name]
    descriptor = make_pairs(tmp_path / "data", 6, 3)
    descriptor.write_text(descriptor.read_text().replace("0: person", "0: person\n  1: car"))
    config = write_config(tmp_path, descriptor)
    assert train_cli.main(["--cfg", str(config), *overrides]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_one_camera__a_split_whose_boxes_it_cannot_see_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The only labelled pair has no thermal image: nothing is left for a detector of that camera."""
    descriptor = make_pairs(tmp_path / "data")
    labels = sorted((tmp_path / "data" / "labels" / "train").iterdir())
    for file in labels[1:]:
        file.write_text("")
    (tmp_path / "data" / "ir" / "train" / f"{labels[0].stem}.png").unlink()
    config = write_config(tmp_path, descriptor)
    words = ["data.missing=allow", "train.epochs=1"]
    assert train_cli.main(["--cfg", str(config), *words, "model.streams=ir"]) == 2
    assert "train: no box in 3 pairs, so there is nothing to learn" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_config__all_mistakes_are_reported_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path)
    assert train_cli.main(["--cfg", str(config), "train.imgsz=650", "modle.cut=mid", "val.conf=2"]) == 2
    message = capsys.readouterr().err
    assert "3 wrong values" in message
    assert "did you mean model?" in message or "did you mean model.cut?" in message


class _Marker:
    """Create a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


WEIGHTS = {
    "code": "it is not opened",
    "empty": "empty",
    "text": "not a file of torch.save",
    "cut": "damaged",
    "wrong-width": "0.conv.weight: 5 x 3 x 3 x 3 in the file, 16 x 3 x 3 x 3 in the model's",
    "wrong-family": "the file holds yolo11n",
    "not-finite": "not finite: '1.conv.weight'",
    "other-keys": "weights.name_map",
}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights__invalid_file_is_reported_and_not_executed(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, marker = tmp_path / "w.pt", tmp_path / "marker"
    torch.save({"model.0.conv.weight": torch.zeros(16, 3, 3, 3)}, file)
    if kind == "wrong-family":
        torch.save({"model": DetectionModel("yolo11n.yaml", nc=1, verbose=False)}, file)  # type: ignore[no-untyped-call]
    elif kind == "not-finite":
        torch.save({"model.1.conv.weight": torch.full((32, 16, 3, 3), torch.inf)}, file)
    elif kind == "code":
        torch.save({"model": _Marker(marker)}, file)
    elif kind == "empty":
        file.write_bytes(b"")
    elif kind == "text":
        file.write_text("hello")
    elif kind == "cut":
        file.write_bytes(file.read_bytes()[:300])
    elif kind == "wrong-width":
        torch.save({"model.0.conv.weight": torch.zeros(5, 3, 3, 3)}, file)
    else:
        torch.save({"layer.weight": torch.zeros(5)}, file)
    config = write_config(tmp_path, weights={"pretrained": str(file)})
    assert train_cli.main(["--cfg", str(config)]) == 2
    message = capsys.readouterr().err
    assert "w.pt" in message
    assert WEIGHTS[kind] in message
    assert not marker.exists()
    assert not (tmp_path / "run").exists()


def test_val__missing_run_or_weights_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert val_cli.main(["--run", str(tmp_path / "none")]) == 2
    assert "no run here" in capsys.readouterr().err
    assert val_cli.main(["--weights", str(tmp_path / "none.pt"), "--data", "x.yaml"]) == 2
    assert "no such weights file" in capsys.readouterr().err
