"""Read how much memory of a GPU an epoch took."""

from __future__ import annotations

import torch


def take_peak_memory(device: torch.device) -> dict[str, float]:
    """Return the most memory that torch reserved on a GPU since the last call, in GiB, by its column of results.csv.

    Elsewhere there is no such column.
    """
    if device.type != "cuda":
        return {}
    peak = torch.cuda.max_memory_reserved(device) / (1 << 30)
    torch.cuda.reset_peak_memory_stats(device)
    return {"memory_gib": round(peak, 3)}
