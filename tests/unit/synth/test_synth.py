"""The demo data: reproducible, registered, honestly labelled, and hard for either camera alone."""

from __future__ import annotations

import csv
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from yolofuse.cli.data import main
from yolofuse.errors import ConfigError, DataError
from yolofuse.synth import generate, knobs
from yolofuse.synth.render import Pair, render_pair
from yolofuse.synth.scene import PERSON
from yolofuse.synth.write import label_line

SIZE_HW = (96, 128)
NUM_SCENES = 60


@lru_cache(maxsize=1)
def scenes() -> tuple[Pair, ...]:
    return tuple(render_pair(3, "train", index, SIZE_HW) for index in range(NUM_SCENES))


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


def test_generate__processes_do_not_change_a_byte(tmp_path: Path) -> None:
    assert make(tmp_path / "one", num_train=14, workers=1) == make(tmp_path / "two", num_train=14, workers=2)


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


def test_generate__lists_every_wrong_argument(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        generate(tmp_path / "demo", num_train=0, num_val=-1, seed=-2, size_hw=(8, 256))
    assert all(word in str(caught.value) for word in ("num_train", "num_val", "seed", "height"))


def test_boxes__inside_the_image_and_big_enough() -> None:
    height, width = SIZE_HW
    for seen in (seen for pair in scenes() for seen in pair.objects):
        x0, y0, x1, y1 = seen.box_xyxy
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        assert (y1 - y0) / height > 0.09 if seen.class_id == PERSON else (x1 - x0) / width > 0.09


@pytest.mark.parametrize("box", [(0.0, 0.0, 128.0, 96.0), (42.6667, 10.0, 128.0, 26.6667)])
def test_label_line__rounding_stays_inside(box: tuple[float, float, float, float]) -> None:
    _, x, y, w, h = (float(word) for word in label_line(1, box, SIZE_HW).split())
    for middle, side in ((x, w), (y, h)):
        assert middle - side / 2 >= 0
        assert middle + side / 2 <= 1


def test_labels__each_is_seen_by_a_camera() -> None:
    objects = [seen for pair in scenes() for seen in pair.objects]
    assert all(seen.labelled for seen in objects)
    assert all(seen.rgb >= knobs.RGB_VISIBLE or seen.ir >= knobs.IR_VISIBLE for seen in objects)


def test_labels__contrast_is_really_in_the_pictures() -> None:
    """On the finished pixels, people in the dark differ from a ring around them in the thermal image alone."""
    rgb_gaps: list[float] = []
    ir_gaps: list[float] = []
    for pair in scenes():
        for number, seen in enumerate(pair.objects, start=1):
            if seen.class_id != PERSON or seen.rgb_sees:
                continue
            mask = (pair.owner == number).astype(np.uint8)
            ring = cv2.dilate(mask, np.ones((7, 7), np.uint8)) * (pair.owner <= 0)
            for gaps, image in ((rgb_gaps, pair.bgr.mean(2)), (ir_gaps, pair.ir)):
                gaps.append(abs(float(image[mask > 0].mean()) - float(image[ring > 0].mean())))
    assert len(ir_gaps) >= 5
    assert np.median(ir_gaps) > 30
    assert np.median(rgb_gaps) < 6


def test_shares__each_camera_alone_misses_its_own() -> None:
    objects = [seen for pair in scenes() for seen in pair.objects]
    rgb_only = sum(not seen.ir_sees for seen in objects) / len(objects)
    ir_only = sum(not seen.rgb_sees for seen in objects) / len(objects)
    assert 0.15 < rgb_only < 0.40
    assert 0.15 < ir_only < 0.40


def test_registration__both_images_show_one_silhouette() -> None:
    """Warm people are brightest in the thermal image right where they were drawn, not some pixels beside it."""
    best = []
    for pair in scenes():
        for number, seen in enumerate(pair.objects, start=1):
            mask = (pair.owner == number).astype(np.float32)
            if seen.class_id != PERSON or seen.ir < 8 or seen.share < 0.95 or mask.sum() < 40:
                continue
            ir = pair.ir.astype(np.float32)
            fits = {shift: float((ir * np.roll(mask, shift, axis=1)).sum()) for shift in range(-4, 5)}
            best.append(max(fits, key=lambda shift: fits[shift]))
    assert len(best) >= 8
    assert abs(float(np.mean(best))) <= 0.5
    assert sum(abs(shift) <= 1 for shift in best) >= 0.9 * len(best)


def test_decoys__are_drawn_but_never_labelled() -> None:
    decoys = [thing for pair in scenes() for thing in pair.scene.things if thing.variant and thing.class_id is None]
    assert {thing.kind for thing in decoys} >= {"poster", "mannequin", "hot_box", "hot_pipe"}
    for pair in scenes():
        assert len(pair.objects) == sum(thing.class_id is not None for thing in pair.scene.things)


def test_cli__draws_and_prints_the_descriptor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    assert main(["synth", "--out", str(out), "--train", "1", "--val", "1", "--size", "128x96"]) == 0
    assert capsys.readouterr().out.strip() == str(out / "data.yaml")


def test_cli__mistake_gives_code_2_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine", encoding="ascii")
    command = [sys.executable, "-m", "yolofuse.cli.data", "synth", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
