"""The parts of a check on arrays: shifts, lookalikes, thresholds, the page, the command."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.pairs import make_pairs, real_data
from yolofuse.check import near_duplicates
from yolofuse.check.check import CheckOptions, check
from yolofuse.check.findings import Finding, Picture, Report, by_share, worst_first
from yolofuse.check.html_report import render_page
from yolofuse.check.pair_stats import measure
from yolofuse.check.registration import estimate_shift, reach_of, shift_surface
from yolofuse.check.rules.pixels import is_copy
from yolofuse.check.split_data import evenly
from yolofuse.check.text_report import render_table
from yolofuse.check.verify_duplicate import sameness
from yolofuse.cli.check import add_check
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.index.lenient_load import load_pairs_with_problems
from yolofuse.errors import ConfigError, YolofuseError
from yolofuse.synth import generate
from yolofuse.types import ByteArray, FloatArray


def _scene(seed: int, size_hw: tuple[int, int] = (260, 340)) -> ByteArray:
    """Overlapping rectangles of many sizes."""
    rng = np.random.default_rng(seed)
    height, width = size_hw
    image = np.full(size_hw, 128, np.uint8)
    for _ in range(60):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        w, h = int(rng.integers(10, 80)), int(rng.integers(10, 80))
        cv2.rectangle(image, (x, y), (x + w, y + h), int(rng.integers(0, 256)), -1)
    return image


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (7, -3), (-31, 18), (36, 0)])
@pytest.mark.parametrize("sign", [1, -1], ids=["same contrast", "inverted contrast"])
def test_shift__is_found_whatever_the_sign_of_contrast(dx: int, dy: int, sign: int) -> None:
    scene = _scene(0)
    rgb = scene[40:220, 50:290]
    ir = scene[40 - dy : 220 - dy, 50 - dx : 290 - dx]
    shift = estimate_shift(rgb, np.asarray(ir if sign > 0 else 255 - ir, np.uint8), scale=2.0)
    assert abs(dx) <= reach_of(rgb.shape)
    assert shift.is_measured
    assert abs(shift.dx - 2 * dx) < 0.5
    assert abs(shift.dy - 2 * dy) < 0.5


@pytest.mark.parametrize("number", range(5))
def test_shift_of_two_scenes__is_not_measurable(number: int) -> None:
    assert not estimate_shift(_scene(number), _scene(number + 100)).is_measured


def test_shift_of_a_dead_frame__is_not_measurable() -> None:
    dead = np.full((260, 340), 90, np.uint8)
    assert not estimate_shift(_scene(0), dead).is_measured
    assert not estimate_shift(dead, dead).is_measured


def test_shift_surface__looks_only_inside() -> None:
    """The left half of IR lies 10 px to the right, the right half where it should."""
    scene = _scene(1, (240, 400))
    ir = scene.copy()
    ir[:, 10:200] = scene[:, :190]
    inside = np.zeros(scene.shape, np.bool_)
    inside[:, 20:190] = True
    for mask, expected in ((inside, 10), (~inside & (np.arange(400) > 210), 0)):
        surface = shift_surface(scene, ir, mask)
        row, column = np.unravel_index(int(surface.argmax()), surface.shape)
        assert (int(column) - len(surface) // 2, int(row) - len(surface) // 2) == (expected, 0)


def _random_descriptions(count: int, seed: int) -> FloatArray:
    return np.stack(
        [
            near_duplicates.describe(_scene(seed + number, (64, 96)), _scene(seed + number + 5000, (64, 96)))
            for number in range(count)
        ]
    )


def test_nearest__agrees_with_all_products_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_ROWS", 7)
    monkeypatch.setattr(near_duplicates, "_COLUMNS", 11)
    queries, among = _random_descriptions(20, 0), _random_descriptions(45, 1000)
    found = near_duplicates.nearest(queries, among)
    both = np.stack([queries @ among.T, near_duplicates.mirrored(queries) @ among.T])
    assert np.array_equal(found.index, both.max(axis=0).argmax(axis=1))
    assert np.allclose(found.score, both.max(axis=(0, 2)), atol=1e-6)


def test_nearest__leaves_out_the_query_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_COLUMNS", 11)
    among = _random_descriptions(30, 0)
    rows = np.arange(0, 30, 3)
    assert not (near_duplicates.nearest(among[rows], among, rows).index == rows).any()


def test_mirrored_description__is_that_of_the_mirror_image() -> None:
    rgb, ir = _scene(0), _scene(1)
    turned = near_duplicates.describe(np.ascontiguousarray(rgb[:, ::-1]), np.ascontiguousarray(ir[:, ::-1]))
    assert np.allclose(near_duplicates.mirrored(near_duplicates.describe(rgb, ir)[None])[0], turned, atol=1e-3)


def test_sameness__tells_copies_views_and_others_apart(tmp_path: Path) -> None:
    data = generate(tmp_path / "data", num_train=3, num_val=1, seed=0, size_hw=(240, 320), workers=1)
    first, second, moved = load_pairs_with_problems(load_descriptor(data), "train").pairs.records[:3]
    assert sameness(first, first, flipped=False) == "copy"
    assert sameness(first, second, flipped=False) == "other"
    # Somebody walks through the third picture: the first one with a bright block in IR.
    for origin, target in ((first.rgb, moved.rgb), (first.ir, moved.ir)):
        pixels = cv2.imread(str(origin), cv2.IMREAD_COLOR)
        assert pixels is not None
        if origin == first.ir:
            cv2.rectangle(pixels, (150, 100), (175, 170), (255, 255, 255), -1)
        cv2.imwrite(str(target), pixels)
    assert sameness(first, moved, flipped=False) == "view"


@pytest.mark.parametrize(("count", "wanted", "expected"), [(3, 5, [0, 1, 2]), (10, 5, [0, 2, 4, 6, 8]), (0, 5, [])])
def test_evenly__spreads(count: int, wanted: int, expected: list[int]) -> None:
    assert evenly(count, wanted) == expected


def test_severity__follows_the_share() -> None:
    assert by_share(1, 100) == "error"
    assert by_share(1, 101) == "warning"


@pytest.mark.real
def test_near_infrared__is_no_copy_of_rgb() -> None:
    descriptor = load_descriptor(real_data("mini/vedai") / "data.yaml")
    for split in descriptor.splits:
        for record in load_pairs_with_problems(descriptor, split).pairs.records:
            assert not is_copy(measure(record))


def _report(*findings: Finding) -> Report:
    return Report("data.yaml", worst_first(findings), (("pairs", "1"),), ("train",))


def test_page__escapes_every_name_and_loads_nothing() -> None:
    evil = "<script>alert(1)</script>\"'&.jpg"
    pixels = np.zeros((4, 4, 3), np.uint8)
    finding = Finding("k", "error", evil, evil, evil, 1, 1, (evil,), (Picture("n", evil, pixels),))
    page = render_page(replace(_report(finding), data=evil, splits=(evil,), figures=((evil, evil),)))
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page
    assert page.count("&lt;script&gt;") >= 7


def test_table__puts_the_worst_first_and_says_whether_to_train() -> None:
    note, error = Finding("good-to-know", "note", "val", "n"), Finding("bad", "error", "train", "e", "mend it")
    table = render_table(_report(note, error))
    assert table.index("bad") < table.index("good-to-know")
    assert "-> mend it" in table
    assert "1 error, 0 warnings, 1 note; not ready to train" in table
    assert "; ready to train" in render_table(_report(note))


def test_eight_bits_in_sixteen__are_named(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 4, 2, size_hw=(96, 128), extra={"ir_window": [0, 65535]})
    for number, file in enumerate(sorted((tmp_path / "ir").rglob("*.png"))):
        grey = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
        assert grey is not None
        deep = grey.astype(np.uint16) * 257
        if number == 0:
            deep[0, 0] += 1  # counts of their own
        cv2.imwrite(str(file), deep)
    report = check(load_descriptor(descriptor), CheckOptions(splits=("train",)))
    found = next(finding for finding in report.findings if finding.kind == "shallow-ir")
    assert (found.count, found.total) == (3, 4)


def test_frozen_camera__is_named(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 4, 2, size_hw=(96, 128))
    first, second, *_ = sorted((tmp_path / "ir" / "train").iterdir())
    second.write_bytes(first.read_bytes())
    report = check(load_descriptor(descriptor), CheckOptions(splits=("train",)))
    found = next(finding for finding in report.findings if finding.kind == "frozen-ir")
    assert found.examples == ("train_000 = train_001",)


def test_split_without_one_good_pair__is_a_finding(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 4, 2)
    for file in (tmp_path / "rgb" / "val").iterdir():
        file.write_bytes(b"no image")
    report = check(load_descriptor(descriptor))
    assert not report.may_train
    assert [finding.where for finding in report.findings if finding.kind == "unusable"] == ["val"]


def _run(*words: str | Path) -> int:
    parser = argparse.ArgumentParser()
    add_check(parser.add_subparsers(required=True))
    args = parser.parse_args(["check", *map(str, words)])
    code: int = args.run(args)
    return code


def test_command__exits_0_where_training_may_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = generate(tmp_path / "data", num_train=6, num_val=2, seed=0, workers=1)
    assert _run("--data", data, "--out", tmp_path / "out", "--splits", "train", "--sample", "4") == 0
    assert "ready to train" in capsys.readouterr().out
    assert "<html" in (tmp_path / "out" / "check.html").read_text()


def test_command__exits_1_where_it_may_not(tmp_path: Path) -> None:
    data = generate(tmp_path / "data", num_train=6, num_val=2, seed=0, workers=1)
    next((tmp_path / "data" / "imagesIR" / "train").iterdir()).unlink()
    assert _run("--data", data, "--splits", "train") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--splits", "train,tset"), "no split 'tset'"),
        (("--sample", "0"), "--sample: must be 1 or more"),
        (("--out", "data.yaml"), "is a file; name a folder"),
    ],
    ids=["split", "sample", "out"],
)
def test_command__refuses_wrong_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make_pairs(tmp_path, 2, 1)
    with pytest.raises(ConfigError, match=message):
        _run("--data", "data.yaml", *words)


def test_command__refuses_a_missing_descriptor(tmp_path: Path) -> None:
    with pytest.raises(YolofuseError, match=r"gone\.yaml"):
        _run("--data", tmp_path / "gone.yaml")


@pytest.mark.real
def test_branches_near_the_camera__are_told_from_a_bad_registration() -> None:
    """llvip-256's scene 02: the branches lie 8 px apart, the persons behind them do not."""
    descriptor = load_descriptor(real_data("llvip-256") / "data.yaml")
    report = check(descriptor, CheckOptions(splits=("val",), sample=24))
    kinds = [finding.kind for finding in report.findings]
    assert "parallax" in kinds
    assert "misaligned" not in kinds
