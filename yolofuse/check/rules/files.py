"""Findings about files and label lines: what training would refuse to start with."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from yolofuse.check.findings import Finding, plural, some
from yolofuse.check.split_data import Split
from yolofuse.data.problems import Problem

_ADVICE: dict[str, tuple[str, str]] = {
    "unpaired-rgb": ("RGB image without an IR partner", "add the IR file, or remove the RGB file"),
    "unpaired-ir": ("IR image without an RGB partner", "add the RGB file, or remove the IR file"),
    "outside": ("link that leads out of the data set", "name its folder under links in the descriptor, or remove it"),
    "unreadable": ("image that can't be decoded", "fetch it again, or remove the pair"),
    "size-mismatch": ("pair whose sizes differ", "bring both to one size, or say in the descriptor how they fit"),
    "same-stem": ("image with the stem of another", "keep one of the two"),
    "orphan-label": ("label without an image", "remove the label, or find its image"),
    "class-id": ("label line with a class that does not exist", "mend the id, or the descriptor's names"),
    "box-outside": ("box with its centre or size outside the image", "divide by the image's size; mend the line"),
    "bad-label": ("label line that can't be read", "write 'class x y w h', normalised to 0..1"),
    "bit-depth": ("pair whose bit depth does not fit", "use one depth in a source; give deep images an ir_window"),
    "missing-file": ("file that is listed but not there", "mend the list, or add the file"),
    "no-images": ("folder or list without a pair", "mend the descriptor's paths"),
    "tags": ("fault of the tags", "mend the tag file"),
    "manifest": ("fault of the manifest", "mend its rows"),
    "list": ("fault of the list", "mend its lines"),
    "coco": ("fault of the COCO file", "mend its records"),
}


def judge_files(split: Split, root: Path) -> list[Finding]:
    """One error for each kind of fault: training refuses to start with any of them.

    Args:
        split: The split.
        root: Folder of the data set, left out of messages.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for problem in split.problems:
        groups[_kind(problem)].append(_short(problem.text, root))
    return [_finding(kind, texts, split.name) for kind, texts in groups.items()]


def _kind(problem: Problem) -> str:
    """The problem's kind; a bad label's by what its line has wrong."""
    if problem.kind != "bad-label":
        return problem.kind
    if "class must be" in problem.text:
        return "class-id"
    return "box-outside" if "must lie in 0..1" in problem.text else "bad-label"


def _finding(kind: str, texts: Sequence[str], where: str) -> Finding:
    what, advice = _ADVICE.get(kind, ("fault of kind " + kind, "see the messages"))
    head, _, rest = what.partition(" ")
    text = f"{plural(len(texts), head)}{' ' + rest if rest else ''}; training refuses to start"
    return Finding(kind, "error", where, text, advice, count=len(texts), examples=some(texts))


def _short(text: str, root: Path) -> str:
    return text.replace(os.fspath(root) + os.sep, "")
