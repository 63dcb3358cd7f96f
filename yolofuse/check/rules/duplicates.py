"""Find duplicate images: inside a split, and across splits, where they leak training data into evaluation."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from yolofuse.check.finding_images import draw_duplicates
from yolofuse.check.findings import Finding, ReportImage, first_examples, plural, severity_by_share
from yolofuse.check.near_duplicates import nearest
from yolofuse.check.split_data import Split
from yolofuse.check.verify_duplicate import DuplicateKind, classify_duplicate
from yolofuse.errors import DataError
from yolofuse.spacing import evenly_spaced
from yolofuse.types import FloatArray, IntArray, PairRecord

_log = logging.getLogger(__name__)

_CANDIDATE_SCORE = 0.75
"""Two different scenes reach 0.6, copies that were cropped and brightened have 0.86 and more."""
_MAX_VERIFIED = 4000
_MANY_VIEWS = 0.2
_DRAWN = 3


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Two pairs that look the same."""

    one: PairRecord
    other: PairRecord
    flipped: bool = False

    def __str__(self) -> str:
        return f"{self.one.key} = {self.other.key}{' mirrored' if self.flipped else ''}"


def find_leaks(train: Split, other: Split) -> list[Finding]:
    """Find pairs of ``other`` that training has seen."""
    exact = list(_equal_files(train, other))
    copies, views, num_checked = _similar_pairs(train, other, skip={duplicate.other.key for duplicate in exact})
    where, total = f"{train.name}, {other.name}", len(other.pairs)
    findings = []
    if exact:
        text = f"{plural(len(exact), 'pair')} of {other.name} with a file that is also in {train.name}, byte for byte"
        findings.append(_leak("leak-exact", text, where, (train, other), exact, total))
    if copies:
        text = (
            f"{plural(len(copies), 'pair')} of {other.name} showing the same image as one of {train.name}: "
            "re-encoded, scaled, brightened, cropped, mirrored, or a frame of the same moment"
        )
        findings.append(_leak("leak-near", text, where, (train, other), copies, num_checked + len(exact)))
    if views:
        text = (
            f"{plural(len(views), 'pair')} of {other.name} taken from the same place as one of {train.name}, "
            "at another moment: the background is known"
        )
        is_many = len(views) >= _MANY_VIEWS * max(num_checked, 1)
        advice = "split by camera or sequence if the metrics are to hold for new places"
        images = _draw("same-view", (train, other), views[:1])
        findings.append(
            Finding(
                "same-view", "warning" if is_many else "note", where, text, advice,
                len(views), num_checked, _examples(views), images,
            )
        )  # fmt: skip
    return findings


def _leak(
    kind: str, text: str, where: str, splits: tuple[Split, Split], duplicates: Sequence[Duplicate], total: int
) -> Finding:
    return Finding(
        kind=kind,
        severity=severity_by_share(len(duplicates), total),
        where=where,
        text=text,
        advice="remove them from one split: metrics on images seen in training measure memorisation",
        count=len(duplicates),
        total=total,
        examples=_examples(duplicates),
        images=_draw(kind, splits, duplicates),
    )


def find_duplicates(split: Split, sample: int) -> list[Finding]:
    """Find pairs of one split that show the same, and single files that occur in several pairs.

    Args:
        split: The split.
        sample: Maximum number of pairs to compare with all others by their pixels.
    """
    findings = []
    whole, of_rgb, of_ir = _repeated_files(split)
    total = len(split.pairs)
    if whole:
        text = f"{plural(len(whole), 'pair')} whose both files are those of an earlier pair"
        findings.append(
            Finding(
                "twin-pair", "warning", split.name, text, "keep one of each", len(whole), total,
                _examples(whole), _draw("twin-pair", (split, split), whole),
            )
        )  # fmt: skip
    for kind, repeats, modality in (("frozen-rgb", of_rgb, "RGB"), ("frozen-ir", of_ir, "IR")):
        if repeats:
            text = f"{plural(len(repeats), 'pair')} whose {modality} file is that of an earlier pair, but not the other"
            findings.append(
                Finding(
                    kind, severity_by_share(len(repeats), total), split.name, text,
                    "the camera hung, or files were mixed up: remove them", len(repeats), total,
                    _examples(repeats), _draw(kind, (split, split), repeats),
                )
            )  # fmt: skip
    copies, num_checked = _near_duplicates(split, sample)
    if copies:
        text = f"{plural(len(copies), 'pair')} of {num_checked} checked that hardly differ from another of {split.name}"
        advice = "probably frames of a fixed camera; every n-th would be enough"
        findings.append(
            Finding(
                "near-twins", "note", split.name, text, advice, len(copies), num_checked,
                _examples(copies), _draw("near-twins", (split, split), copies[:1]),
            )
        )  # fmt: skip
    return findings


def _equal_files(train: Split, other: Split) -> Iterator[Duplicate]:
    """Iterate over pairs of ``other`` with a file equal to one of ``train``; the first of ``train`` is named."""
    of_file: dict[bytes, PairRecord] = {}
    for record, stats in train.measured():
        for digest in (stats.rgb_digest, stats.ir_digest):
            of_file.setdefault(digest, record)
    for record, stats in other.measured():
        origin = of_file.get(stats.rgb_digest) or of_file.get(stats.ir_digest)
        if origin is not None:
            yield Duplicate(origin, record)


