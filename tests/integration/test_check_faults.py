"""Plant errors into a copy of a valid data set: the check names each, and finds none in the untouched copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from tests.support.check_splits import measured_split
from tests.support.pairs import real_data
from yolofuse.check.check import CheckOptions, check_dataset
from yolofuse.check.findings import Finding, Report
from yolofuse.check.report import format_html, format_text
from yolofuse.check.rules.registration import check_registration, measure_shifts
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.synth import generate
from yolofuse.types import ByteArray

_PARTS = ("images", "imagesIR", "labels")
_EXPECTED_IN_FEW_PAIRS = {"class-rare"}  # because there are few pairs
_EXPECTED_IN_REAL = {"class-rare", "imbalance"}  # SOURCE.md: bicycle is rare
_SHIFT = (20, -15)  # 25 px


@dataclass(frozen=True)
class Copy:
    """A small data set to plant errors into."""

    root: Path

    def file(self, part: str, split: str, number: int) -> Path:
        return sorted((self.root / part / split).iterdir())[number]

    def image(self, part: str, split: str, number: int) -> ByteArray:
        pixels = cv2.imread(str(self.file(part, split, number)), cv2.IMREAD_COLOR)
        assert pixels is not None
        return np.asarray(pixels, np.uint8)

    def add_line(self, split: str, number: int, line: str) -> None:
        label = self.file("labels", split, number)
        label.write_text(f"{label.read_text().rstrip()}\n{line}\n".lstrip())


def _save(path: Path, pixels: ByteArray, quality: int = 95) -> None:
    assert cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])


def _truncated(data: Copy, number: int) -> None:
    file = data.file("images", "train", number)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _smaller(data: Copy, number: int) -> None:
    pixels = data.image("imagesIR", "train", number)
    _save(data.file("imagesIR", "train", number), pixels[: -pixels.shape[0] // 4])


def _copied(data: Copy, number: int) -> None:
    for part in ("images", "imagesIR"):
        shutil.copy(data.file(part, "train", 0), data.file(part, "val", number))


def _nearly_copied(data: Copy, number: int) -> None:
    for part in ("images", "imagesIR"):
        bright = cv2.convertScaleAbs(data.image(part, "train", 1), alpha=1.2, beta=8)
        small = cv2.resize(bright, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
        _save(data.file(part, "val", number), np.asarray(small, np.uint8), 70)


def _ir_from_rgb(data: Copy, number: int) -> None:
    grey = cv2.cvtColor(data.image("images", "train", number), cv2.COLOR_BGR2GRAY)
    _save(data.file("imagesIR", "train", number), np.asarray(grey, np.uint8), 80)


def _rgb_from_ir(data: Copy, number: int) -> None:
    _save(data.file("images", "train", number), data.image("imagesIR", "train", number), 80)


def _swapped(data: Copy, number: int) -> None:
    rgb, ir = (data.image(part, "train", number) for part in ("images", "imagesIR"))
    _save(data.file("images", "train", number), ir)
    _save(data.file("imagesIR", "train", number), rgb)


def _shifted(data: Copy, number: int) -> None:
    dx, dy = _SHIFT
    rgb, ir = (data.image(part, "train", number) for part in ("images", "imagesIR"))
    high, wide = rgb.shape[0] - abs(dy), rgb.shape[1] - abs(dx)
    _save(data.file("images", "train", number), rgb[:high, dx : dx + wide])
    _save(data.file("imagesIR", "train", number), ir[-dy : -dy + high, :wide])


def _dead(data: Copy, number: int) -> None:
    pixels = data.image("imagesIR", "train", number)
    _save(data.file("imagesIR", "train", number), np.full_like(pixels, 77))


def _line(line: str) -> Callable[[Copy, int], None]:
    return lambda data, number: data.add_line("train", number, line)


def _twin_box(data: Copy, number: int) -> None:
    data.add_line("train", number, "0 0.50 0.5 0.2 0.2")
    data.add_line("train", number, "0 0.501 0.5 0.2 0.2")


def _orphan(data: Copy, number: int) -> None:
    (data.root / "labels" / "train" / "zz_ghost.txt").write_text("0 0.5 0.5 0.1 0.1\n")


def _remove_class(data: Copy, number: int) -> None:
    """Remove class 1 from train, so that only val has it."""
    for label in (data.root / "labels" / "train").iterdir():
        lines = [line for line in label.read_text().splitlines() if not line.startswith("1 ")]
        label.write_text("".join(f"{line}\n" for line in lines))


@dataclass(frozen=True)
class Fault:
    """An error, the finding that must name it, the pair it is planted into."""

    kind: str
    plant: Callable[[Copy, int], None]
    split: str = "train"
    number: int = 0


# Files are removed last: positions count the files of a folder.
FAULTS = (
    Fault("leak-exact", _copied, "val", 2),
    Fault("leak-near", _nearly_copied, "val", 3),
    Fault("unreadable", _truncated, number=3),
    Fault("size-mismatch", _smaller, number=4),
    Fault("box-outside", _line("0 1.2 0.5 0.1 0.1"), number=5),
    Fault("box-over-border", _line("0 0.95 0.5 0.3 0.1"), number=6),
    Fault("tiny-box", _line("0 0.5 0.5 0.004 0.004"), number=7),
    Fault("class-id", _line("99 0.5 0.5 0.1 0.1"), number=8),
    Fault("bad-label", _line("0 0.5 0.5"), number=9),
    Fault("twin-box", _twin_box, number=10),
    Fault("ir-is-rgb", _ir_from_rgb, number=11),
    Fault("rgb-is-ir", _rgb_from_ir, number=12),
    Fault("swapped", _swapped, number=13),
    Fault("misaligned", _shifted, number=14),
    Fault("dead-ir", _dead, number=15),
    Fault("unpaired-rgb", lambda data, number: data.file("imagesIR", "train", number).unlink(), number=17),
    Fault("unpaired-ir", lambda data, number: data.file("images", "train", number).unlink(), number=16),
)
KINDS = [fault.kind for fault in FAULTS]


@dataclass(frozen=True)
class Checked:
    """Reports of the untouched and of the damaged copy, and the keys of the damaged pairs, by kind."""

    clean: Report
    damaged: Report
    keys: dict[str, str]


def _find(report: Report, kind: str) -> Finding:
    found = [finding for finding in report.findings if finding.kind == kind]
    assert found, f"no {kind} among {[finding.kind for finding in report.findings]}"
    return found[0]


def _checked(root: Path) -> Checked:
    options = CheckOptions(sample=40)
    clean = check_dataset(load_descriptor(root / "data.yaml"), options)
    data = Copy(root)
    keys = {fault.kind: data.file("images", fault.split, fault.number).stem for fault in FAULTS}
    for fault in FAULTS:
        fault.plant(data, fault.number)
    _orphan(data, 0)
    _remove_class(data, 0)
    return Checked(clean, check_dataset(load_descriptor(root / "data.yaml"), options), keys)


def _copy(source: Path, root: Path, counts: Sequence[tuple[str, int]]) -> None:
    for split, count in counts:
        keys = [file.stem for file in sorted((source / "images" / split).iterdir())]
        chosen = [keys[number * len(keys) // count] for number in range(count)]
        for part in _PARTS:
            folder = root / part / split
            folder.mkdir(parents=True)
            for key in chosen:
                shutil.copy(next((source / part / split).glob(f"{key}.*")), folder)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Checked:
    root = tmp_path_factory.mktemp("generated") / "data"
    generate(root, num_train=20, num_val=5, seed=3, workers=1)
    return _checked(root)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Checked:
    source = real_data("roadscene-flir")
    root = tmp_path_factory.mktemp("real")
    _copy(source, root, (("train", 40), ("val", 14)))
    names = ["person", "bicycle", "car"]
    splits = {
        split: {"rgb": f"images/{split}", "ir": f"imagesIR/{split}", "labels": f"labels/{split}"}
        for split in ("train", "val")
    }
    (root / "data.yaml").write_text(yaml.safe_dump({"root": ".", "names": names, "splits": splits}))
    return _checked(root)


def _assert_named(checked: Checked, kind: str) -> None:
    finding = _find(checked.damaged, kind)
    assert any(checked.keys[kind] in example for example in finding.examples), finding


def _assert_clean(report: Report, expected: set[str] = _EXPECTED_IN_FEW_PAIRS) -> None:
    complaints = [finding for finding in report.findings if finding.severity != "note"]
    assert {finding.kind for finding in complaints} <= expected, complaints
    assert report.may_train


def _assert_class_and_orphan(report: Report, name: str) -> None:
    assert not report.may_train
    assert name in _find(report, "class-unseen").text
    assert "zz_ghost" in _find(report, "orphan-label").examples[0]


def test_generated_data__has_no_fault(generated: Checked) -> None:
    _assert_clean(generated.clean)


@pytest.mark.parametrize("kind", KINDS)
def test_fault_in_generated_data__is_named(generated: Checked, kind: str) -> None:
    _assert_named(generated, kind)


def test_unseen_class_and_orphan__are_named_in_generated_data(generated: Checked) -> None:
    _assert_class_and_orphan(generated.damaged, "vehicle")


def test_one_fault__is_counted_once(generated: Checked) -> None:
    for kind in ("unpaired-rgb", "unpaired-ir", "unreadable", "size-mismatch", "dead-ir", "swapped", "leak-exact"):
        assert _find(generated.damaged, kind).count == 1, kind


def test_table_and_page__name_every_finding(generated: Checked) -> None:
    table, page = format_text(generated.damaged), format_html(generated.damaged)
    for finding in generated.damaged.findings:
        assert finding.kind in table
        assert finding.kind in page


@pytest.mark.real
def test_real_data__has_no_fault(real: Checked) -> None:
    _assert_clean(real.clean, _EXPECTED_IN_REAL)


@pytest.mark.real
@pytest.mark.parametrize("kind", KINDS)
def test_fault_in_real_data__is_named(real: Checked, kind: str) -> None:
    _assert_named(real, kind)


@pytest.mark.real
def test_unseen_class_and_orphan__are_named_in_real_data(real: Checked) -> None:
    _assert_class_and_orphan(real.damaged, "bicycle")


@pytest.mark.real
def test_planted_shift__is_measured_within_2_px(real: Checked) -> None:
    example = next(text for text in _find(real.damaged, "misaligned").examples if real.keys["misaligned"] in text)
    dx, dy = (float(number) for number in example.split("(")[1].split(" px")[0].split(", "))
    # IR was cropped 20 px less on the left and 15 px more at the top.
    assert abs(dx - _SHIFT[0]) <= 2
    assert abs(dy - _SHIFT[1]) <= 2


@pytest.mark.real
@pytest.mark.parametrize("name", [pytest.param("llvip-256", marks=pytest.mark.soak), "llvip-hr"])
def test_real_night_scenes__have_no_fault_of_pixels_or_splits(name: str) -> None:
    """Their pairs are dark, the cameras do not move, and branches fill one view."""
    report = check_dataset(load_descriptor(real_data(name) / "data.yaml"), CheckOptions(sample=24))
    complaints = [finding for finding in report.findings if finding.severity != "note"]
    assert {finding.kind for finding in complaints} <= {"twin-box"}, complaints
    assert report.may_train


@pytest.mark.real
def test_branches_near_the_camera__are_parallax_and_not_misaligned() -> None:
    """llvip-256's scene 02: the branches lie 8 px apart, the persons behind them do not."""
    split = measured_split(real_data("llvip-256") / "data.yaml", "val")
    kinds = [finding.kind for finding in check_registration(split, measure_shifts(split, sample=24, workers=2))]
    assert "parallax" in kinds
    assert "misaligned" not in kinds
