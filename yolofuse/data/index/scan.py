"""Read every file of a split once: sizes, bit depths and labels as arrays, errors as problems."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from yolofuse.data.descriptor.source import LEFT_OUT, Source
from yolofuse.data.images.decode import ImageInfo, inspect_image, strict_decoding
from yolofuse.data.index.coco_labels import read_coco
from yolofuse.data.index.manifest import read_manifest
from yolofuse.data.index.match_files import Matches, match_folders
from yolofuse.data.index.scan_result import ScanColumns, ScannedPair, ScanResult
from yolofuse.data.index.yolo_labels import LabelFile, read_labels
from yolofuse.data.problems import Problem, ProblemKind
from yolofuse.errors import DataError
from yolofuse.types import IntArray

Parts = Sequence[tuple[Source, Matches]]
"""The sources of a split, each with its pairs."""

_CHUNK = 1024  # pairs that are given to the threads at a time


@dataclass(slots=True)
class Scan:
    """The result of a scan, with errors and warnings."""

    parts: Parts  # each source with the pairs that its COCO file lists; all pairs without one
    listed: IntArray  # positions of those pairs among all matched pairs of the split
    result: ScanResult  # rows of all pairs; those of a pair with an error are meaningless
    good: IntArray  # positions of the pairs without an error
    problems: list[Problem]  # errors that must be fixed
    warnings: list[Problem]  # oddities that need no fix


def match_source(source: Source) -> Matches:
    """Return the pairs of a source.

    Raises:
        DataError: If its manifest or list can't be read at all.
    """
    return read_manifest(source) if source.manifest else match_folders(source)


def listed_pairs(source: Source) -> Matches:
    """Return the pairs of a source that its COCO file lists; all if it has none."""
    matches = match_source(source)
    return matches.only(read_coco(source.coco, source, matches).positions) if source.coco else matches


@dataclass(slots=True)
class _Pair:
    """Files of one pair, as given to a thread."""

    key: str
    rgb: Path | None  # None where it is missing
    ir: Path | None
    label_file: Path | None
    label: LabelFile | None
    stated_hw: tuple[int, int] | None


def scan_split(parts: Parts, *, verify: bool, workers: int, where: str) -> Scan:
    """Read all pairs of a split, in the order of sources and keys; with ``verify``, decode every image once.

    Raises:
        DataError: If a COCO file can't be read at all.
    """
    columns = ScanColumns()
    problems: list[Problem] = []
    warnings: dict[str, Problem] = {}
    bad: set[int] = set()
    chosen: list[tuple[Source, Matches]] = []
    listed: list[IntArray] = []
    offset = 0
    for source, matches in parts:
        pairs, positions = _pairs_of(source, matches, problems)
        listed.append(positions + offset)
        offset += len(matches)
        chosen.append((source, matches.only(positions.tolist())))
        for chunk in _scan_pairs(source, pairs, verify, workers, where):
            for position, seen in enumerate(chunk, start=len(columns.counts)):
                problems += seen.label.problems
                warnings |= {warning.text: warning for warning in seen.label.warnings}
                if seen.label.problems:
                    bad.add(position)
            columns.add(chunk)
    result = columns.result(verify)
    start = 0
    for source, kept in chosen:
        mixed = _find_mixed_depths(source, kept, result.ir_bits[start : start + len(kept)])
        problems += [problem for _, problem in mixed]
        bad |= {start + position for position, _ in mixed}
        start += len(kept)
    good = np.array([i for i in range(start) if i not in bad], np.int64)
    return Scan(chosen, np.concatenate(listed), result, good, problems, list(warnings.values()))


def _pairs_of(source: Source, matches: Matches, problems: list[Problem]) -> tuple[list[_Pair], IntArray]:
    """Return a source's pairs with the labels from its COCO file, and their positions among all that match."""
    problems += matches.problems
    positions = np.arange(len(matches))
    labels: list[LabelFile | None] = [None] * len(matches)
    stated: list[tuple[int, int] | None] = [None] * len(matches)
    if source.coco is not None:
        coco = read_coco(source.coco, source, matches)
        problems += coco.problems
        positions = np.array(coco.positions, np.int64)
        labels, stated = list(coco.labels), list(coco.sizes_hw)
    root = source.root
    pairs = []
    for i, label, size_hw in zip(positions.tolist(), labels, stated, strict=True):
        names = (matches.rgb[i], matches.ir[i], matches.labels[i] if source.coco is None else "")
        rgb, ir, file = (root / name if name else None for name in names)
        pairs.append(_Pair(matches.keys[i], rgb, ir, file, label, size_hw))
    return pairs, positions


def _scan_pairs(
    source: Source, pairs: list[_Pair], verify: bool, workers: int, where: str
) -> Iterator[list[ScannedPair]]:
    # Threads, not processes: decoders release the GIL, and nothing has to be sent back and forth.
    # disable=None: silent when stderr is no terminal
    bar = tqdm(desc=f"checking {where}", total=len(pairs), unit="pair", delay=3, disable=None)
    with bar, strict_decoding(), ThreadPoolExecutor(max(workers, 1)) as pool:
        for start in range(0, len(pairs), _CHUNK):
            chunk = pairs[start : start + _CHUNK]
            yield list(pool.map(lambda pair: _scan_pair(source, pair, verify), chunk))
            bar.update(len(chunk))


