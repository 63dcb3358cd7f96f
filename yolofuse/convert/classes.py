"""Class names of a source: which are kept, which published practice drops, and which nobody has spoken about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from yolofuse.convert.origin import Origin


@dataclass(frozen=True, slots=True)
class ClassChoice:
    """What the user wants; ``classes`` None takes what the format's published practice takes."""

    classes: tuple[str, ...] | None = None
    drop: tuple[str, ...] = ()


class ClassTable:
    """Turns a source's words into class ids.

    Args:
        origin: Where unknown names and dropped boxes are noted.
        choice: What the user wants.
        names: Classes by default, in order.
        drop: Classes that practice leaves out; they are counted.
        aliases: Other spellings of a name.
    """

    def __init__(
        self,
        origin: Origin,
        choice: ClassChoice,
        names: tuple[str, ...],
        drop: tuple[str, ...] = (),
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.names = choice.classes or names
        self._origin = origin
        self._aliases = aliases or {}
        self._ids = {name: index for index, name in enumerate(self.names)}
        self._dropped = frozenset(drop + choice.drop) - frozenset(self.names)
        self._unknown: dict[str, list[str]] = {}
        if len(self._ids) != len(self.names):
            origin.problems.append(f"--classes: a name stands twice (got {','.join(self.names)})")
        both = sorted(frozenset(choice.classes or ()) & frozenset(choice.drop))
        if both:
            origin.problems.append(f"--drop: {', '.join(both)} stands in --classes too; name it once")

    def index(self, name: str, where: str) -> int | None:
        """The id of a class; None if its box is left out, or if nobody knows the name, which ``finish`` reports."""
        name = self._aliases.get(name, name)
        if name in self._ids:
            return self._ids[name]
        if name in self._dropped:
            self._origin.leave_out(f"boxes of class {name!r}", where)
        else:
            self._unknown.setdefault(name, []).append(where)
        return None

    def finish(self) -> None:
        """Make a problem of each name that is neither kept nor dropped."""
        for name, places in sorted(self._unknown.items()):
            more = f" and {len(places) - 1} more" if len(places) > 1 else ""
            self._origin.problems.append(
                f"{places[0]}{more}: unknown class {name!r}; known are {', '.join(self.names)}. "
                f"Name all you want in --classes, and in --drop what is to be left out"
            )
