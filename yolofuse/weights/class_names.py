"""Match the classes of a data set with those that a file of weights knows, by name, alias or an explicit map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from yolofuse.errors import ConfigError, did_you_mean, listing

CLASS_ALIASES: tuple[tuple[str, ...], ...] = (
    ("person", "people", "pedestrian", "persons", "pedestrians", "human"),
    ("car", "cars"),
    ("bicycle", "bike", "bicycles", "cycle"),
    ("motorcycle", "motorbike", "motor", "motorcycles"),
    ("bus", "buses"),
    ("truck", "trucks", "lorry", "pickup", "pickup truck", "freight car", "feright car"),
    ("airplane", "plane", "aeroplane", "aircraft"),
    ("boat", "ship", "boats"),
    ("traffic light", "light"),
    ("fire hydrant", "hydrant"),
    ("cat", "cats"),
    ("dog", "dogs"),
    ("couch", "sofa"),
    ("tv", "tvmonitor", "tv monitor"),
    ("dining table", "diningtable"),
    ("potted plant", "pottedplant"),
)
"""Names of one class in COCO, LLVIP, FLIR, KAIST, M3FD, DroneVehicle, VEDAI and VOC. A name that the weights have
themselves goes before an alias. ``weights.class_map`` adds to this."""

MatchKind = Literal["name", "alias", "class_map", "new"]


@dataclass(frozen=True)
class ClassMatch:
    """Origin of the head's rows of one class.

    Attributes:
        name: The class in the data set.
        row: The class of the weights whose rows it starts from; None for a new class.
        source: That class's name, where the weights name it.
        kind: How it was found.
    """

    name: str
    row: int | None
    source: str | None
    kind: MatchKind


def match_classes(
    names: Sequence[str], source_names: Sequence[str], class_map: Mapping[str, str] | None = None
) -> tuple[ClassMatch, ...]:
    """Find for each class of a data set the class of the weights that it starts from.

    Args:
        names: Classes of the data set.
        source_names: Classes of the weights.
        class_map: From a class of the data set to one of the weights, or to "" for a class to be learnt anew.

    Raises:
        ConfigError: If the map names a class that does not exist.
    """
    class_map = class_map or {}
    row_of = {_plain(name): row for row, name in reversed(list(enumerate(source_names)))}
    mapped = {_plain(name): target for name, target in class_map.items()}
    _check_map(class_map, names, source_names, row_of)
    found = []
    for name in names:
        row, kind = _find(_plain(name), row_of, mapped)
        found.append(ClassMatch(name, row, None if row is None else source_names[row], kind))
    return tuple(found)


def _find(name: str, row_of: Mapping[str, int], mapped: Mapping[str, str]) -> tuple[int | None, MatchKind]:
    if name in mapped:
        return (row_of[_plain(mapped[name])], "class_map") if mapped[name] else (None, "new")
    if name in row_of:
        return row_of[name], "name"
    for group in CLASS_ALIASES:
        if name in group:
            known = [alias for alias in group if alias in row_of]
            if known:
                return row_of[known[0]], "alias"
    return None, "new"


def _check_map(
    class_map: Mapping[str, str], names: Sequence[str], source_names: Sequence[str], row_of: Mapping[str, int]
) -> None:
    ours = {_plain(name) for name in names}
    problems = [f"{n}: no class of the data{did_you_mean(n, names)}" for n in class_map if _plain(n) not in ours]
    problems += [
        f"{name}: the weights have no class {target!r}{did_you_mean(target, source_names)}"
        for name, target in class_map.items()
        if target and _plain(target) not in row_of
    ]
    if problems:
        raise ConfigError(listing("weights.class_map", problems, "wrong name"))


def _plain(name: str) -> str:
    """Return a name in small letters, its words separated by single spaces."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