def _scan_pair(source: Source, pair: _Pair, verify: bool) -> ScannedPair:
    """Read sizes, depths and labels of one pair; errors of its images are added to the label's problems."""
    label = pair.label
    if label is None:
        label = read_labels(pair.label_file, len(source.names)) if pair.label_file else LabelFile()
    infos: list[ImageInfo | None] = []
    content = [0, 0]
    for i, path in enumerate((pair.rgb, pair.ir)):
        try:
            infos.append(inspect_image(path, verify) if path else None)
            content[i] = _hash_file(path) if path and verify else 0
        except DataError as error:
            infos.append(None)
            label.problems.append(Problem("unreadable", pair.key, str(error)))
    rgb, ir = infos
    if pair.rgb is None or pair.ir is None:  # the missing image counts as one of the same size
        seen = rgb or ir
        rgb, ir = (seen and seen._replace(bits=8) if path is None else seen for path in (pair.rgb, pair.ir))
        if source.affine is not None and _lacks_frame(source, pair):
            text = f"{pair.key}: no {source.frame} image, in whose pixels the labels are; remove the other image"
            label.problems.append(Problem("missing-file", pair.key, text))
    if rgb is not None and ir is not None:
        label.problems += [
            Problem(kind, pair.key, f"{pair.key}: {text}") for kind, text in _find_mismatches(source, rgb, ir)
        ]
        _check_stated_size(source, pair, rgb, ir, label)
    _map_classes(source, label)
    return ScannedPair(rgb, ir, label, tuple(content))


def _hash_file(path: Path) -> int:
    """Return 64 bits of the SHA-256 of a file that was just decoded, so that its bytes are still in memory."""
    digest = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as stream:
            while part := stream.read(1 << 16):
                digest.update(part)
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error})") from None
    return int.from_bytes(digest.digest()[:8], "little")


def _lacks_frame(source: Source, pair: _Pair) -> bool:
    """Return whether the image in whose pixels labels are is missing."""
    return (pair.rgb if source.frame == "rgb" else pair.ir) is None


def _find_mismatches(source: Source, rgb: ImageInfo, ir: ImageInfo) -> Iterator[tuple[ProblemKind, str]]:
    if source.resize == "equal" and rgb[:2] != ir[:2]:
        yield (
            "size-mismatch",
            f"sizes differ: rgb {rgb.width}x{rgb.height}, ir {ir.width}x{ir.height}; if both show the same field of "
            "view, set resize: stretch and the image that the labels belong to, frame: rgb or ir",
        )
    if rgb.bits > 8:
        yield "bit-depth", f"the visible image has {rgb.bits} bits per channel; only 8 are read, convert it"
    if ir.bits > 8 and source.ir_window is None:
        yield (
            "bit-depth",
            f"the thermal image has {ir.bits} bits, which need a window: ir_window: [low, high] in counts, "
            "or ir_window: {percentiles: [0.5, 99.5]}",
        )


def _check_stated_size(source: Source, pair: _Pair, rgb: ImageInfo, ir: ImageInfo, label: LabelFile) -> None:
    """Compare the frame with the size that a COCO file states, which its boxes are relative to."""
    frame, other = (rgb, ir) if source.frame == "rgb" else (ir, rgb)
    if pair.stated_hw is None or pair.stated_hw == frame[:2] or _lacks_frame(source, pair):
        return
    height, width = pair.stated_hw
    difference = f"{pair.key}: {source.coco} says {width}x{height}, but the frame is {frame.width}x{frame.height}"
    if pair.stated_hw == other[:2]:
        other_frame = "ir" if source.frame == "rgb" else "rgb"
        label.problems.append(
            Problem("coco", pair.key, f"{difference}; it is the size of the other image: set frame: {other_frame}")
        )
    elif (width > height) != (frame.width > frame.height):
        text = f"{difference}; labelled on rotated images? Rotate the boxes, or store the images as labelled"
        label.problems.append(Problem("coco", pair.key, text))
    else:
        text = f"{source.coco} gives other sizes than the images have, such as {width}x{height} for "
        text += f"{frame.width}x{frame.height}; its boxes are scaled"
        label.warnings.append(Problem("coco", pair.key, text))


def _map_classes(source: Source, label: LabelFile) -> None:
    """Map class ids of the source to those of the data set; boxes of classes that are left out are removed."""
    if source.class_map == tuple(range(len(source.names))):
        return
    kept = [i for i, class_id in enumerate(label.class_ids) if source.class_map[class_id] != LEFT_OUT]
    label.class_ids[:] = [source.class_map[label.class_ids[i]] for i in kept]
    label.boxes_xywhn[:] = [label.boxes_xywhn[i] for i in kept]
    label.crowd[:] = [label.crowd[i] for i in kept]


def _find_mixed_depths(source: Source, matches: Matches, ir_bits: np.ndarray) -> list[tuple[int, Problem]]:
    """Return thermal images whose bit depth differs from the others': one window of counts can't fit both."""
    exists = matches.has("ir")
    depths, counts = np.unique(ir_bits[exists], return_counts=True)
    if source.ir_window is None or len(depths) < 2:
        return []
    usual = depths[counts.argmax()]
    problems = []
    for i in np.flatnonzero((ir_bits != usual) & exists).tolist():
        text = f"{source.root / matches.ir[i]}: {ir_bits[i]} bits, but most of {source.where} have {usual}"
        problems.append((i, Problem("bit-depth", matches.keys[i], f"{text}; one ir_window can't fit both")))
    return problems
