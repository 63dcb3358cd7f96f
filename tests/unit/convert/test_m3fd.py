"""M3FD: a seeded split, and the number of every class."""

from __future__ import annotations

from pathlib import Path

from tests.support.convert_trees import head, image, keys, labels, pixels, voc
from yolofuse.convert import prepare


def test_m3fd__split_is_seeded_and_every_class_has_its_number(tmp_path: Path) -> None:
    src, names = tmp_path / "src", ("People", "Car", "Bus", "Motorcycle", "Lamp", "Truck")
    for number in range(10):
        image(src / "vis" / f"{number:05d}.png")
        image(src / "ir" / f"{number:05d}.png", gray=True)
        voc(src / "Annotations" / f"{number:05d}.xml", [(name, 1, 2, 3, 4 + i) for i, name in enumerate(names)])
    prepare("m3fd", src, tmp_path / "out")
    out = tmp_path / "out"
    assert keys(out, "val") == ["00005", "00008"]
    assert len(keys(out, "train")) == 8
    found = [pixels(line) for line in labels(out, "labels/val/00005.txt")]
    assert found == [(index, [1, 2, 3, 4 + index]) for index in range(6)]
    assert "fall on both sides" in head(out)
    prepare("m3fd", src, out, options={"seed": 1, "val_share": 0.5})
    assert len(keys(out, "val")) == 5
