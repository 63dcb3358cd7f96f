"""Read M3FD: streets and campus by day, night and in fog, 4200 registered pairs, 1024x768, six classes.

Layout: ``Vis/00000.png``, ``Ir/00000.png``, ``Annotation/00000.xml`` (folders also in small letters or plural).

Reference:
    Target-aware Dual Adversarial Learning (TarDAL), arXiv:2203.16220. It publishes no split, and papers draw their own.
"""

from __future__ import annotations

from yolofuse.convert.classes import ClassChoice, ClassTable
from yolofuse.convert.conversion_plan import ImageLabels, Plan, SourcePair
from yolofuse.convert.match_labels import warn_other_images
from yolofuse.convert.source_folder import ImagePair, SourceFolder, pair_folders
from yolofuse.convert.val_split import split_by_hash
from yolofuse.convert.voc import read_voc

NAMES = ("People", "Car", "Bus", "Motorcycle", "Lamp", "Truck")


def plan_m3fd(source: SourceFolder, choice: ClassChoice, *, seed: int = 0, val_share: float = 0.2) -> Plan:
    """Return the pairs of M3FD; the share ``val_share`` of them, chosen by ``seed``, becomes val."""
    rgb = source.find_folder("Vis", "vis", "visible")
    ir = source.find_folder("Ir", "ir", "infrared")
    folder = source.find_folder("Annotation", "Annotations", "annotation", "annotations")
    table = ClassTable(source, choice, NAMES)
    if rgb is None or ir is None or folder is None:
        return Plan(table.names, [])
    files = source.labels(folder, ".xml")
    pairs = []
    read: list[tuple[ImagePair, ImageLabels]] = []
    for split, found in split_by_hash(source, pair_folders(source, rgb, ir), seed, val_share):
        for pair in found:
            if pair.key not in files:
                source.problems.append(f"{pair.rgb}: no {folder}/{pair.key}.xml; unpack it again")
                continue
            voc = read_voc(source, files[pair.key])
            read.append((pair, voc))
            boxes = table.boxes(voc.objects)
            pairs.append(SourcePair(split, pair.key, pair.rgb, pair.ir, (boxes,), annotated_wh=voc.size_wh))
    table.report_unknown()
    warn_other_images(source, read)
    comments = (
        "Liu et al., TarDAL, arXiv:2203.16220; for academic use.",
        "There is no official split. This one anybody can compute: pairs ranked by the SHA-256 of '<seed>:<stem>', "
        f"the first {val_share:.0%} are val; seed {seed}.",
        "Neighbours in time share a scene and fall on both sides, so val looks better than new streets will:",
        "compare only with results of the same split.",
    )
    return Plan(table.names, pairs, comments=comments)