def _repeated_files(split: Split) -> tuple[list[Duplicate], list[Duplicate], list[Duplicate]]:
    """Return whole pairs, RGB files and IR files that occurred in an earlier pair."""
    rgb: dict[bytes, PairRecord] = {}
    ir: dict[bytes, PairRecord] = {}
    whole: dict[tuple[bytes, bytes], PairRecord] = {}
    found: tuple[list[Duplicate], list[Duplicate], list[Duplicate]] = ([], [], [])
    for record, stats in split.measured():
        both = (stats.rgb_digest, stats.ir_digest)
        origins = (whole.get(both), rgb.get(stats.rgb_digest), ir.get(stats.ir_digest))
        for duplicates, origin in zip(found, origins, strict=True):
            if origin is not None:
                duplicates.append(Duplicate(origin, record))
                break
        whole.setdefault(both, record)
        rgb.setdefault(stats.rgb_digest, record)
        ir.setdefault(stats.ir_digest, record)
    return found


def _similar_pairs(train: Split, other: Split, skip: set[str]) -> tuple[list[Duplicate], list[Duplicate], int]:
    """Find copies and views of ``train`` in ``other``.

    Args:
        train: The split that was trained on.
        other: The other split.
        skip: Keys of pairs of ``other`` that need no comparison.

    Returns:
        Copies, views, and how many pairs were compared by their pixels or ruled out by their features.
    """
    candidates, queries = _features(train), _features(other)
    if not len(candidates[0]) or not len(queries[0]):
        return [], [], 0
    match = nearest(queries[1], candidates[1])
    similar = [
        (int(queries[0][row]), int(candidates[0][match.index[row]]), bool(match.flipped[row]))
        for row in np.flatnonzero(match.score >= _CANDIDATE_SCORE).tolist()
        if other.pairs.records[int(queries[0][row])].key not in skip
    ]
    chosen = [similar[position] for position in evenly_spaced(len(similar), _MAX_VERIFIED)]
    found: dict[DuplicateKind, list[Duplicate]] = defaultdict(list)
    for query, origin, flipped in tqdm(chosen, f"comparing {other.name}", unit="pair", delay=3, disable=None):
        duplicate = Duplicate(train.pairs.records[origin], other.pairs.records[query], flipped)
        found[_classify(duplicate)].append(duplicate)
    num_checked = len(queries[0]) - len(skip) - (len(similar) - len(chosen))
    return found["copy"], found["view"], num_checked


def _near_duplicates(split: Split, sample: int) -> tuple[list[Duplicate], int]:
    """Find pairs of a sample that are copies of another pair but for noise; equal files are found elsewhere."""
    positions, features = _features(split)
    rows = np.array(evenly_spaced(len(positions), sample), np.int64)
    if len(positions) < 2:
        return [], 0
    match = nearest(features[rows], features, rows)
    copies: list[Duplicate] = []
    for row, best in enumerate(match.index.tolist()):
        if match.score[row] < _CANDIDATE_SCORE:
            continue
        one, other = (int(positions[place]) for place in (rows[row], best))
        if _digests(split, one) == _digests(split, other):
            continue
        duplicate = Duplicate(split.pairs.records[one], split.pairs.records[other], bool(match.flipped[row]))
        if _classify(duplicate) == "copy":
            copies.append(duplicate)
    return copies, len(rows)


def _classify(duplicate: Duplicate) -> DuplicateKind:
    try:
        return classify_duplicate(duplicate.one, duplicate.other, flipped=duplicate.flipped)
    except DataError as error:  # the file could be read a moment ago
        _log.warning("not compared: %s", error)
        return "other"


def _digests(split: Split, index: int) -> tuple[bytes, bytes] | None:
    stats = split.stats[index]
    return (stats.rgb_digest, stats.ir_digest) if stats is not None else None


def _features(split: Split) -> tuple[IntArray, FloatArray]:
    """Return the positions (N,) of the measured pairs, and their features (N, 126)."""
    kept = [(index, stats.features) for index, stats in enumerate(split.stats) if stats is not None]
    if not kept:
        return np.zeros(0, np.int64), np.zeros((0, 0), np.float32)
    return np.array([index for index, _ in kept], np.int64), np.stack([features for _, features in kept])


def _examples(duplicates: Sequence[Duplicate]) -> tuple[str, ...]:
    return first_examples([str(duplicate) for duplicate in duplicates])


def _draw(kind: str, splits: tuple[Split, Split], duplicates: Sequence[Duplicate]) -> tuple[ReportImage, ...]:
    return tuple(
        draw_duplicates(
            f"{kind}-{splits[0].name}-{splits[1].name}-{number}",
            (splits[0].name, duplicate.one),
            (splits[1].name, duplicate.other),
            str(duplicate),
        )
        for number, duplicate in enumerate(duplicates[:_DRAWN])
    )
