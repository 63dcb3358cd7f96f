"""Store many short strings in two arrays: 100,000 paths are not 100,000 objects."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from yolofuse.types import ByteArray, IntArray


class TextColumn:
    """A sequence of strings, stored as one array of UTF-8 bytes.

    Forked worker processes share such arrays with their parent. A list of strings is copied to each of them page by
    page, since reading a string changes its reference count.
    """

    def __init__(self, content: ByteArray, offsets: IntArray) -> None:
        """Wrap arrays: string i is ``content[offsets[i]:offsets[i + 1]]``."""
        self.content = content
        self.offsets = offsets

    @classmethod
    def of(cls, texts: Iterable[str]) -> TextColumn:
        """Pack strings."""
        # A file name may hold bytes that are not UTF-8; they are kept as surrogates, as Python does.
        coded = [text.encode(errors="surrogateescape") for text in texts]
        offsets = np.zeros(len(coded) + 1, np.int64)
        np.cumsum([len(text) for text in coded], out=offsets[1:])
        return cls(np.frombuffer(b"".join(coded), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        start, stop = self.offsets[index], self.offsets[index + 1]
        return self.content[start:stop].tobytes().decode(errors="surrogateescape")
