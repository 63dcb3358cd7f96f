"""Read every file of a split once: sizes, bit depths and labels as arrays, errors as problems."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from yolofuse.data.descriptor.path_guard import PathGuard
from yolofuse.data.descriptor.source import LEFT_OUT, Source
from yolofuse.data.images.decode import ImageInfo, inspect_image, strict_decoding
from yolofuse.data.images.stacked import inspect_stacked
from yolofuse.data.index.class_lists import compare_class_lists
from yolofuse.data.index.coco_labels import compare_sizes, read_coco, turn_advice
from yolofuse.data.index.long_lines import LongLines
from yolofuse.data.index.manifest import read_manifest
from yolofuse.data.index.match_files import match_folders
from yolofuse.data.index.matches import Matches
from yolofuse.data.index.scan_result import ScanColumns, ScannedPair, ScanResult
from yolofuse.data.index.shared_files import find_shared_images, find_twins
from yolofuse.data.index.yolo_labels import LabelFile, read_labels
from yolofuse.data.problems import Problem, ProblemKind
from yolofuse.errors import DataError
from yolofuse.types import IntArray, Orientation

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
    matches = read_manifest(source) if source.manifest else match_folders(source)
    if source.coco is None:
        guard = PathGuard(source.root, source.links)
        matches.problems += compare_class_lists(guard, source.names, matches.labels)
    problems, warnings = find_shared_images(source, matches)
    matches.problems += problems
    matches.warnings += warnings
    return matches


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


def scan_split(parts: Parts, *, verify: bool, workers: int, where: str) -> Scan:
    """Read all pairs of a split, in the order of sources and keys; with ``verify``, decode every image once.

    Raises:
        DataError: If a COCO file can't be read at all.
    """
    columns = ScanColumns()
    problems: list[Problem] = []
    warnings: dict[str, Problem] = {}
    long_lines = LongLines()
    bad: set[int] = set()
    chosen: list[tuple[Source, Matches]] = []
    sizes: list[Sequence[tuple[int, int]]] = []
    listed: list[IntArray] = []
    offset = 0
    for source, matches in parts:
        pairs, positions, stated = _pairs_of(source, matches, problems, warnings)
        sizes.append(stated)
        listed.append(positions + offset)
        offset += len(matches)
        chosen.append((source, matches.only(positions.tolist())))
        for chunk in _scan_pairs(source, pairs, verify, workers, where):
            for position, seen in enumerate(chunk, start=len(columns.counts)):
                problems += seen.label.problems
                long_lines.add(seen.label.long_lines)
                warnings |= {warning.text: warning for warning in seen.label.warnings}
                if seen.label.problems:
                    bad.add(position)
            columns.add(chunk)
    result = columns.result(verify)
    turned = _count_turned(chosen, result.orientation, where)
    wrong = [*_find_mixed_depths(chosen, result.ir_bits), *find_twins(chosen)]
    start = 0
    for (source, kept), stated in zip(chosen, sizes, strict=True):
        rows = slice(start, start + len(kept))
        if stated:
            usable = kept.has(source.frame) & ~np.isin(np.arange(rows.start, rows.stop), [*bad])
            column = 0 if source.frame == "rgb" else 1
            actual_hw = (result.rgb_hw[rows], result.ir_hw[rows])
            unlike, scaled = compare_sizes(
                source, kept.keys, stated, actual_hw, usable, result.orientation[rows, column]
            )
            wrong += [(start + position, problem) for position, problem in unlike]
            warnings |= {warning.text: warning for warning in scaled}
        start += len(kept)
    problems += [problem for _, problem in wrong]
    bad |= {position for position, _ in wrong}
    good = np.array([i for i in range(start) if i not in bad], np.int64)
    problems += long_lines.problems(where)
    found = [*long_lines.warnings(where), *turned, *warnings.values()]
    return Scan(chosen, np.concatenate(listed), result, good, problems, found)


def _pairs_of(
    source: Source, matches: Matches, problems: list[Problem], warnings: dict[str, Problem]
) -> tuple[list[_Pair], IntArray, Sequence[tuple[int, int]]]:
    """Return a source's pairs with their labels, their positions among all that match, and sizes by its COCO file."""
    problems += matches.problems
    warnings |= {warning.text: warning for warning in matches.warnings}
    positions = np.arange(len(matches))
    labels: list[LabelFile | None] = [None] * len(matches)
    stated: Sequence[tuple[int, int]] = ()
    if source.coco is not None:
        coco = read_coco(source.coco, source, matches)
        problems += coco.problems
        positions = np.array(coco.positions, np.int64)
        warnings |= {warning.text: warning for warning in coco.warnings}
        labels, stated = list(coco.labels), coco.sizes_hw
    root = source.root
    pairs = []
    for i, label in zip(positions.tolist(), labels, strict=True):
        names = (matches.rgb[i], matches.ir[i], matches.labels[i] if source.coco is None else "")
        rgb, ir, file = (root / name if name else None for name in names)
        pairs.append(_Pair(matches.keys[i], rgb, ir, file, label))
    return pairs, positions, stated


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
    for i, path in enumerate((pair.rgb,) if source.stacked else (pair.rgb, pair.ir)):
        try:
            infos.append(_inspect(source, path, verify) if path else None)
            content[i] = _hash_file(path) if path and verify else 0
        except DataError as error:
            infos.append(None)
            label.problems.append(Problem("unreadable", pair.key, str(error)))
    rgb, ir = infos if len(infos) == 2 else infos * 2
    if pair.rgb is None or pair.ir is None:  # the missing image counts as one of the same size
        seen = rgb or ir
        rgb, ir = (
            seen and seen._replace(bits=8, orientation=1) if path is None else seen for path in (pair.rgb, pair.ir)
        )
        if source.affine is not None and _lacks_frame(source, pair):
            text = f"{pair.key}: no {source.frame} image, in whose pixels the labels are; remove the other image"
            label.problems.append(Problem("missing-file", pair.key, text))
    if rgb is not None and ir is not None:
        label.problems += [
            Problem(kind, pair.key, f"{pair.key}: {text}") for kind, text in _find_mismatches(source, rgb, ir)
        ]
    _map_classes(source, label)
    return ScannedPair(rgb, ir, label, tuple(content))


