"""The demo data on disk: reproducible, never overwriting, and consistent with its descriptor."""

from __future__ import annotations

import csv
import fcntl
import os
from pathlib import Path

import cv2
import pytest
import yaml

from yolofuse.errors import ConfigError, DataError
from yolofuse.synth import generate
from yolofuse.synth.render import Pair
from yolofuse.synth.write import label_line

SIZE_HW = (96, 128)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def make(out: Path, seed: int = 0, num_train: int = 2, workers: int | None = 1) -> dict[str, bytes]:
    generate(out, num_train=num_train, num_val=1, seed=seed, size_hw=SIZE_HW, workers=workers)
    return contents(out)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synth") / "demo"
    make(out)
    return out


def test_generate__same_seed_same_bytes(demo: Path, tmp_path: Path) -> None:
    assert make(tmp_path / "again") == contents(demo)


def test_generate__other_seed_other_images(demo: Path, tmp_path: Path) -> None:
    ours, theirs = contents(demo), make(tmp_path / "other", seed=1)
    images = [name for name in ours if name.endswith(".jpg")]
    assert len(images) == 6
    assert all(ours[name] != theirs[name] for name in images)


def test_generate__a_scene_does_not_depend_on_how_many_there_are(demo: Path, tmp_path: Path) -> None:
    few, more = contents(demo), make(tmp_path / "more", num_train=3)
    shared = [name for name in few if "train_00001" in name or "val_00000" in name]
    assert len(shared) == 6
    assert all(few[name] == more[name] for name in shared)


def test_generate__processes_do_not_change_a_byte(demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yolofuse.synth.write._INLINE_BELOW", 2)
    assert make(tmp_path / "two", workers=2) == contents(demo)


def test_generate__splits_differ(demo: Path) -> None:
    assert (demo / "images/train/train_00000.jpg").read_bytes() != (demo / "images/val/val_00000.jpg").read_bytes()


def test_generate__files_and_descriptor_agree(demo: Path) -> None:
    descriptor = yaml.safe_load((demo / "data.yaml").read_text(encoding="utf-8"))
    assert descriptor["names"] == {0: "person", 1: "vehicle"}
    assert descriptor["root"] == "."
    for split, count in (("train", 2), ("val", 1)):
        stems = [{path.stem for path in (demo / folder).iterdir()} for folder in descriptor["splits"][split].values()]
        assert len(stems[0]) == count
        assert stems[0] == stems[1] == stems[2]
    with (demo / descriptor["tags"]["file"]).open(encoding="utf-8") as file:
        rows = {row[descriptor["tags"]["key"]]: row for row in csv.DictReader(file)}
    assert set(rows) == {"train_00000", "train_00001", "val_00000"}
    assert all(row["daynight"] in ("day", "night") for row in rows.values())
    for name, row in rows.items():
        lines = (demo / "labels" / row["split"] / f"{name}.txt").read_text(encoding="ascii").splitlines()
        assert sum(line.startswith("0 ") for line in lines) == int(row["num_person"])
        assert sum(line.startswith("1 ") for line in lines) == int(row["num_vehicle"])


def test_generate__image_kinds_and_sizes(demo: Path) -> None:
    rgb = cv2.imread(str(demo / "images/train/train_00000.jpg"), cv2.IMREAD_UNCHANGED)
    ir = cv2.imread(str(demo / "imagesIR/train/train_00000.jpg"), cv2.IMREAD_UNCHANGED)
    assert rgb is not None
    assert ir is not None
    assert rgb.shape == (*SIZE_HW, 3)
    assert ir.shape == SIZE_HW


def test_generate__same_arguments_keep_the_folder(demo: Path) -> None:
    image = demo / "images/train/train_00000.jpg"
    before = image.stat().st_mtime_ns
    assert generate(demo, num_train=2, num_val=1, seed=0, size_hw=SIZE_HW) == demo / "data.yaml"
    assert image.stat().st_mtime_ns == before


def test_generate__refuses_other_demo_data(demo: Path) -> None:
    before = contents(demo)
    with pytest.raises(DataError, match="made with"):
        make(demo, seed=5)
    assert contents(demo) == before


def test_generate__refuses_a_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="ascii")
    with pytest.raises(DataError, match="nothing is overwritten"):
        make(tmp_path)
    assert contents(tmp_path) == {"thesis.txt": b"years of work"}


def test_generate__a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Pair:
        raise OSError("disk full")

    monkeypatch.setattr("yolofuse.synth.write.render_pair", broken)
    with pytest.raises(OSError, match="disk full"):
        make(tmp_path / "demo")
    assert list(tmp_path.iterdir()) == []


def test_generate__removes_what_a_killed_run_left_and_nothing_else(tmp_path: Path) -> None:
    names = (".demo.synth-1/data/a.png", ".demo.synth-2/data/a.png", ".demo.synth-3/notes.txt", ".demo-old/data/a.png")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    handle = os.open(tmp_path / ".demo.synth-2", os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # as a run does that draws right now
        make(tmp_path / "demo")
    finally:
        os.close(handle)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".demo-old", ".demo.synth-2", ".demo.synth-3", "demo"]


def test_generate__lists_every_wrong_argument(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        generate(tmp_path / "demo", num_train=0, num_val=-1, seed=-2, size_hw=(8, 256))
    assert all(word in str(caught.value) for word in ("num_train", "num_val", "seed", "height"))


@pytest.mark.parametrize("box", [(0.0, 0.0, 128.0, 96.0), (42.6667, 10.0, 128.0, 26.6667)])
def test_label_line__rounding_stays_inside(box: tuple[float, float, float, float]) -> None:
    _, x, y, w, h = (float(word) for word in label_line(1, box, SIZE_HW).split())
    for middle, side in ((x, w), (y, h)):
        assert middle - side / 2 >= 0
        assert middle + side / 2 <= 1
