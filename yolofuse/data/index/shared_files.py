"""Find images that stand for several: one file for both cameras, one thermal image for many scenes, a pair twice."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from yolofuse.data.descriptor.source import Source
from yolofuse.data.index.matches import Matches
from yolofuse.data.problems import Problem, join_names
from yolofuse.errors import plural
from yolofuse.types import Modality

_MANY = 3  # pairs that have one image between them: the other camera saw nothing of the scenes


def find_shared_images(source: Source, matches: Matches) -> tuple[list[Problem], list[Problem]]:
    """Return errors and warnings about files of a source that are both images of a pair, or images of several pairs."""
    if source.stacked:
        return [], []
    both = matches.has("rgb") & matches.has("ir")
    is_same = both & (matches.stamps[:, 0] == matches.stamps[:, 1]).all(axis=1)
    problems: list[Problem] = []
    warnings: list[Problem] = []
    for i in np.flatnonzero(is_same).tolist():
        text = f"{matches.keys[i]}: rgb and ir are one file, {source.root / matches.ir[i]}; each camera needs its own"
        problems.append(Problem("shared-image", matches.keys[i], f"{source.where}: {text}"))
    cameras: tuple[tuple[Modality, str], ...] = (("rgb", "visible"), ("ir", "thermal"))
    for position, (modality, name) in enumerate(cameras):
        rows = np.flatnonzero(matches.has(modality))
        _, first, counts = np.unique(matches.stamps[rows, position], axis=0, return_index=True, return_counts=True)
        shared = rows[first[counts > 1]].tolist()
        if not shared or is_same.any():
            continue
        files = (matches.rgb, matches.ir)[position]
        num_pairs = plural(int(counts[counts > 1].sum()), "pair")
        text = f"{source.where}: {num_pairs} have {plural(len(shared), name + ' image')} between them, such as "
        text += join_names(files[i] for i in sorted(shared)[:3])
        found = Problem("shared-image", source.where, f"{text}; check that each has the image of its own scene")
        (problems if len(counts) == 1 and len(rows) >= _MANY else warnings).append(found)
    return problems, warnings


def find_twins(parts: Sequence[tuple[Source, Matches]]) -> list[tuple[int, Problem]]:
    """Return pairs that a split has already, each with its position; the same labels must be the source's, too."""
    first: dict[tuple[str, ...], tuple[Source, str]] = {}
    problems = []
    position = 0
    for source, matches in parts:
        root, coco = os.path.realpath(source.root), str(source.coco or "")
        for key, rgb, ir in zip(matches.keys, matches.rgb, matches.ir, strict=True):
            known, known_key = first.setdefault((root, rgb, ir, coco), (source, key))
            if known is not source or known_key != key:
                text = f"{source.where}: {key} is {known_key} of {known.where}; it would count twice, so name it once"
                problems.append((position, Problem("twin-pair", key, text)))
            position += 1
    return problems
