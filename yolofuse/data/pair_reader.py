"""Read pairs and remember the last few. What is remembered changes the time a sample takes, never its pixels."""

from __future__ import annotations

from collections import OrderedDict

from yolofuse.data.image_io import read_pair
from yolofuse.types import ByteArray, PairRecord


class PairReader:
    """:func:`read_pair` with a memory of the ``capacity`` pairs used last."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._recent: OrderedDict[tuple[int, int], ByteArray] = OrderedDict()

    def read(self, record: PairRecord, reduction: int) -> ByteArray:
        """The pair's pixels, ``reduction`` times smaller. They are shared: not to be written to.

        Shapes:
            -> uint8 (ceil(H / reduction), ceil(W / reduction), 4): R, G, B, IR
        """
        if not self._capacity:
            return read_pair(record, reduction)
        key = (record.image_id, reduction)
        if key not in self._recent:
            self._recent[key] = read_pair(record, reduction)
        self._recent.move_to_end(key)
        if len(self._recent) > self._capacity:
            self._recent.popitem(last=False)
        return self._recent[key]
