"""Choose a few of many positions, evenly spaced."""

from __future__ import annotations

import numpy as np


def evenly_spaced(count: int, most: int) -> list[int]:
    """Return up to ``most`` positions of ``count``, the first and the last among them, the same every time."""
    if count <= most:
        return list(range(count))
    return sorted({round(position) for position in np.linspace(0, count - 1, most).tolist()})
