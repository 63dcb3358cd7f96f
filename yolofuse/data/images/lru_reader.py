"""Read pairs at training size, and keep the most recent ones: that saves time and never changes pixels."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from yolofuse.data.images.read_pair import read_pair, training_hw
from yolofuse.types import PairRecord, PixelArray


class Reader(Protocol):
    """Reads the pixels of pairs at training size."""

    def read(self, index: int) -> PixelArray:
        """Return the pixels of the pair at a position. They are shared: do not write to them.

        Shapes:
            -> uint8 or uint16 (h, w, 4): R, G, B, IR, with (h, w) of ``training_hw``
        """
        ...


class LruReader:
    """Decode files at training size ``longest``, in pixels, and keep the ``capacity`` pairs that were used last."""

    def __init__(self, records: Sequence[PairRecord], longest: int, capacity: int) -> None:
        self._records = records
        self._longest = longest
        self._capacity = capacity
        self._recent: OrderedDict[int, PixelArray] = OrderedDict()

    def read(self, index: int) -> PixelArray:
        """Return the pixels of the pair at a position, see :class:`Reader`."""
        if index not in self._recent:
            record = self._records[index]
            self._recent[index] = read_pair(record, training_hw(record.size_hw, self._longest))
        self._recent.move_to_end(index)
        pixels = self._recent[index]
        if len(self._recent) > self._capacity:
            self._recent.popitem(last=False)
        return pixels
