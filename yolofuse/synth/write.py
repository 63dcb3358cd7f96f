"""Write the demo data: pairs drawn in parallel into a hidden folder, which is renamed when it is complete."""

from __future__ import annotations

import csv
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import yaml
from tqdm import tqdm

from yolofuse.errors import ConfigError, DataError, RunError, listing
from yolofuse.synth.canvas import U8
from yolofuse.synth.render import Pair, render_pair
from yolofuse.synth.scene import NAMES, PERSON, VEHICLE

VERSION = 1
"""Raise it with every change of what is drawn, so that a folder made by another version is not reused."""
DEFAULT_SIZE_HW = (192, 256)
STAMP = ".yolofuse-synth.json"
_BUILT = "data"
_SIDES = (96, 4096)
_JPEG_QUALITY = 95
_INLINE_BELOW = 12
"""Fewer pairs than this are drawn in this process, which is faster than starting others."""
_OBJECT = (
    *("name", "class_id", "kind", "x0", "y0", "x1", "y1"),
    *("share", "rgb_contrast", "ir_contrast", "rgb_sees", "ir_sees"),
)

Row = dict[str, str | int]


Rows = tuple[Row, list[Row]]
"""Of one pair: its row of ``meta.csv`` and those of ``objects.csv``."""


def generate(
    out: Path,
    *,
    num_train: int,
    num_val: int,
    seed: int,
    size_hw: tuple[int, int] = DEFAULT_SIZE_HW,
    workers: int | None = None,
) -> Path:
    """Draw the demo data set into ``out`` and return its descriptor, ``out/data.yaml``.

    A pair depends on (seed, split, index) alone: any number of workers writes the same bytes. A folder that was made
    with the same arguments is kept as it is.

    Args:
        out: Folder to make.
        num_train: Pairs of the split ``train``.
        num_val: Pairs of the split ``val``.
        seed: Seed of the data set.
        size_hw: Height and width of both images in pixels.
        workers: Processes; None starts one for each core this process may use.

    Raises:
        ConfigError: If an argument is out of bounds.
        DataError: If ``out`` holds anything else; it is never overwritten.
    """
    _check_arguments(num_train, num_val, seed, size_hw)
    stamp: dict[str, Any] = {
        "version": VERSION,
        "num_train": num_train,
        "num_val": num_val,
        "seed": seed,
        "size_hw": list(size_hw),
    }
    if _is_already_made(out, stamp):
        return out / "data.yaml"
    out.parent.mkdir(parents=True, exist_ok=True)
    with _hidden_folder(out) as hidden:
        folder = hidden / _BUILT
        _write_all(folder, {"train": num_train, "val": num_val}, seed, size_hw, workers)
        (folder / STAMP).write_text(json.dumps(stamp) + "\n", encoding="utf-8")
        # another run may have made it meanwhile
        if not _is_already_made(out, stamp):
            if out.exists():
                out.rmdir()
            folder.rename(out)
    return out / "data.yaml"


