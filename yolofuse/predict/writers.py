"""Write detections as they come: pictures, YOLO labels, COCO JSON, a CSV, crops."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from yolofuse.data.images.read_pair import to_bytes
from yolofuse.errors import ConfigError, DataError, did_you_mean
from yolofuse.files import save_json, save_text
from yolofuse.predict.result import PairDetections
from yolofuse.tables import spreadsheet_cell
from yolofuse.video import VideoWriter
from yolofuse.video.frames import import_av
from yolofuse.viz import draw
from yolofuse.viz.pairs import Palette, Shown

_FPS = 5.0
"""Of a video that is made of images."""
_CSV_COLUMNS = ("pair", "time_s", "track", "class", "score", "x1", "y1", "x2", "y2")


class Writer:
    """Writes the detections of one pair after the other into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, found: PairDetections) -> None:
        """Write the detections of a pair."""
        raise NotImplementedError

    def close(self) -> None:
        """Write what is left."""


class ImageWriter(Writer):
    """Writes ``images/PAIR.jpg``: the pair with its boxes, names and scores."""

    def __init__(self, folder: Path, shown: tuple[Shown, ...], palette: Palette) -> None:
        super().__init__(folder)
        self._shown, self._palette = shown, palette

    def write(self, found: PairDetections) -> None:
        """Draw the pair."""
        found.save(_file_of(self.folder / "images", found.key, ".jpg"), self._shown, self._palette)


class YoloWriter(Writer):
    """Writes ``labels/PAIR.txt``: class, centre and size as shares of the image, score."""

    def write(self, found: PairDetections) -> None:
        """Write the pair's file; without a detection it is empty."""
        save_text(_file_of(self.folder / "labels", found.key, ".txt"), found.to_yolo())


class CropWriter(Writer):
    """Writes ``crops/CLASS/PAIR_N.jpg``: RGB beside IR of each box, N by its score."""

    def write(self, found: PairDetections) -> None:
        """Write the pair's crops."""
        image = to_bytes(found.pixels()) if len(found) else None
        for number, (box, class_id) in enumerate(zip(found.boxes_xyxy, found.class_ids, strict=True), start=1):
            assert image is not None
            (left, top), (right, bottom) = box[:2].astype(int), -(-box[2:] // 1).astype(int)
            crop = image[top:bottom, left:right]
            sides = [crop[..., 2::-1], crop[..., 3:].repeat(3, axis=2)]
            name = f"{re.sub(r'[/]|^[.]', '_', found.names[class_id])}/{found.key}_{number}"
            draw.save_image(_file_of(self.folder / "crops", name, ".jpg"), draw.side_by_side(sides))


class CsvWriter(Writer):
    """Writes ``detections.csv``: a row per detection, corners in pixels of the pair's frame."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._file = (folder / "detections.csv").open("w", newline="", encoding="utf-8", errors="backslashreplace")
        self._rows = csv.writer(self._file)
        self._rows.writerow(_CSV_COLUMNS)

    def write(self, found: PairDetections) -> None:
        """Write the pair's rows; they are on disk before the next pair."""
        ids = [None] * len(found) if found.track_ids is None else found.track_ids.tolist()
        seconds = "" if found.time_s is None else f"{found.time_s:.3f}"
        for box, score, class_id, number in zip(
            found.boxes_xyxy.tolist(), found.scores.tolist(), found.class_ids.tolist(), ids, strict=True
        ):
            cells = [spreadsheet_cell(found.key), seconds, number, spreadsheet_cell(found.names[class_id])]
            self._rows.writerow([*cells, f"{score:.4f}", *(f"{edge:.2f}" for edge in box)])
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class CocoWriter(Writer):
    """Writes ``coco.json``: images, and their detections as annotations with scores, for labelling tools."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._names: tuple[str, ...] = ()

    def write(self, found: PairDetections) -> None:
        """Keep the pair's rows."""
        self._names = found.names
        number = len(self._images) + 1
        height, width = found.record.size_hw
        name = found.key if found.images is not None else found.record.frame_name
        self._images.append({"id": number, "file_name": name, "width": width, "height": height})
        for row in found.to_coco():
            area = row["bbox"][2] * row["bbox"][3]
            own = {"id": len(self._annotations) + 1, "image_id": number, "area": area, "iscrowd": 0}
            self._annotations.append({**row, **own})

    def close(self) -> None:
        """Write the file."""
        categories = [{"id": number, "name": name} for number, name in enumerate(self._names, start=1)]
        content = {"images": self._images, "annotations": self._annotations, "categories": categories}
        save_json(self.folder / "coco.json", content)


class VideoFileWriter(Writer):
    """Writes ``video.mp4``: each frame with its boxes, names and scores, at its time, all of the first one's size."""

    def __init__(self, folder: Path, shown: tuple[Shown, ...], palette: Palette, fps: float) -> None:
        super().__init__(folder)
        import_av()  # its absence is told before anything is detected
        self._shown, self._palette, self._fps = shown, palette, fps
        self._video: VideoWriter | None = None
        self._number = 0

    def write(self, found: PairDetections) -> None:
        """Draw and append the frame."""
        picture = found.plot(self._shown, self._palette)
        if self._video is None:
            self._video = VideoWriter(self.folder / "video.mp4", self._fps, (picture.shape[0], picture.shape[1]))
        self._video.write(
            draw.fitted(picture, self._video.size_hw),
            self._number / self._fps if found.time_s is None else found.time_s,
        )
        self._number += 1

    def close(self) -> None:
        """Finish the file."""
        if self._video is not None:
            self._video.close()


FORMATS: dict[str, Callable[..., Writer]] = {
    "images": ImageWriter,
    "txt": YoloWriter,
    "coco": CocoWriter,
    "csv": CsvWriter,
    "crops": CropWriter,
    "video": VideoFileWriter,
}
"""What can be written, by the name that ``--save`` knows it by."""


def open_writers(
    folder: Path, kinds: Sequence[str], shown: tuple[Shown, ...], palette: Palette, fps: float | None = None
) -> list[Writer]:
    """Make the folder, which must not hold anything, and the writers of these kinds.

    Raises:
        ConfigError: If a kind is unknown, or the folder holds files.
    """
    for kind in kinds:
        if kind not in FORMATS:
            raise ConfigError(f"--save: no {kind!r}{did_you_mean(kind, FORMATS)}; known are {' '.join(FORMATS)}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"--out: {folder} is not empty, and nothing is overwritten; {free_folder(folder)} is free")
    folder.mkdir(parents=True, exist_ok=True)
    looks = {"images": (shown, palette), "video": (shown, palette, fps or _FPS)}
    return [FORMATS[kind](folder, *looks.get(kind, ())) for kind in dict.fromkeys(kinds)]


def free_folder(folder: Path) -> Path:
    """Return the folder's name if it is free, else with the first number that is."""
    number = 1
    candidate = folder
    while candidate.exists():
        number += 1
        candidate = folder.with_name(f"{folder.name}-{number}")
    return candidate


def _file_of(folder: Path, key: str, suffix: str) -> Path:
    """Return the file of a pair below a folder, which is made.

    Raises:
        DataError: If its name leads out of the folder.
    """
    parts = PurePosixPath(key)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise DataError(f"{key!r}: a pair's name must not lead out of its folder; rename it")
    target = folder / f"{parts}{suffix}"
    target.parent.mkdir(parents=True, exist_ok=True)
    return target