def _inspect(source: Source, path: Path, verify: bool) -> ImageInfo:
    return inspect_stacked(path) if source.stacked else inspect_image(path, verify, source.orientation)


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
        advice = _fits_when_turned(source, ir[:2], rgb) or _fits_when_turned(source, rgb[:2], ir)
        if not advice and rgb[:2] == ir[1::-1]:
            advice = "one of them is turned by 90 degrees, which neither file says: turn the files of that camera"
        advice = advice or (
            "if both show the same field of view, set resize: stretch and the image that the labels belong to, frame: "
            "rgb or ir"
        )
        yield "size-mismatch", f"sizes differ: rgb {rgb.width}x{rgb.height}, ir {ir.width}x{ir.height}; {advice}"
    if rgb.bits > 8:
        yield "bit-depth", f"the visible image has {rgb.bits} bits per channel; only 8 are read, convert it"
    if ir.bits > 8 and source.ir_window is None:
        yield (
            "bit-depth",
            f"the thermal image has {ir.bits} bits, which need a window: ir_window: [low, high] in counts, "
            "or ir_window: {percentiles: [0.5, 99.5]}",
        )


def _fits_when_turned(source: Source, size_hw: tuple[int, int], info: ImageInfo) -> str:
    """Return what to do if an image has a size only when its orientation is read the other way; else an empty text."""
    if info.orientation < 5 or size_hw != info[1::-1]:
        return ""
    return turn_advice(source, info.orientation)


def _map_classes(source: Source, label: LabelFile) -> None:
    """Map class ids of the source to those of the data set; boxes of classes that are left out are removed."""
    if source.class_map == tuple(range(len(source.names))):
        return
    kept = [i for i, class_id in enumerate(label.class_ids) if source.class_map[class_id] != LEFT_OUT]
    label.class_ids[:] = [source.class_map[label.class_ids[i]] for i in kept]
    label.boxes_xywhn[:] = [label.boxes_xywhn[i] for i in kept]
    label.crowd[:] = [label.crowd[i] for i in kept]


def _count_turned(parts: Parts, orientation: np.ndarray, where: str) -> list[Problem]:
    """Return a warning about the images of a split that are stored turned, one for each way in which they are read."""
    if not (orientation > 1).any():
        return []
    both = [(source, pair) for source, matches in parts for pair in zip(matches.rgb, matches.ir, strict=True)]
    files = [(source, name) for source, pair in both for name in pair]
    found: dict[Orientation, list[int]] = {}
    for position in np.flatnonzero(orientation > 1).tolist():  # RGB and IR in turn
        found.setdefault(files[position][0].orientation, []).append(position)
    warnings = []
    for setting, positions in found.items():
        source, name = files[positions[0]]
        num_ir = sum(position % 2 for position in positions)
        text = (
            f"{where}: {len(positions) - num_ir} visible and {num_ir} thermal images are stored turned or mirrored "
            f"(EXIF orientation), such as {source.root / name}; "
        )
        if setting == "apply":
            text += "they are read upright; if labels are in pixels as stored, set orientation: ignore"
        else:
            text += "they are read as stored (orientation: ignore)"
        warnings.append(Problem("orientation", where, text))
    return warnings


def _find_mixed_depths(parts: Parts, ir_bits: np.ndarray) -> list[tuple[int, Problem]]:
    """Return thermal images whose depth differs from that of others with their window: one of counts can't fit both."""
    of_source = np.repeat(np.arange(len(parts)), [len(matches) for _, matches in parts])
    exists = np.concatenate([matches.has("ir") for _, matches in parts])
    problems = []
    for window in dict.fromkeys(source.ir_window for source, _ in parts if source.ir_window is not None):
        shares = exists & np.array([source.ir_window == window for source, _ in parts])[of_source]
        depths, counts = np.unique(ir_bits[shares], return_counts=True)
        if len(depths) < 2:
            continue
        usual = depths[counts.argmax()]
        files = [
            (key, source.root / name) for source, each in parts for key, name in zip(each.keys, each.ir, strict=True)
        ]
        for i in np.flatnonzero((ir_bits != usual) & shares).tolist():
            text = f"{files[i][1]}: {ir_bits[i]} bits, but most images with its ir_window have {usual}"
            problems.append((i, Problem("bit-depth", files[i][0], f"{text}; one ir_window can't fit both")))
    return problems
