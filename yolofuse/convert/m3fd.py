"""Read M3FD: streets and campus by day, night and in fog, 4200 registered pairs, 1024x768, six classes.

Layout: ``Vis/00000.png``, ``Ir/00000.png``, ``Annotation/00000.xml`` (folders also in small letters or plural).

Reference:
    Target-aware Dual Adversarial Learning (TarDAL), arXiv:2203.16220. It publishes no split, and papers draw their own.
"""

from __future__ import annotations

from yolofuse.convert.classes import ClassChoice, ClassTable
from yolofuse.convert.conversion_plan import Plan, SourcePair
from yolofuse.convert.paired_folders import pair_folders
from yolofuse.convert.source_folder import SourceFolder
from yolofuse.convert.val_split import choose_by_hash
from yolofuse.convert.voc import read_voc, voc_boxes

NAMES = ("People", "Car", "Bus", "Motorcycle", "Lamp", "Truck")


def plan_m3fd(source: SourceFolder, choice: ClassChoice, *, seed: int = 0, val_share: float = 0.2) -> Plan:
    """Return the pairs of M3FD.

    Args:
        source: The unpacked data set.
        choice: Classes; six by default.
        seed: Seed of the split.
        val_share: Share of the pairs that become val.
    """
    rgb = source.find_folder("Vis", "vis", "visible")
    ir = source.find_folder("Ir", "ir", "infrared")
    folder = source.find_folder("Annotation", "Annotations", "annotation", "annotations")
    table = ClassTable(source, choice, NAMES)
    if not 0 < val_share < 1:
        source.problems.append(f"--val-share: must lie between 0 and 1 (got {val_share})")
    if rgb is None or ir is None or folder is None:
        return Plan(table.names, [])
    files = source.files(folder, (".xml",))
    found = pair_folders(source, rgb, ir)
    val = choose_by_hash([pair.key for pair in found], seed, val_share)
    pairs = []
    for split in ("train", "val"):
        for pair in found:
            if (pair.key in val) != (split == "val"):
                continue
            if pair.key not in files:
                source.problems.append(f"{pair.rgb}: no {folder}/{pair.key}.xml; unpack it again")
                continue
            voc = read_voc(source, files[pair.key])
            boxes = voc_boxes(source, voc, table)
            pairs.append(SourcePair(split, pair.key, pair.rgb, pair.ir, (boxes,), annotated_wh=voc.size_wh))
    table.report_unknown()
    comments = (
        "Liu et al., TarDAL, arXiv:2203.16220; for academic use.",
        "There is no official split. This one anybody can compute: pairs ranked by the SHA-256 of '<seed>:<stem>', "
        f"the first {val_share:.0%} are val; seed {seed}.",
        "Neighbours in time share a scene and fall on both sides, so val looks better than new streets will:",
        "compare only with results of the same split.",
    )
    return Plan(table.names, pairs, comments=comments)
