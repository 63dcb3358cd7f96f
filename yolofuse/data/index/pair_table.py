"""Store the pairs of a split as columns, and make records on access."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from yolofuse.data.index.text_column import TextColumn
from yolofuse.types import IntArray, PairFormat, PairRecord


@dataclass(frozen=True, slots=True, eq=False)
class PairTable(Sequence[PairRecord]):
    """A sequence of records that takes tens of bytes per pair and is shared by forked workers.

    Attributes:
        keys: Key of each pair.
        rgb: File of the visible image, below the root of the pair's source.
        ir: File of the thermal image, likewise.
        labels: Label file, likewise; empty where there is none.
        rgb_hw: (N, 2) pixels.
        ir_hw: (N, 2) pixels.
        source: (N,) index of each pair's source.
        roots: Folder of each source.
        formats: How pairs are read, per source.
        tag_code: (N,) index of each pair's tags in ``tags``.
        tags: The distinct tags.
    """

    keys: TextColumn
    rgb: TextColumn
    ir: TextColumn
    labels: TextColumn
    rgb_hw: IntArray
    ir_hw: IntArray
    source: np.ndarray
    roots: tuple[Path, ...]
    formats: tuple[PairFormat, ...]
    tag_code: np.ndarray
    tags: tuple[Mapping[str, str], ...]

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> PairRecord: ...

    @overload
    def __getitem__(self, index: slice) -> list[PairRecord]: ...

    def __getitem__(self, index: int | slice) -> PairRecord | list[PairRecord]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        root, label = self.roots[self.source[index]], self.labels[index]
        return PairRecord(
            image_id=index + 1,
            key=self.keys[index],
            rgb=root / self.rgb[index],
            ir=root / self.ir[index],
            label=root / label if label else None,
            rgb_hw=(int(self.rgb_hw[index, 0]), int(self.rgb_hw[index, 1])),
            ir_hw=(int(self.ir_hw[index, 0]), int(self.ir_hw[index, 1])),
            format=self.formats[self.source[index]],
            tags=self.tags[self.tag_code[index]],
        )

    @property
    def sizes_hw(self) -> IntArray:
        """(N, 2): height and width of each pair's frame in pixels."""
        of_rgb = np.array([pair_format.frame == "rgb" for pair_format in self.formats])[self.source]
        return np.where(of_rgb[:, None], self.rgb_hw, self.ir_hw)
