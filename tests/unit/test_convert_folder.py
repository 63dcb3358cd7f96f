"""What every prepared folder promises, on LLVIP: whole or not at all, the same every time, originals untouched."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.convert_trees import descriptor, image, keys, labels, llvip, pixels, record, text, tree, voc
from yolofuse.data.convert import ClassChoice, prepare
from yolofuse.errors import DataError

# Runs a format, killed before its Nth change of the disk, then runs it again, for every N; one process, so that
# nothing but the kill is slow. Prints how many kills struck and the hashes of all trees that came out.
_KILLER = """
import json, os, shutil, signal, sys
from pathlib import Path
sys.path.insert(0, {repo!r})
from tests.unit.convert_trees import tree
from yolofuse.data.convert import prepare

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = {{"os.mkdir", "os.symlink", "os.rename", "os.remove", "os.rmdir"}}

def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1]

def killed_at(limit, work):
    count = 0
    def hook(event, args):
        nonlocal count
        if event in CHANGES or (event == "open" and isinstance(args[2], int) and args[2] & WRITES):
            count += 1
            if count == limit:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)
    work()

name, src, out, replaces = json.loads(sys.argv[1])
def run(images="link"):
    return lambda: prepare(name, Path(src), Path(out), images=images)

def begin():
    if replaces:
        assert child(run("copy")) == 0  # an older folder that the killed run has to replace
    else:
        shutil.rmtree(out, ignore_errors=True)

kills, results = 0, set()
for limit in range(1, 1000):
    begin()
    status = child(lambda: killed_at(limit, run()))
    again = child(run())
    assert again == 0, again
    assert not [path for path in Path(out).parent.iterdir() if path.name.startswith(".")], "left behind"
    results.add(json.dumps(tree(Path(out)), sort_keys=True))
    if not os.WIFSIGNALED(status):
        break
    kills += 1
print(json.dumps([kills, sorted(results)]))
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return llvip(tmp_path / "LLVIP")


