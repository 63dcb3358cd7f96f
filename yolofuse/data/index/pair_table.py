"""Store the pairs of a split as columns, and make records on access."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np

from yolofuse.data.pair_formats import Overlay, overlay_of
from yolofuse.types import ByteArray, IntArray, Modality, PairFormat, PairRecord

WindowBits = Mapping[tuple[float, float], Mapping[int, Path]]
"""Depths in bits of the thermal images that each window is used for, with one of their files."""


class TextColumn:
    """A sequence of strings, stored as one array of UTF-8 bytes.

    Forked worker processes share such arrays with their parent. A list of strings is copied to each of them page by
    page, since reading a string changes its reference count.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        # A file name may hold bytes that are not UTF-8; they are kept as surrogates, as Python does.
        coded = [text.encode(errors="surrogateescape") for text in texts]
        self.offsets = np.cumsum([0, *map(len, coded)], dtype=np.int64)
        self.content: ByteArray = np.frombuffer(b"".join(coded), np.uint8)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index: int) -> str:
        start, stop = self.offsets[index], self.offsets[index + 1]
        return self.content[start:stop].tobytes().decode(errors="surrogateescape")


@dataclass(frozen=True, slots=True, eq=False)
class PairTable(Sequence[PairRecord]):
    """A sequence of records that takes tens of bytes per pair and is shared by forked workers."""

    keys: TextColumn
    rgb: TextColumn  # files below the root of each pair's source; empty where there is none
    ir: TextColumn
    labels: TextColumn  # empty where there is none
    rgb_hw: IntArray  # (N, 2) pixels
    ir_hw: IntArray  # (N, 2) pixels
    source: np.ndarray  # (N,) index of each pair's source
    roots: tuple[Path, ...]  # folder of each source
    formats: tuple[PairFormat, ...]  # how pairs are read, per source
    tag_code: np.ndarray  # (N,) index of each pair's tags in ``tags``
    tags: tuple[Mapping[str, str], ...]  # the distinct ones

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
        rgb, ir = self.rgb[index], self.ir[index]
        return PairRecord(
            image_id=index + 1,
            key=self.keys[index],
            rgb=root / rgb,
            ir=root / ir,
            label=root / label if label else None,
            rgb_hw=(int(self.rgb_hw[index, 0]), int(self.rgb_hw[index, 1])),
            ir_hw=(int(self.ir_hw[index, 0]), int(self.ir_hw[index, 1])),
            format=self.formats[self.source[index]],
            tags=self.tags[self.tag_code[index]],
            missing=None if rgb and ir else "ir" if rgb else "rgb",
        )

    def num_missing(self, modality: Modality) -> int:
        """Return the number of pairs without an image of a camera."""
        names = self.rgb if modality == "rgb" else self.ir
        return int((np.diff(names.offsets) == 0).sum())

    def overlays(self) -> list[Overlay]:
        """Return how the two images of pairs lie on each other, each way once."""
        both = (np.diff(self.rgb.offsets) > 0) & (np.diff(self.ir.offsets) > 0)
        rows = np.unique(np.column_stack([self.source, self.rgb_hw, self.ir_hw])[both], axis=0).tolist()
        found = [overlay_of((h, w), (ir_h, ir_w), self.formats[source]) for source, h, w, ir_h, ir_w in rows]
        return [*dict.fromkeys(found)]

    def window_bits(self, ir_bits: np.ndarray) -> WindowBits:
        """Return the depths that are read through each window; ``ir_bits`` (N,) are those of all pairs."""
        found: dict[tuple[float, float], dict[int, Path]] = {}
        exists = np.diff(self.ir.offsets) > 0
        for source, pair_format in enumerate(self.formats):
            if pair_format.ir_window is not None:
                rows = np.flatnonzero((self.source == source) & exists)
                bits, first = np.unique(ir_bits[rows], return_index=True)
                files = {depth: self[i].ir for depth, i in zip(bits.tolist(), rows[first].tolist(), strict=True)}
                found[pair_format.ir_window] = files | found.get(pair_format.ir_window, {})
        return found

    @property
    def sizes_hw(self) -> IntArray:
        """(N, 2): height and width of each pair's frame in pixels."""
        of_rgb = np.array([pair_format.frame == "rgb" for pair_format in self.formats])[self.source]
        return np.where(of_rgb[:, None], self.rgb_hw, self.ir_hw)
