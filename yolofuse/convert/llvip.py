"""Read LLVIP: pedestrians at night, two aligned cameras, 1280x1024.

Layout: ``visible/{train,test}/010001.jpg``, ``infrared/{train,test}/010001.jpg``, ``Annotations/010001.xml``. The first
two digits are the scene, seen by a fixed camera; neighbouring frames are almost the same image.

Reference:
    LLVIP: A Visible-infrared Paired Dataset for Low-light Vision, arXiv:2108.10831. It has no val split: whole scenes
    of its train part are held out here, since single frames would leak.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from yolofuse.convert.classes import ClassChoice, ClassTable
from yolofuse.convert.conversion_plan import ImageLabels, Plan, SourcePair
from yolofuse.convert.match_labels import warn_other_images
from yolofuse.convert.source_folder import ImagePair, SourceFolder, pair_folders
from yolofuse.convert.val_split import VAL_SHARE, choose_groups
from yolofuse.convert.voc import read_voc

_PARTS = ("train", "test")


def plan_llvip(source: SourceFolder, choice: ClassChoice, *, val_scenes: Sequence[str] | None = None) -> Plan:
    """Return the pairs of LLVIP.

    ``val_scenes`` of train are held out as val; None: those whose frames add up nearest to a tenth of train.
    """
    annotations = source.find_folder("Annotations", "annotations")
    table = ClassTable(source, choice, ("person",))
    images = {part: _images(source, part) for part in _PARTS}
    sizes = Counter(_scene(pair.key) for pair in images["train"])
    chosen = tuple(val_scenes) if val_scenes is not None else choose_groups(sizes)
    unknown = [scene for scene in chosen if scene not in sizes]
    if unknown and sizes:
        source.problems.append(f"--val-scenes: no scene {', '.join(unknown)}; train has {', '.join(sorted(sizes))}")
    if not chosen:
        source.warnings.append("train has one scene, so nothing is held out as val; choose nothing by looking at test")
    files = source.labels(annotations, ".xml") if annotations else {}
    pairs = []
    read: list[tuple[ImagePair, ImageLabels]] = []
    splits = (
        ("train", [pair for pair in images["train"] if _scene(pair.key) not in chosen]),
        ("val", [pair for pair in images["train"] if _scene(pair.key) in chosen]),
        ("test", images["test"]),
    )
    for split, found in splits:
        for pair in found:
            if pair.key not in files:
                source.problems.append(f"{pair.rgb}: no {annotations}/{pair.key}.xml; unpack Annotations again")
                continue
            voc = read_voc(source, files[pair.key])
            read.append((pair, voc))
            boxes = table.boxes(voc.objects)
            tags = {"daynight": "night", "scene": _scene(pair.key)}
            pairs.append(SourcePair(split, pair.key, pair.rgb, pair.ir, (boxes,), tags, voc.size_wh))
    table.report_unknown()
    warn_other_images(source, read)
    return Plan(
        table.names,
        pairs,
        tag_columns=("daynight", "scene"),
        comments=_comments(chosen, source),
        facts={"val_scenes": [*chosen], "train_scenes": {scene: sizes[scene] for scene in sorted(sizes)}},
    )


def _images(source: SourceFolder, part: str) -> list[ImagePair]:
    rgb = source.find_folder(f"visible/{part}", needed=part == "train")
    ir = source.find_folder(f"infrared/{part}", needed=part == "train")
    if rgb is None or ir is None:
        source.warnings.append(f"no visible/{part} and infrared/{part}: the split is left out")
        return []
    return pair_folders(source, rgb, ir)


def _scene(key: str) -> str:
    return key[:2]


def _comments(chosen: Sequence[str], source: SourceFolder) -> tuple[str, ...]:
    return (
        "Jia et al., arXiv:2108.10831; free for non-commercial use under its Term of Use.",
        f"val: scenes {', '.join(chosen) or 'none'} of the published train part, whole (fixed cameras).",
        f"Without --val-scenes: the scenes whose frames come nearest to {VAL_SHARE:.0%} of train.",
        "test: the published test part. Papers report on it; keep it for the end and choose nothing by it.",
        "The labels were corrected on 2023-02-21: results before and after do not compare.",
        f"Hash of the labels read here: {source.annotations_hash()[:16]}",
        "All frames are at night, and the two cameras are registered.",
    )
