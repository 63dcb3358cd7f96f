from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from tests.support.descriptors import write_descriptor
from tests.support.pairs import make_pairs, pairs_of, random_pair, write_pair
from yolofuse.data.index.name_patterns import key_of, suggest_patterns
from yolofuse.errors import DataError


@pytest.mark.parametrize(
    ("name", "pattern", "key"),
    [
        ("DJI_1_RGB.JPG", "*_RGB.JPG", "DJI_1"),
        ("a/b/DJI_1_RGB.JPG", "*_RGB.JPG", "a/b/DJI_1"),
        ("a/rgb-7.png", "rgb-*.png", "a/7"),
        ("DJI_1_T.JPG", "*_RGB.JPG", ""),
        ("a/_RGB.JPG", "*_RGB.JPG", ""),
        ("aba.png", "ab*ba.png", ""),  # the two ends may not overlap
    ],
)
def test_key_of(name: str, pattern: str, key: str) -> None:
    assert key_of(name, pattern) == key


def _numbered(form: str, numbers: Sequence[int] = range(96)) -> list[str]:
    return [form.format(f"{number:04d}") for number in numbers]


@pytest.mark.parametrize(
    ("rgb", "ir", "expected"),
    [
        ("DJI_{}_RGB.JPG", "DJI_{}_T.tiff", ("rgb/*_RGB.JPG", "ir/*_T.tiff")),
        ("RGB_{}.jpg", "IR_{}.png", ("rgb/RGB_*.jpg", "ir/IR_*.png")),
        ("day/{}_visible.png", "day/{}_vis.png", ("rgb/*_visible.png", "ir/*_vis.png")),
        ("img{}rgb.jpg", "img{}ir.jpg", ("rgb/*rgb.jpg", "ir/*ir.jpg")),
        ("{}.jpg", "thermal-{}.jpg", ("rgb/*.jpg", "ir/thermal-*.jpg")),
    ],
)
def test_suggest__gives_the_patterns_that_pair_most(rgb: str, ir: str, expected: tuple[str, str]) -> None:
    names = _numbered(rgb), [*_numbered(ir, range(2, 96)), "lonely.png"]
    text = suggest_patterns(Path("rgb"), Path("ir"), names)
    assert text == f'94 pairs would be found with  rgb: "{expected[0]}"  ir: "{expected[1]}"'


@pytest.mark.parametrize(
    ("first", "second"), [("{}_T.tiff", "{}_W.jpg"), ("{}_RGB.JPG", "{}_T.JPG"), ("IR_{}.png", "RGB_{}.png")]
)
def test_suggest__one_folder_of_both(first: str, second: str) -> None:
    names = sorted(_numbered(first) + _numbered(second))
    rgb, ir = (first, second) if "RGB" in first or "W" in first else (second, first)
    rgb, ir = rgb.replace("{}", "*"), ir.replace("{}", "*")
    assert suggest_patterns(Path("a"), Path("a"), (names, names)) == (
        f'96 pairs would be found with  rgb: "a/{rgb}"  ir: "a/{ir}"'
    )


def test_suggest__is_silent_where_names_have_nothing_in_common() -> None:
    assert (
        suggest_patterns(Path("a"), Path("b"), (["x1.png", "x2.png", "x3.png"], ["u7.png", "v8.png", "w9.png"])) == ""
    )
    assert suggest_patterns(Path("a"), Path("b"), ([], [])) == ""


def _rename(root: Path, rgb: str, ir: str, labels: str = "{}.txt") -> None:
    """Move all pairs of train into one folder, under other names."""
    (root / "all").mkdir()
    for kind, form in (("rgb", rgb), ("ir", ir)):
        for file in (root / kind / "train").iterdir():
            file.rename(root / "all" / form.format(file.stem))
    for file in (root / "labels" / "train").iterdir():
        file.rename(file.with_name(labels.format(file.stem)))


@pytest.mark.parametrize(
    ("named", "given"),
    [("{}.txt", "labels/train"), ("{}_RGB.txt", "labels/train"), ("{}_T.txt", "labels/train/*_T.txt")],
)
def test_pattern__pairs_and_finds_labels(tmp_path: Path, named: str, given: str) -> None:
    expected = pairs_of(make_pairs(tmp_path, 3, 0))
    _rename(tmp_path, "{}_RGB.png", "{}_T.png", named)
    (tmp_path / "all" / "preview.png").write_bytes(b"fits no pattern, so it is not looked at")
    source = {"rgb": "all/*_RGB.png", "ir": "all/*_T.png", "labels": given}
    pairs = pairs_of(write_descriptor(tmp_path, {"train": source}))
    assert [record.key for record in pairs.records] == ["train_000", "train_001", "train_002"]
    assert [record.ir.name for record in pairs.records] == [f"train_00{n}_T.png" for n in range(3)]
    assert pairs.fingerprint == expected.fingerprint


def test_pattern__in_the_flat_form(tmp_path: Path) -> None:
    make_pairs(tmp_path, 3, 0)
    _rename(tmp_path, "{}_RGB.png", "{}_T.png")
    flat = {"train": "all/*_RGB.png", "train_ir": "all/*_T.png", "train_labels": "labels/train", "names": ["person"]}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(flat))
    assert pairs_of(tmp_path / "data.yaml").num_boxes == 3