def test_twice__second_run_changes_nothing_and_says_so(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    first = prepare("llvip", source, out)
    before, stamps = tree(out), {path: path.lstat().st_mtime_ns for path in out.rglob("*")}
    with caplog.at_level(logging.INFO):
        second = prepare("llvip", source, out)
    assert first.is_new
    assert not second.is_new
    assert "nothing to do" in caplog.text
    assert tree(out) == before
    assert {path: path.lstat().st_mtime_ns for path in out.rglob("*")} == stamps


def test_twice__a_fresh_folder_is_the_same_byte_for_byte(source: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        prepare("llvip", source, tmp_path / name)
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def test_force__makes_the_same_folder_anew(source: Path, tmp_path: Path) -> None:
    prepare("llvip", source, tmp_path / "out")
    before = tree(tmp_path / "out")
    assert prepare("llvip", source, tmp_path / "out", force=True).is_new
    assert tree(tmp_path / "out") == before


def test_changed_labels__folder_is_replaced(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare("llvip", source, out)
    old_hash = record(out)["annotations_sha256"]
    voc(source / "Annotations" / "010001.xml", [("person", 0, 0, 32, 24)])
    assert prepare("llvip", source, out).is_new
    assert labels(out, "labels/train/010001.txt") == [[0, 0.25, 0.25, 0.5, 0.5]]
    assert record(out)["annotations_sha256"] != old_hash
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LLVIP", "out"]


def test_changed_options__folder_is_replaced(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepare("llvip", source, out)
    assert prepare("llvip", source, out, options={"val_scenes": ("02",)}).is_new
    assert keys(out, "val") == ["020001"]


def test_damaged_folder__is_made_anew(source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = tmp_path / "out"
    prepare("llvip", source, out)
    before = tree(out)
    (out / "labels" / "train" / "010001.txt").unlink()
    assert prepare("llvip", source, out).is_new
    assert "1 of its files are gone" in caplog.text
    assert tree(out) == before


def test_images__links_by_default_and_copies_on_demand(source: Path, tmp_path: Path) -> None:
    prepare("llvip", source, tmp_path / "links")
    prepare("llvip", source, tmp_path / "copies", images="copy")
    original = source / "visible" / "train" / "010001.jpg"
    link, copy = (tmp_path / name / "images" / "train" / "010001.jpg" for name in ("links", "copies"))
    assert link.readlink() == original
    assert not copy.is_symlink()
    assert copy.read_bytes() == original.read_bytes()
    assert str(tmp_path) not in (tmp_path / "copies" / "prepared.json").read_text()


def test_originals__are_never_touched(source: Path, tmp_path: Path) -> None:
    before = tree(source)
    for images in ("link", "copy"):
        prepare("llvip", source, tmp_path / "out", images=images)
        prepare("llvip", source, tmp_path / "out", images=images, force=True)
    assert tree(source) == before


@pytest.mark.parametrize("place", ["LLVIP/out", "LLVIP", "."])
def test_out__among_or_around_the_originals_is_refused(source: Path, tmp_path: Path, place: str) -> None:
    before = tree(tmp_path)
    with pytest.raises(DataError, match="name a folder elsewhere"):
        prepare("llvip", source, tmp_path / place)
    assert tree(tmp_path) == before


def test_out__a_link_into_the_originals_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source / "Annotations")
    with pytest.raises(DataError, match="where the originals are"):
        prepare("llvip", source, tmp_path / "link")


@pytest.mark.parametrize("name", ["out/notes.txt", "out/prepared.json", ".out.partial/mine.txt", ".out.old/mine.txt"])
def test_out__what_is_not_ours_is_never_deleted(source: Path, tmp_path: Path, name: str) -> None:
    mine = text(tmp_path / name, '{"made_by": "me"}')
    with pytest.raises(DataError, match=r"not left by a run of ours|no prepared.json of ours"):
        prepare("llvip", source, tmp_path / "out")
    assert mine.exists()


def test_out__an_empty_folder_is_taken(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert prepare("llvip", source, tmp_path / "out").descriptor.is_file()


def test_two_runs__the_second_one_is_refused(source: Path, tmp_path: Path) -> None:
    partial = tmp_path / ".out.partial"
    partial.mkdir()
    handle = os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another run is making it right now"):
            prepare("llvip", source, tmp_path / "out")
    finally:
        os.close(handle)
    assert prepare("llvip", source, tmp_path / "out").is_new


def test_failed_run__leaves_the_older_folder_and_no_rest(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare("llvip", source, tmp_path / "out")
    before = tree(tmp_path)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("yolofuse.data.convert.layout._write_yolo", fail)
    with pytest.raises(OSError, match="disk full"):
        prepare("llvip", source, tmp_path / "out", force=True)
    assert tree(tmp_path) == before


def test_killed_while_replacing__the_older_folder_is_back_even_if_the_source_is_broken(
    source: Path, tmp_path: Path
) -> None:
    prepare("llvip", source, tmp_path / "out")
    before = tree(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / ".out.old")
    text(source / "Annotations" / "010001.xml", "<annotation>")
    with pytest.raises(DataError, match="not valid XML"):
        prepare("llvip", source, tmp_path / "out")
    assert tree(tmp_path / "out") == before
    assert not (tmp_path / ".out.old").exists()


def test_killed_while_deleting__the_rest_of_the_older_folder_goes(source: Path, tmp_path: Path) -> None:
    prepare("llvip", source, tmp_path / "out")
    prepare("llvip", source, tmp_path / ".out.old")
    assert not prepare("llvip", source, tmp_path / "out").is_new
    assert sorted(path.name for path in tmp_path.iterdir()) == ["LLVIP", "out"]


@pytest.mark.parametrize(("name", "replaces"), [("llvip", True), ("m3fd", False)], ids=["replaces", "first"])
def test_sigkill__at_any_moment_the_next_run_gives_the_same_folder(tmp_path: Path, name: str, replaces: bool) -> None:
    src, out = tmp_path / "src", tmp_path / "places" / "out"
    if name == "llvip":
        for folder in ("visible", "infrared"):
            image(src / folder / "train" / "010001.jpg")
        voc(src / "Annotations" / "010001.xml", [("person", 1, 1, 9, 9)])
    else:
        for key in ("00000", "00001"):
            image(src / "Vis" / f"{key}.png")
            image(src / "Ir" / f"{key}.png", gray=True)
            voc(src / "Annotation" / f"{key}.xml", [("Car", 1, 1, 9, 9)])
    prepare(name, src, tmp_path / "wanted" / "out")
    script = _KILLER.format(repo=str(Path(__file__).resolve().parents[2]))
    argument = json.dumps([name, str(src), str(out), replaces])
    done = subprocess.run([sys.executable, "-c", script, argument], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kills, results = json.loads(done.stdout.splitlines()[-1])
    assert kills >= (30 if replaces else 20)  # building, and then stepping aside, taking the name, deleting
    assert [json.loads(result) for result in results] == [tree(tmp_path / "wanted" / "out")]


def test_boxes__are_clipped_and_counted(tmp_path: Path) -> None:
    boxes = [("person", -10, -5, 20, 100), ("person", 1, 2, 3, 4)]
    prepare("llvip", llvip(tmp_path / "src", boxes), tmp_path / "out")
    found = [pixels(line) for line in labels(tmp_path / "out", "labels/train/010001.txt")]
    assert found == [(0, [0, 0, 20, 48]), (0, [1, 2, 3, 4])]
    assert record(tmp_path / "out")["boxes_cut_at_the_border"] == 12


@pytest.mark.parametrize("box", [(70, 5, 90, 10), (5, 5, 5, 10), (20, 5, 10, 10)], ids=["outside", "flat", "inverted"])
def test_boxes__empty_ones_are_left_out_counted_and_told(
    tmp_path: Path, box: tuple[int, int, int, int], caplog: pytest.LogCaptureFixture
) -> None:
    src = llvip(tmp_path / "src")
    voc(src / "Annotations" / "010001.xml", [("person", *box), ("person", 1, 2, 3, 4)])
    prepare("llvip", src, tmp_path / "out")
    assert len(labels(tmp_path / "out", "labels/train/010001.txt")) == 1
    left_out = record(tmp_path / "out")["left_out"]["boxes that are empty inside the image"]
    assert left_out["count"] == 1
    assert left_out["first"][0].startswith("Annotations/010001.xml:3 ")
    assert "left out: 1 boxes that are empty" in caplog.text


def test_class__an_unknown_one_is_named_with_its_line(tmp_path: Path) -> None:
    src = llvip(tmp_path / "src")
    voc(src / "Annotations" / "010002.xml", [("person", 1, 2, 3, 4), ("dog", 1, 2, 3, 4)])
    with pytest.raises(DataError, match=r"010002.xml:4: unknown class 'dog'; known are person.*--classes"):
        prepare("llvip", src, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_class__dropped_or_taken_on_demand(tmp_path: Path) -> None:
    src = llvip(tmp_path / "src")
    voc(src / "Annotations" / "010002.xml", [("person", 1, 2, 3, 4), ("dog", 5, 6, 7, 8)])
    prepare("llvip", src, tmp_path / "dropped", choice=ClassChoice(drop=("dog",)))
    assert record(tmp_path / "dropped")["left_out"]["boxes of class 'dog'"]["count"] == 1
    prepare("llvip", src, tmp_path / "taken", choice=ClassChoice(("dog", "person")))
    assert [pixels(line)[0] for line in labels(tmp_path / "taken", "labels/train/010002.txt")] == [1, 0]
    assert descriptor(tmp_path / "taken")["names"] == {0: "dog", 1: "person"}


def test_problems__of_all_files_at_once(tmp_path: Path) -> None:
    src = llvip(tmp_path / "src")
    text(src / "Annotations" / "010001.xml", "<annotation>\n<object>\n")
    (src / "Annotations" / "010002.xml").unlink()
    (src / "infrared" / "train" / "030001.jpg").unlink()
    with pytest.raises(DataError) as caught:
        prepare("llvip", src, tmp_path / "out")
    message = str(caught.value)
    assert "3 problems" in message
    assert "010001.xml:3: not valid XML" in message
    assert "010002.jpg: no " in message
    assert "030001.jpg: no thermal partner" in message


def test_images__unreadable_and_of_other_sizes_are_named(tmp_path: Path) -> None:
    src = llvip(tmp_path / "src")
    text(src / "infrared" / "train" / "010001.jpg", "no image")
    image(src / "infrared" / "train" / "010002.jpg", (32, 24))
    for kind in ("visible", "infrared"):
        image(src / kind / "train" / "010003.jpg", (128, 96))
    with pytest.raises(DataError) as caught:
        prepare("llvip", src, tmp_path / "out")
    message = str(caught.value)
    assert "infrared/train/010001.jpg: can't be read as an image" in message
    assert "sizes of the pair differ (rgb 64x48, ir 32x24)" in message
    assert "010003.jpg: is 128x96, but its annotations are for 64x48" in message


def test_any_size__takes_boxes_as_pixels_of_the_image(tmp_path: Path) -> None:
    src = llvip(tmp_path / "src")
    voc(src / "Annotations" / "010001.xml", [("person", 16, 12, 48, 36)], size_wh=(999, 999))
    prepare("llvip", src, tmp_path / "out", any_size=True)
    assert labels(tmp_path / "out", "labels/train/010001.txt") == [[0, 0.5, 0.5, 0.5, 0.5]]


def test_record__has_no_dates_and_no_order_of_chance(source: Path, tmp_path: Path) -> None:
    prepare("llvip", source, tmp_path / "out")
    for path in source.rglob("*.jpg"):
        os.utime(path, (1, 1))
    assert not prepare("llvip", source, tmp_path / "out").is_new


def test_source__a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder; --src names the unpacked data set"):
        prepare("llvip", tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no folder Annotations or annotations; is --src"):
        prepare("llvip", tmp_path / "empty", tmp_path / "out")
