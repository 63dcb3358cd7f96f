"""Map the class names of a source to ids: which are kept, which are dropped, and which are unknown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from yolofuse.convert.conversion_plan import SourceBox, SourceObject
from yolofuse.convert.source_folder import SourceFolder
from yolofuse.errors import did_you_mean
from yolofuse.files import composed


def _alike(names: Iterable[str]) -> list[list[str]]:
    """Return the names that differ from others in case or spaces alone, each with those."""
    groups: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        groups.setdefault("".join(name.casefold().split()), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


@dataclass(frozen=True, slots=True)
class ClassChoice:
    """The classes to keep and to drop; ``classes`` None keeps those of the format's published practice."""

    classes: tuple[str, ...] | None = None
    drop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", self.classes and tuple(map(composed, self.classes)))
        object.__setattr__(self, "drop", tuple(map(composed, self.drop)))


class ClassTable:
    """Maps a source's class names to class ids: ``names`` in their order, unless the user chose others.

    Unknown names and the boxes of dropped classes are recorded in ``source``. ``drop`` are the classes that published
    practice leaves out, ``aliases`` other spellings of a name.
    """

    def __init__(
        self,
        source: SourceFolder,
        choice: ClassChoice,
        names: tuple[str, ...],
        drop: tuple[str, ...] = (),
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.names = choice.classes or names
        self._source = source
        self._aliases = aliases or {}
        self._ids = {name: index for index, name in enumerate(self.names)}
        self._dropped = frozenset(drop + choice.drop) - frozenset(self.names)
        self._unknown: dict[str, list[str]] = {}
        self._not_found = dict.fromkeys(choice.drop)
        if len(self._ids) != len(self.names):
            source.problems.append(f"--classes: a name is given twice (got {','.join(self.names)})")
        for alike in _alike(self.names):
            source.warnings.append(
                f"classes {', '.join(map(repr, alike))} differ in case or spaces alone, and are probably one; each is "
                "a class of its own until the labels spell it in one way"
            )
        both = sorted(frozenset(choice.classes or ()) & frozenset(choice.drop))
        if both:
            source.problems.append(f"--drop: {', '.join(both)} is in --classes too; name it once")

    def boxes(self, objects: Iterable[SourceObject], boxless: str = "") -> list[SourceBox]:
        """Return the boxes of the classes that are kept.

        An object of theirs without a box is left out for the reason ``boxless``; without a reason it is a problem.
        """
        boxes = []
        for obj in objects:
            class_id = self._index(obj.name, obj.where)
            if class_id is None:
                continue
            if obj.xyxy is not None:
                boxes.append(SourceBox(class_id, obj.xyxy, obj.where, obj.ignore, obj.occlusion))
            elif boxless:
                self._source.leave_out(boxless, obj.where)
            else:
                problem = f"{obj.where}: <object> without <bndbox>; add one or remove the object"
                self._source.problems.append(problem)
        return boxes

    def _index(self, name: str, where: str) -> int | None:
        """Return the id of a class; None if its boxes are dropped or the name is unknown (see ``report_unknown``)."""
        self._not_found.pop(name, None)
        name = self._aliases.get(name, name)
        self._not_found.pop(name, None)
        if name in self._ids:
            return self._ids[name]
        if name in self._dropped:
            self._source.leave_out(f"boxes of class {name!r}", where)
        else:
            self._unknown.setdefault(name, []).append(where)
        return None

    def report_unknown(self) -> None:
        """Add a problem for each name that is neither kept nor dropped; warn of names to drop that no box has."""
        for name in self._not_found:
            self._source.warnings.append(f"--drop: no box is of class {name!r}{did_you_mean(name, self.names)}")
        for name, places in sorted(self._unknown.items()):
            more = f" and {len(places) - 1} more" if len(places) > 1 else ""
            self._source.problems.append(
                f"{places[0]}{more}: unknown class {name!r}; known are {', '.join(self.names)}"
                f"{did_you_mean(name, self.names) or '.'} Name those to keep in --classes, "
                f"and those to leave out in --drop"
            )
