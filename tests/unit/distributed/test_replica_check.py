from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from yolofuse.distributed.replica_check import check_replicas_equal, checksum
from yolofuse.errors import RunError


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.uint8])
def test_checksum__sees_bits_and_their_order(dtype: torch.dtype) -> None:
    values = torch.arange(1, 13).to(dtype).view(3, 4)
    known = int(checksum(values))
    assert int(checksum(values.clone())) == known
    assert int(checksum(values.flip(0))) != known
    changed = values.clone()
    changed.view(-1).view(torch.uint8)[-1] ^= 1
    assert int(checksum(changed)) != known
    assert int(checksum(torch.empty(0, dtype=dtype))) == 0


@dataclass
class _TwoRanks:
    """Gathers this rank's sums beside those of a rank whose second tensor differs."""

    world: int = 2

    def gather(self, value: list[int]) -> list[list[int]]:
        return [value, [value[0], value[1] + 1, *value[2:]]]


def test_check_replicas_equal__names_the_tensor_and_the_rank() -> None:
    ranks: Any = _TwoRanks()
    with pytest.raises(RunError, match=r"1 difference\n  model\.bias: rank 1 differs from rank 0"):
        check_replicas_equal({"model": nn.Linear(2, 2)}, ranks)
    ranks.world = 1
    check_replicas_equal({"model": nn.Linear(2, 2)}, ranks)
