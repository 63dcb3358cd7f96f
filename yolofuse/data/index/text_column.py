"""Many short texts in two arrays: a hundred thousand paths cost no hundred thousand objects."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from yolofuse.types import ByteArray, IntArray


class TextColumn:
    """Texts by position, kept as one run of UTF-8 bytes.

    Worker processes that are forked share such arrays with their parent. A list of texts is copied to each of them bit
    by bit, since looking at a text changes its reference count.
    """

    def __init__(self, content: ByteArray, offsets: IntArray) -> None:
        """Wrap arrays: text i is ``content[offsets[i]:offsets[i + 1]]``."""
        self.content = content
        self.offsets = offsets

    @classmethod
    def of(cls, texts: Iterable[str]) -> TextColumn:
        """Pack texts."""
        # A file name may hold bytes that are no UTF-8; Python carries them as surrogates, and so does this.
        coded = [text.encode(errors="surrogateescape") for text in texts]
        offsets = np.zeros(len(coded) + 1, np.int64)
        np.cumsum([len(text) for text in coded], out=offsets[1:])
        return cls(np.frombuffer(b"".join(coded), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> str:
        start, stop = self.offsets[index], self.offsets[index + 1]
        return self.content[start:stop].tobytes().decode(errors="surrogateescape")
