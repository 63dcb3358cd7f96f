"""Check that all ranks hold the same weights: a flipped bit on one of them would otherwise go unnoticed."""

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
    differences = [
        f"{name}: rank {rank} differs from rank 0"
        for i, name in enumerate(tensors)
        for rank in range(1, ranks.world)
        if sums[rank][i] != sums[0][i]
    ]
    if differences:
        message = listing("the ranks hold different weights", differences, "difference")
        advice = "the last checkpoints are rank 0's: resume with --resume; if it recurs, look for a faulty GPU or node"
        raise RunError(f"{message}\n  {advice}")


def checksum(tensor: Tensor) -> Tensor:
    """Return a checksum of a tensor's bits and of the order of its values; it stays on the device."""
    if not tensor.numel():
        return torch.zeros((), dtype=torch.int64, device=tensor.device)
    bits = tensor.detach().contiguous().view(-1).view(_BITS[tensor.element_size()]).to(torch.int64)
    places = torch.arange(1, bits.numel() + 1, device=tensor.device)
    return (bits * (places * _PRIME + 1)).sum()  # wraps around without loss
