"""Find duplicate images: inside a split, and across splits, where they leak training data into evaluation."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from yolofuse.check.finding_images import draw_duplicates
from yolofuse.check.findings import Finding, Severity, first_examples, severity_by_share
from yolofuse.check.near_duplicates import nearest
from yolofuse.check.pair_stats import Split
from yolofuse.check.verify_duplicate import DuplicateKind, classify_duplicate
from yolofuse.data.index.compare_splits import equal_labels
from yolofuse.errors import DataError, plural
from yolofuse.spacing import evenly_spaced
from yolofuse.types import PairRecord

_log = logging.getLogger(__name__)

_CANDIDATE_SCORE = 0.75
"""Two different scenes reach 0.6, copies that were cropped and brightened have 0.86 and more."""
_MAX_VERIFIED = 4000
_MANY_VIEWS = 0.2


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
    splits, total, near_total = (train, other), len(other.pairs), num_checked + len(exact)
    advice = "keep such pairs in one split: metrics on images seen in training measure memorisation"
    findings = []
    if keys := equal_labels(train.pairs, other.pairs):
        text = (
            f"{plural(len(keys), 'pair')} of {other.name} have other images than the pairs of {train.name} of their "
            "name, and the same boxes"
        )
        whose = "whose labels are these? Name or copy those of its own images"
        where = f"{train.name}, {other.name}"
        findings.append(Finding("same-labels", "warning", where, text, whose, len(keys), total, first_examples(keys)))
    if exact:
        text = f"of {other.name} with a file that is also in {train.name}, byte for byte"
        findings.append(_finding("leak-exact", None, splits, text, advice, exact, total))
    if copies:
        text = (
            f"of {other.name} showing the same image as one of {train.name}: "
            "re-encoded, scaled, brightened, cropped, mirrored, or a frame of the same moment"
        )
        findings.append(_finding("leak-near", None, splits, text, advice, copies, near_total))
    if views:
        text = (
            f"of {other.name} taken from the same place as one of {train.name}, "
            "at another moment: the background is known"
        )
        severity: Severity = "warning" if len(views) >= _MANY_VIEWS * max(num_checked, 1) else "note"
        advice = "split by camera or sequence if the metrics are to hold for new places"
        findings.append(_finding("same-view", severity, splits, text, advice, views, num_checked, num_drawn=1))
    return findings


def find_duplicates(split: Split, sample: int) -> list[Finding]:
    """Find pairs of one split that show the same, and single files that occur in several pairs.

    At most ``sample`` pairs are compared with all others by their pixels.
    """
    findings = []
    whole, of_rgb, of_ir = _repeated_files(split)
    splits, total = (split, split), len(split.pairs)
    if whole:
        text = "whose both files are those of an earlier pair"
        findings.append(_finding("twin-pair", "warning", splits, text, "keep one of each", whole, total))
    for kind, repeats, modality in (("frozen-rgb", of_rgb, "RGB"), ("frozen-ir", of_ir, "IR")):
        if repeats:
            text = f"whose {modality} file is that of an earlier pair, but not the other"
            advice = "the camera hung, or files were mixed up: remove such pairs"
            findings.append(_finding(kind, None, splits, text, advice, repeats, total))
    copies, num_checked = _near_duplicates(split, sample)
    if copies:
        text = f"of {num_checked} checked, hardly different from another of {split.name}"
        advice = "probably frames of a fixed camera; every n-th would be enough"
        findings.append(_finding("near-twins", "note", splits, text, advice, copies, num_checked, num_drawn=1))
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
    first: dict[tuple[bytes | None, bytes | None], PairRecord] = {}
    found: tuple[list[Duplicate], list[Duplicate], list[Duplicate]] = ([], [], [])
    for record, stats in split.measured():
        rgb, ir = stats.rgb_digest, stats.ir_digest
        origins = [first.setdefault(key, record) for key in ((rgb, ir), (rgb, None), (None, ir))]
        for duplicates, origin in zip(found, origins, strict=True):
            if origin is not record:
                duplicates.append(Duplicate(origin, record))
                break
    return found


def _similar_pairs(train: Split, other: Split, skip: set[str]) -> tuple[list[Duplicate], list[Duplicate], int]:
    """Find copies and views of ``train`` in ``other``, without the pairs whose keys are in ``skip``.

    Returns:
        Copies, views, and how many pairs were compared by their pixels or ruled out by their features.
    """
    candidates, queries = train.features(), other.features()
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
    positions, features = split.features()
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


def _finding(
    kind: str,
    severity: Severity | None,
    splits: tuple[Split, Split],
    text: str,
    advice: str,
    duplicates: Sequence[Duplicate],
    total: int,
    num_drawn: int = 3,
) -> Finding:
    """Return a finding; ``text`` is what follows "3 pairs", and a ``severity`` of None is that of their share."""
    severity = severity or severity_by_share(len(duplicates), total)
    text = f"{plural(len(duplicates), 'pair')} {text}"
    one, other = (split.name for split in splits)
    where = one if one == other else f"{one}, {other}"
    examples = first_examples([str(duplicate) for duplicate in duplicates])
    images = tuple(
        draw_duplicates((one, shown.one), (other, shown.other), str(shown)) for shown in duplicates[:num_drawn]
    )
    return Finding(kind, severity, where, text, advice, len(duplicates), total, examples, images)
