"""Check files and label lines: problems with which training refuses to start, and warnings that it logs."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from yolofuse.check.findings import Finding, Severity, first_examples
from yolofuse.check.pair_stats import Split
from yolofuse.data.problems import Problem
from yolofuse.errors import plural

_ADVICE: dict[str, tuple[str, str, str]] = {  # the noun that is counted, what follows it, advice
    "unpaired-rgb": ("RGB image", "without an IR partner", "add the IR file, or remove the RGB file"),
    "unpaired-ir": ("IR image", "without an RGB partner", "add the RGB file, or remove the IR file"),
    "outside": (
        "link",
        "that points outside the data set",
        "name its folder under links in the descriptor",
    ),
    "unreadable": ("image", "that can't be decoded", "fetch it again, or remove the pair"),
    "size-mismatch": (
        "pair",
        "whose sizes differ",
        "turn those stored sideways; else bring both to one size, or set resize",
    ),
    "names": ("source", "whose files pair by no name", "write the patterns of the message"),
    "same-stem": ("image", "with the stem of another", "keep one of the two"),
    "shared-image": ("error", "about images of several cameras or pairs", "give each pair its own two images"),
    "twin-pair": ("pair", "that is in the split twice", "name its folder, or its line, once"),
    "shared-label": ("source", "with labels of other images", "name the folder or file of its own labels"),
    "orphan-label": ("label", "without an image", "remove the label, or find its image"),
    "foreign-label": ("image", "whose labels are of a format that is not read", "convert them: yolofuse prepare voc"),
    "class-id": ("label line", "with a class that does not exist", "fix the id, or the descriptor's names"),
    "box-outside": ("box", "with its centre or size outside the image", "divide by the image's size; fix the line"),
    "bad-label": ("label line", "that can't be read", "write 'class x y w h', normalised to 0..1"),
    "key-points": ("split", "whose label lines seem to be key points", "keep the first five numbers of each line"),
    "class-list": ("class list", "in contradiction to names", "correct names in the descriptor, or the list"),
    "bit-depth": ("pair", "whose bit depth does not fit", "use one depth in a source; give deep images an ir_window"),
    "window": (
        "ir_window",
        "that can't be computed",
        "fix the images, or give [low, high]; IR findings are at 0 .. 65535",
    ),
    "missing-file": ("file", "that is listed but not there", "fix the list, or add the file"),
    "no-images": ("source", "without a pair", "fix the descriptor's paths"),
    "tags": ("error", "of the tags", "fix the tag file"),
    "manifest": ("error", "of the manifest", "fix its rows"),
    "list": ("error", "of the list", "fix its lines"),
    "coco": ("error", "of the COCO file", "fix its records"),
}
_WARNED: dict[str, tuple[str, str, str]] = {
    "foreign-label": ("source", "with files among its labels that are not read", "move them elsewhere"),
    "shared-image": ("warning", "about images of several pairs", "check that each pair has the images of its scene"),
    "foreign-image": ("source", "with images of formats that are not read", "convert them to PNG or JPEG"),
    "service-folder": ("source", "with service folders, which are left out", "remove them, if they are no data"),
    "bare-folder": ("source", "with folders of which no pair has a label", "add the labels, or remove such folders"),
    "coco": ("warning", "about the COCO file", "check that it belongs to these images and classes"),
    "manifest": ("warning", "about the manifest", "check that each row has the label file of its own image"),
}
_NOTED = {"orientation", "polygons"}  # said in whole sentences


def check_files(split: Split, root: Path) -> list[Finding]:
    """Return a finding for each kind of problem, which is an error, and of warning that a split's files have.

    Messages leave out the folder ``root``. Boxes that are given twice are left to ``check_boxes``.
    """
    findings = []
    found: tuple[tuple[Severity, Sequence[Problem]], ...] = (("error", split.problems), ("warning", split.warnings))
    for severity, given in found:
        groups: dict[str, list[str]] = defaultdict(list)
        for problem in given:
            if problem.kind != "twin-box":
                groups[_kind(problem)].append(problem.text.replace(os.fspath(root) + os.sep, ""))
        findings += [_finding(kind, texts, split.name, severity) for kind, texts in groups.items()]
    return findings


def _kind(problem: Problem) -> str:
    """Return the problem's kind; bad labels are divided by what is wrong with the line."""
    if problem.kind != "bad-label":
        return problem.kind
    if "class must be" in problem.text:
        return "class-id"
    return "box-outside" if "must lie in 0..1" in problem.text else "bad-label"


def _finding(kind: str, texts: Sequence[str], where: str, severity: Severity) -> Finding:
    if kind in _NOTED:
        return Finding(kind, "note", where, "; ".join(text.partition(": ")[2] for text in texts))
    known = _ADVICE if severity == "error" else _WARNED
    noun, rest, advice = known.get(kind, (severity, f"of kind {kind}", "see the messages"))
    text = plural(len(texts), noun, rest) + ("; training refuses to start" if severity == "error" else "")
    return Finding(kind, severity, where, text, advice, count=len(texts), examples=first_examples(texts))