def test_lonely_files__the_error_starts_with_the_patterns_that_pair_them(tmp_path: Path) -> None:
    descriptor = make_pairs(tmp_path, 12, 0)
    for file in [*(tmp_path / "rgb" / "train").iterdir()]:
        file.rename(file.with_name(f"{file.stem}_RGB.png"))
    for file in [*(tmp_path / "ir" / "train").iterdir()]:
        file.rename(file.with_name(f"{file.stem}_T.png"))
    with pytest.raises(DataError) as caught:
        pairs_of(descriptor)
    line = str(caught.value).splitlines()[1]
    assert line.endswith('12 pairs would be found with  rgb: "rgb/train/*_RGB.png"  ir: "ir/train/*_T.png"')
    source = {"rgb": "rgb/train/*_RGB.png", "ir": "ir/train/*_T.png", "labels": "labels/train"}
    assert len(pairs_of(write_descriptor(tmp_path, {"train": source}))) == 12  # as the error says


def test_one_folder_for_both__is_refused(tmp_path: Path) -> None:
    make_pairs(tmp_path, 3, 0)
    source = {"rgb": "rgb/train", "ir": "rgb/train", "labels": "labels/train"}
    with pytest.raises(DataError, match="3 files are both the RGB and the IR image of a pair; name two folders"):
        pairs_of(write_descriptor(tmp_path, {"train": source}))
    (tmp_path / "train.txt").write_text("train_000\n")
    with pytest.raises(DataError, match="3 files are both the RGB and the IR image of a pair"):
        pairs_of(write_descriptor(tmp_path, {"train": source | {"list": "train.txt"}}))
    shutil.rmtree(tmp_path / "labels")
    (tmp_path / "labels" / "train").mkdir(parents=True)
    _rename(tmp_path, "{}_RGB.png", "{}_T.png")
    source = {"rgb": "all", "ir": "all", "labels": "labels/train"}
    with pytest.raises(DataError, match=r'6 files are both .*; 3 pairs .*rgb: "all/\*_RGB.png"  ir: "all/\*_T.png"'):
        pairs_of(write_descriptor(tmp_path, {"train": source}))


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("*/a_*.png", "write one *, in the file's name"),
        ("../*.png", "leaves the root"),
        ("none/*.png", "no such folder"),
        ("rgb/train/*.JPG", "rgb/train/*.JPG: no image is called so"),
    ],
)
def test_pattern__mistake_is_named(tmp_path: Path, pattern: str, message: str) -> None:
    make_pairs(tmp_path, 1, 0)
    source = {"rgb": pattern, "ir": "ir/train", "labels": "labels/train"}
    with pytest.raises(DataError, match=message.replace("*", r"\*")):
        pairs_of(write_descriptor(tmp_path, {"train": source}))


@pytest.mark.parametrize(
    ("rgb", "ir", "labels", "message"),
    [
        (
            "a b",
            "b a",
            "a b",
            r"train\[1\]: ir \S+b/imagesIR is called as rgb \S+b/images of train\[2\], not as its own",
        ),
        ("a b", "a b", "b a", r"train\[2\]: labels \S+a/labels is called as rgb \S+a/images of train\[1\], not as its"),
        ("a b", "a b", "a b", ""),
        ("a b", "a b", "a a", ""),  # one folder of labels, of images that two cameras show
    ],
)
def test_folders_in_another_order__are_refused(tmp_path: Path, rgb: str, ir: str, labels: str, message: str) -> None:
    for number in range(4):
        write_pair(tmp_path / "abb"[number // 2], "x", f"{number % 2}", random_pair(number))
    for name in "ab":
        for kind, folder in (("rgb", "images"), ("ir", "imagesIR"), ("labels", "moved")):
            (tmp_path / name / kind / "x").rename(tmp_path / name / folder)
        (tmp_path / name / "labels").rmdir()
        (tmp_path / name / "moved").rename(tmp_path / name / "labels")
    if labels == "a a":
        shutil.copytree(tmp_path / "a" / "images", tmp_path / "b" / "images", dirs_exist_ok=True)
        shutil.rmtree(tmp_path / "b" / "imagesIR")
        (tmp_path / "b" / "imagesIR").symlink_to(tmp_path / "a" / "imagesIR")
    flat = {
        "names": ["person"],
        "train": [f"{name}/images" for name in rgb.split()],
        "train_ir": [f"{name}/imagesIR" for name in ir.split()],
        "train_labels": [f"{name}/labels" for name in labels.split()],
    }
    file = tmp_path / "data.yaml"
    file.write_text(yaml.safe_dump(flat))
    if message:
        with pytest.raises(DataError, match=message):
            pairs_of(file)
    else:
        assert len(pairs_of(file)) == 4


@pytest.mark.parametrize(("rgb", "ir"), [("DJI_*.png", "DJI_*_R.png"), ("*.png", "*_R.png")])
def test_patterns_that_fit_a_file_both__give_it_to_the_longer(tmp_path: Path, rgb: str, ir: str) -> None:
    make_pairs(tmp_path, 3, 0)
    for number in range(3):
        (tmp_path / "rgb" / "train" / f"train_00{number}.png").rename(tmp_path / "rgb" / f"DJI_{number}.png")
        (tmp_path / "ir" / "train" / f"train_00{number}.png").rename(tmp_path / "rgb" / f"DJI_{number}_R.png")
        (tmp_path / "labels" / "train" / f"train_00{number}.txt").rename(tmp_path / "labels" / f"DJI_{number}.txt")
    (tmp_path / "rgb" / "train").rmdir()
    (tmp_path / "labels" / "train").rmdir()
    for one, other in ((rgb, ir), (ir, rgb)):
        source = {"rgb": f"rgb/{one}", "ir": f"rgb/{other}", "labels": "labels"}
        frame = "rgb" if one == rgb else "ir"
        records = pairs_of(write_descriptor(tmp_path, {"train": source | {"frame": frame}})).records
        names = [(record.rgb.name, record.ir.name)[:: 1 if one == rgb else -1] for record in records]
        assert names == [(f"DJI_{number}.png", f"DJI_{number}_R.png") for number in range(3)]