@contextmanager
def _hidden_folder(out: Path) -> Iterator[Path]:
    """Yield a new hidden folder beside ``out``, which is deleted at the end; delete those that killed runs left."""
    for left in out.parent.glob(f".{glob.escape(out.name)}.synth-*"):
        with suppress(OSError), _locked(left):
            if {path.name for path in left.iterdir()} <= {_BUILT}:
                shutil.rmtree(left)
    hidden = Path(tempfile.mkdtemp(prefix=f".{out.name}.synth-", dir=out.parent))
    try:
        with _locked(hidden):
            yield hidden
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock a folder; the system releases the lock when the process ends, even if killed.

    Raises:
        OSError: If another process has locked it, or it is no folder.
    """
    import fcntl  # not on every system, and only this command needs it

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _check_arguments(num_train: int, num_val: int, seed: int, size_hw: tuple[int, int]) -> None:
    low, high = _SIDES
    least = (("num_train", num_train, 1), ("num_val", num_val, 1), ("seed", seed, 0))
    problems = [f"{name}: must be {bound} or more (got {value})" for name, value, bound in least if value < bound]
    problems += [
        f"size_hw: {name} must be {low} to {high} px (got {side})"
        for name, side in zip(("height", "width"), size_hw, strict=True)
        if not low <= side <= high
    ]
    if not problems and not 0.5 <= size_hw[0] / size_hw[1] <= 1.5:
        problems.append(f"size_hw: height / width must be 0.5 to 1.5 (got {size_hw[0]} / {size_hw[1]})")
    if problems:
        raise ConfigError(listing("demo data", problems, "wrong argument"))


def _is_already_made(out: Path, stamp: dict[str, Any]) -> bool:
    """Return whether ``out`` holds this data set; False if it does not exist or is empty."""
    if not out.exists():
        return False
    if not out.is_dir():
        raise DataError(f"{out}: is a file; name a folder that does not exist yet")
    if not any(out.iterdir()):
        return False
    try:
        if not (out / STAMP).is_file():  # a pipe would be waited for
            raise OSError("no stamp")
        found = json.loads((out / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise DataError(
            f"{out}: holds files that are no demo data of yolofuse; name another folder (nothing is overwritten)"
        ) from None
    if found != stamp:
        raise DataError(
            f"{out}: holds demo data made with {json.dumps(found)}, not with {json.dumps(stamp)}; "
            "name another folder or delete this one"
        )
    return True


def _write_all(folder: Path, counts: dict[str, int], seed: int, size_hw: tuple[int, int], workers: int | None) -> None:
    for split in counts:
        for part in ("images", "imagesIR", "labels"):
            (folder / part / split).mkdir(parents=True)
    jobs = [(split, index) for split, count in counts.items() for index in range(count)]
    draw = partial(_write_pair, folder, seed, size_hw)
    made = list(tqdm(_draw_in_order(draw, jobs, workers), "Drawing demo pairs", len(jobs), unit="pair", disable=None))
    _write_table(folder / "meta.csv", tuple(made[0][0]), [meta for meta, _ in made])
    _write_table(folder / "objects.csv", _OBJECT, [row for _, objects in made for row in objects])
    descriptor = {
        "root": ".",
        "names": dict(NAMES),
        "splits": {
            split: {"rgb": f"images/{split}", "ir": f"imagesIR/{split}", "labels": f"labels/{split}"}
            for split in counts
        },
        "tags": {"file": "meta.csv", "key": "name", "columns": ["daynight"]},
    }
    head = f"# Drawn demo data, free of licences: yolofuse synth --seed {seed}\n"
    (folder / "data.yaml").write_text(head + yaml.safe_dump(descriptor, sort_keys=False), encoding="utf-8")


def _draw_in_order(draw: partial[Rows], jobs: Sequence[tuple[str, int]], workers: int | None) -> Iterator[Rows]:
    """Yield the results in the order of the jobs, from a pool of new processes if there are many."""
    count = min(workers or _usable_cores(), len(jobs))
    if count < 2 or len(jobs) < _INLINE_BELOW:
        yield from map(draw, jobs)
        return
    try:
        with ProcessPoolExecutor(count, get_context("spawn"), initializer=cv2.setNumThreads, initargs=(1,)) as pool:
            yield from pool.map(draw, jobs, chunksize=4)
    except BrokenProcessPool:
        raise RunError(
            "demo data: a drawing process exited; if generate() is called from a script, call it below "
            "`if __name__ == '__main__':`, else try workers=1"
        ) from None


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write_pair(folder: Path, seed: int, size_hw: tuple[int, int], job: tuple[str, int]) -> Rows:
    split, index = job
    name = f"{split}_{index:05d}"
    pair = render_pair(seed, split, index, size_hw)
    _write_jpeg(folder / "images" / split / f"{name}.jpg", pair.bgr)
    _write_jpeg(folder / "imagesIR" / split / f"{name}.jpg", pair.ir)
    labels = "".join(label_line(seen.class_id, seen.box_xyxy, size_hw) for seen in pair.objects if seen.labelled)
    (folder / "labels" / split / f"{name}.txt").write_text(labels, encoding="ascii")
    return _rows(name, split, pair)


def label_line(class_id: int, box_xyxy: tuple[float, float, float, float], size_hw: tuple[int, int]) -> str:
    """Return one line of a YOLO label file. Edges stay 1e-6 off the border, so that rounding never leads outside."""
    height, width = size_hw
    x0, x1 = (min(max(x / width, 1e-6), 1 - 1e-6) for x in (box_xyxy[0], box_xyxy[2]))
    y0, y1 = (min(max(y / height, 1e-6), 1 - 1e-6) for y in (box_xyxy[1], box_xyxy[3]))
    return f"{class_id} {(x0 + x1) / 2:.6f} {(y0 + y1) / 2:.6f} {x1 - x0:.6f} {y1 - y0:.6f}\n"


def _write_jpeg(path: Path, image: U8) -> None:
    encoded, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert encoded
    path.write_bytes(data.tobytes())


def _rows(name: str, split: str, pair: Pair) -> Rows:
    labelled = [seen for seen in pair.objects if seen.labelled]
    meta: Row = {
        "name": name,
        "split": split,
        "daynight": "night" if pair.scene.climate.night else "day",
        "weather": pair.scene.climate.mood,
        "num_person": sum(seen.class_id == PERSON for seen in labelled),
        "num_vehicle": sum(seen.class_id == VEHICLE for seen in labelled),
        "num_rgb_only": sum(not seen.ir_sees for seen in labelled),
        "num_ir_only": sum(not seen.rgb_sees for seen in labelled),
        "num_decoys": sum(thing.variant != "" and thing.class_id is None for thing in pair.scene.things),
    }
    objects: list[Row] = []
    for seen in labelled:
        row: Row = {"name": name, "class_id": seen.class_id, "kind": seen.variant}
        row |= {key: f"{value:.2f}" for key, value in zip(("x0", "y0", "x1", "y1"), seen.box_xyxy, strict=True)}
        row |= {"share": f"{seen.share:.3f}", "rgb_contrast": f"{seen.rgb:.3f}", "ir_contrast": f"{seen.ir:.3f}"}
        row |= {"rgb_sees": int(seen.rgb_sees), "ir_sees": int(seen.ir_sees)}
        objects.append(row)
    return meta, objects


def _write_table(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
