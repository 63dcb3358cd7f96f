"""Tell polygons from key points in label lines of more than five numbers, by all such lines of a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from yolofuse.data.problems import Problem

_SLACK = 0.01  # by which a key point, or a box, may lie outside
_FAR = {6: 2.0, 8: 1.0}  # for 0.5: triangles and diamonds have far corners as well
_Point = tuple[float, float]
_SHARE = 0.1  # of the lines; fewer that look like key points are polygons of an odd shape


@dataclass(slots=True)
class LongLines:
    """Counts of lines ``class x y x y ...``, which may be ``class x y w h kx ky ...`` instead.

    The box of key points lies in the image, as the first corners of about half of all polygons do when read as one. But
    ``w h`` is no corner: as one, it lies far from the others, or makes a quadrangle that crosses itself.
    """

    num_lines: int = 0
    num_files: int = 0
    num_key_points: int = 0  # lines that can hardly be polygons
    num_polygons: int = 0  # lines that can't be key points; the others may be either
    first: str = ""  # ``file:line`` of the first that can hardly be a polygon

    def add_line(self, numbers: Sequence[float], where: str) -> None:
        """Count the numbers after the class of a line at ``where``, in 0..1."""
        self.num_files = 1
        self.num_lines += 1
        x, y, w, h = numbers[:4]
        if min(x, 1 - x) < w / 2 - _SLACK or min(y, 1 - y) < h / 2 - _SLACK:
            self.num_polygons += 1
        elif _look_like_key_points(numbers):
            self.num_key_points += 1
            self.first = self.first or where

    def add(self, other: LongLines) -> None:
        """Add the counts of another file."""
        for name in ("num_lines", "num_files", "num_key_points", "num_polygons"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.first = self.first or other.first

    def problems(self, where: str) -> list[Problem]:
        """Return an error if these lines are key points."""
        if self.num_key_points <= max(self.num_polygons, _SHARE * self.num_lines):
            return []
        text = (
            f"{where}: {self.num_lines} label lines have more than 5 numbers, and they look like a box with key "
            f"points, 'class x y w h kx ky ...', such as {self.first}; key points are not read: keep the first five "
            "numbers"
        )
        return [Problem("key-points", where, text)]

    def warnings(self, where: str) -> list[Problem]:
        """Return a note with the number of polygons, if there are any."""
        if not self.num_lines or self.problems(where):
            return []
        text = f"{self.num_lines} polygons in {self.num_files} label files are used as the boxes around them"
        return [Problem("polygons", where, f"{where}: {text}")]


def _look_like_key_points(numbers: Sequence[float]) -> bool:
    """Return whether numbers that begin with a box in the image can hardly be the corners of a polygon."""
    has_visibility = len(numbers) % 3 == 1 and all(value in (0, 1) for value in numbers[6::3])
    step = 3 if has_visibility else 2
    points = [point for point in zip(numbers[4::step], numbers[5::step], strict=True) if any(point)]
    x, y, w, h = numbers[:4]
    if all(abs(kx - x) <= w / 2 + _SLACK and abs(ky - y) <= h / 2 + _SLACK for kx, ky in points):
        return has_visibility or _is_far((w, h), [(x, y), *points], _FAR.get(len(numbers), 0.5))
    return len(points) == 2 and _cross([(x, y), (w, h), *points])


def _is_far(corner: _Point, others: Sequence[_Point], limit: float) -> bool:
    """Return whether a corner lies outside the box around the others by more than ``limit`` longer sides."""
    spans: list[_Point] = [(min(axis), max(axis)) for axis in zip(*others, strict=True)]
    outside: float = max(max(low - value, value - high) for value, (low, high) in zip(corner, spans, strict=True))
    return outside > limit * max(high - low for low, high in spans)


def _cross(corners: Sequence[_Point]) -> bool:
    """Return whether opposite sides of a quadrangle cross."""
    a, b, c, d = corners
    return any(
        _side(p, q, r) * _side(p, q, s) < 0 and _side(r, s, p) * _side(r, s, q) < 0
        for p, q, r, s in ((a, b, c, d), (b, c, d, a))
    )


def _side(a: _Point, b: _Point, c: _Point) -> float:
    """Return on which side of the line from a to b a point is, as a sign."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
