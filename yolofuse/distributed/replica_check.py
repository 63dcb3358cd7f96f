"""Whether all ranks still hold the same weights: a bit that flipped in one of them would go unnoticed for ever."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from yolofuse.distributed.ranks import Ranks
from yolofuse.errors import RunError, listing

_BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_PRIME = 1_000_003


@torch.no_grad()
def check_replicas_equal(modules: Mapping[str, nn.Module], ranks: Ranks) -> None:
    """Compare a checksum of every tensor of some modules between all ranks.

    Args:
        modules: By the name that an error puts before its tensors.
        ranks: This process among the run's.

    Raises:
        RunError: If they differ; it names the tensors.
    """
    if ranks.world == 1:
        return
    tensors = {
        f"{prefix}.{name}": value for prefix, module in modules.items() for name, value in module.state_dict().items()
    }
    sums = ranks.gather(torch.stack([checksum(tensor) for tensor in tensors.values()]).tolist())
    apart = [
        f"{name}: rank {rank} differs from rank 0"
        for i, name in enumerate(tensors)
        for rank in range(1, ranks.world)
        if sums[rank][i] != sums[0][i]
    ]
    if apart:
        raise RunError(
            f"{listing('the ranks hold different weights', apart, 'difference')}\n  the last checkpoints are rank 0's; "
            "go on from them with --resume, and if it happens again look for a GPU or a node that computes wrongly"
        )


def checksum(tensor: Tensor) -> Tensor:
    """A number that changes with any bit of a tensor and with the order of its values; stays on the device."""
    if not tensor.numel():
        return torch.zeros((), dtype=torch.int64, device=tensor.device)
    bits = tensor.detach().contiguous().view(-1).view(_BITS[tensor.element_size()]).to(torch.int64)
    places = torch.arange(1, bits.numel() + 1, device=tensor.device)
    return (bits * (places * _PRIME + 1)).sum()  # wraps around, which loses nothing
