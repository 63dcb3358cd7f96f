"""Findings about pictures that occur twice: inside a split, and, worse, on both sides of training and evaluation."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from yolofuse.check.findings import Finding, Picture, by_share, plural, some
from yolofuse.check.near_duplicates import nearest
from yolofuse.check.pictures import draw_twins
from yolofuse.check.split_data import Split, evenly
from yolofuse.check.verify_duplicate import Sameness, sameness
from yolofuse.errors import DataError
from yolofuse.types import FloatArray, IntArray, PairRecord

_log = logging.getLogger(__name__)

_CANDIDATE = 0.75
"""Two different scenes reach 0.6, copies that were cropped and brightened have 0.86 and more."""
_MAX_VERIFIED = 4000
_OF_ONE_VIEW = 0.2
_DRAWN = 3


@dataclass(frozen=True, slots=True)
class Twin:
    """Two pairs that look the same."""

    one: PairRecord
    other: PairRecord
    flipped: bool = False

    def __str__(self) -> str:
        return f"{self.one.key} = {self.other.key}{' mirrored' if self.flipped else ''}"


def judge_leaks(train: Split, other: Split) -> list[Finding]:
    """Pairs of ``other`` that training has seen."""
    exact = list(_equal_files(train, other))
    known = {twin.other.key for twin in exact}
    copies, views, looked = _look_alike(train, other, known)
    where, total = f"{train.name}, {other.name}", len(other.pairs)
    found = []
    if exact:
        text = f"{plural(len(exact), 'pair')} of {other.name} with a file that is also in {train.name}, byte for byte"
        found.append(_leak("leak-exact", text, where, (train, other), exact, total))
    if copies:
        text = (
            f"{plural(len(copies), 'pair')} of {other.name} showing the same picture as one of {train.name}: "
            "re-encoded, scaled, brightened, cropped, mirrored, or a frame of the same moment"
        )
        found.append(_leak("leak-near", text, where, (train, other), copies, looked + len(exact)))
    if views:
        text = (
            f"{plural(len(views), 'pair')} of {other.name} taken from the very place of one in {train.name}, "
            "at another moment: the background is known"
        )
        is_many = len(views) >= _OF_ONE_VIEW * max(looked, 1)
        advice = "split by camera or sequence, if new places are to be judged"
        pictures = _drawn("same-view", (train, other), views[:1])
        found.append(
            Finding(
                "same-view", "warning" if is_many else "note", where, text, advice,
                len(views), looked, some([str(twin) for twin in views]), pictures,
            )
        )  # fmt: skip
    return found


def _leak(kind: str, text: str, where: str, splits: tuple[Split, Split], twins: Sequence[Twin], total: int) -> Finding:
    return Finding(
        kind=kind,
        severity=by_share(len(twins), total),
        where=where,
        text=text,
        advice="remove them from one split: figures on seen pictures measure memory",
        count=len(twins),
        total=total,
        examples=some([str(twin) for twin in twins]),
        pictures=_drawn(kind, splits, twins),
    )


def judge_twins(split: Split, sample: int) -> list[Finding]:
    """Pairs of one split that show the same, and single files that stand in several pairs."""
    found = []
    whole, of_rgb, of_ir = _repeats(split)
    total = len(split.pairs)
    if whole:
        text = f"{plural(len(whole), 'pair')} whose both files are those of an earlier pair"
        found.append(
            Finding(
                "twin-pair", "warning", split.name, text, "keep one of each", len(whole), total,
                some([str(twin) for twin in whole]), _drawn("twin-pair", (split, split), whole),
            )
        )  # fmt: skip
    for kind, repeats, modality in (("frozen-rgb", of_rgb, "RGB"), ("frozen-ir", of_ir, "IR")):
        if repeats:
            text = f"{plural(len(repeats), 'pair')} whose {modality} file is that of an earlier pair, but not the other"
            found.append(
                Finding(
                    kind, by_share(len(repeats), total), split.name, text,
                    "the camera hung, or files were mixed up: remove them", len(repeats), total,
                    some([str(twin) for twin in repeats]), _drawn(kind, (split, split), repeats),
                )
            )  # fmt: skip
    copies, looked = _near_twins(split, sample)
    if copies:
        text = f"{plural(len(copies), 'pair')} of {looked} looked at that hardly differ from another of {split.name}"
        advice = "frames of a standing camera; every n-th would do"
        found.append(
            Finding(
                "near-twins", "note", split.name, text, advice, len(copies), looked,
                some([str(twin) for twin in copies]), _drawn("near-twins", (split, split), copies[:1]),
            )
        )  # fmt: skip
    return found


def _equal_files(train: Split, other: Split) -> Iterator[Twin]:
    """Pairs of ``other`` with the bytes of a file of ``train``; the first of ``train`` is named."""
    of_file: dict[bytes, PairRecord] = {}
    for record, facts in train.measured():
        for digest in (facts.rgb_digest, facts.ir_digest):
            of_file.setdefault(digest, record)
    for record, facts in other.measured():
        origin = of_file.get(facts.rgb_digest) or of_file.get(facts.ir_digest)
        if origin is not None:
            yield Twin(origin, record)


def _repeats(split: Split) -> tuple[list[Twin], list[Twin], list[Twin]]:
    """Whole pairs, RGB files and IR files that stood before."""
    rgb: dict[bytes, PairRecord] = {}
    ir: dict[bytes, PairRecord] = {}
    whole: dict[tuple[bytes, bytes], PairRecord] = {}
    found: tuple[list[Twin], list[Twin], list[Twin]] = ([], [], [])
    for record, facts in split.measured():
        both = (facts.rgb_digest, facts.ir_digest)
        origins = (whole.get(both), rgb.get(facts.rgb_digest), ir.get(facts.ir_digest))
        for twins, origin in zip(found, origins, strict=True):
            if origin is not None:
                twins.append(Twin(origin, record))
                break
        whole.setdefault(both, record)
        rgb.setdefault(facts.rgb_digest, record)
        ir.setdefault(facts.ir_digest, record)
    return found


def _look_alike(train: Split, other: Split, known: set[str]) -> tuple[list[Twin], list[Twin], int]:
    """Copies and views of ``train`` in ``other``, and how many pairs were compared pixel by pixel or ruled out."""
    candidates, queries = _descriptions(train), _descriptions(other)
    if not len(candidates[0]) or not len(queries[0]):
        return [], [], 0
    match = nearest(queries[1], candidates[1])
    alike = [
        (int(queries[0][row]), int(candidates[0][match.index[row]]), bool(match.flipped[row]))
        for row in np.flatnonzero(match.score >= _CANDIDATE).tolist()
        if other.pairs.records[int(queries[0][row])].key not in known
    ]
    chosen = [alike[position] for position in evenly(len(alike), _MAX_VERIFIED)]
    found: dict[Sameness, list[Twin]] = defaultdict(list)
    for query, origin, flipped in tqdm(chosen, f"comparing {other.name}", unit="pair", delay=3, disable=None):
        twin = Twin(train.pairs.records[origin], other.pairs.records[query], flipped)
        found[_verify(twin)].append(twin)
    looked = len(queries[0]) - len(known) - (len(alike) - len(chosen))
    return found["copy"], found["view"], looked


def _near_twins(split: Split, sample: int) -> tuple[list[Twin], int]:
    """Pairs of a sample that another one of the split copies but for noise; byte-for-byte copies are told elsewhere."""
    positions, descriptions = _descriptions(split)
    rows = np.array(evenly(len(positions), sample), np.int64)
    if len(positions) < 2:
        return [], 0
    match = nearest(descriptions[rows], descriptions, rows)
    copies: list[Twin] = []
    for row, best in enumerate(match.index.tolist()):
        if match.score[row] < _CANDIDATE:
            continue
        one, other = (int(positions[place]) for place in (rows[row], best))
        if _digests(split, one) == _digests(split, other):
            continue
        twin = Twin(split.pairs.records[one], split.pairs.records[other], bool(match.flipped[row]))
        if _verify(twin) == "copy":
            copies.append(twin)
    return copies, len(rows)


def _verify(twin: Twin) -> Sameness:
    try:
        return sameness(twin.one, twin.other, flipped=twin.flipped)
    except DataError as error:  # it was whole a moment ago
        _log.warning("not compared: %s", error)
        return "other"


def _digests(split: Split, index: int) -> tuple[bytes, bytes] | None:
    facts = split.facts[index]
    return (facts.rgb_digest, facts.ir_digest) if facts is not None else None


def _descriptions(split: Split) -> tuple[IntArray, FloatArray]:
    """Positions (N,) of the measured pairs, and their descriptions (N, 126)."""
    kept = [(index, facts.description) for index, facts in enumerate(split.facts) if facts is not None]
    if not kept:
        return np.zeros(0, np.int64), np.zeros((0, 0), np.float32)
    return np.array([index for index, _ in kept], np.int64), np.stack([description for _, description in kept])


def _drawn(kind: str, splits: tuple[Split, Split], twins: Sequence[Twin]) -> tuple[Picture, ...]:
    return tuple(
        draw_twins(
            f"{kind}-{splits[0].name}-{splits[1].name}-{number}",
            (splits[0].name, twin.one),
            (splits[1].name, twin.other),
            str(twin),
        )
        for number, twin in enumerate(twins[:_DRAWN])
    )
