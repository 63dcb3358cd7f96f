"""Test that BatchNorm over two gloo ranks equals one over the whole batch: outputs, gradients, running statistics."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from yolofuse.distributed.sync_batchnorm import synchronise_batchnorm

WORLD = 2
CASES = {
    "plain": (torch.float32, 0.0, 1.0),
    "channels_last": (torch.float32, 0.0, 1.0),
    "double": (torch.float64, 0.0, 1.0),
    "far_from_zero": (torch.float32, 1000.0, 0.1),  # sums of squares would lose every digit of the variance
    "bfloat16": (torch.bfloat16, 0.0, 1.0),
}


def norm_and_values(case: str) -> tuple[nn.BatchNorm2d, Tensor, Tensor]:
    """Return a norm that is not the identity, the whole batch, and the gradient of its output; the halves differ."""
    dtype, mean, std = CASES[case]
    generator = torch.Generator().manual_seed(5)
    norm = nn.BatchNorm2d(6, eps=1e-3, momentum=0.03)
    with torch.no_grad():
        norm.weight.copy_(torch.rand(6, generator=generator) + 0.5)
        norm.bias.copy_(torch.randn(6, generator=generator))
    if dtype is torch.float64:
        norm = norm.double()
    values = torch.randn(4, 6, 5, 3, generator=generator, dtype=torch.float64) * std + mean
    values[2:] += std
    if case == "channels_last":
        values = values.contiguous(memory_format=torch.channels_last)
    return norm, values.to(dtype), torch.randn(4, 6, 5, 3, generator=generator, dtype=torch.float64).to(dtype)


def train_twice(norm: nn.BatchNorm2d, values: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    """Return results of the second of two training passes, with changed running statistics."""
    values = values.clone().requires_grad_()
    for _ in range(2):
        norm.zero_grad()
        values.grad = None
        output = norm(values)
        output.backward(gradient)
    assert values.grad is not None
    assert norm.weight.grad is not None
    assert norm.bias.grad is not None
    found = {"output": output, "values": values.grad, "weight": norm.weight.grad, "bias": norm.bias.grad}
    return {name: tensor.detach().clone() for name, tensor in found.items()} | dict(norm.named_buffers())


def _rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=WORLD)
    found = {}
    for case in CASES:
        norm, values, gradient = norm_and_values(case)
        half = slice(rank * 2, rank * 2 + 2)
        holder = nn.Sequential(norm)
        synchronise_batchnorm(holder, torch.device("cpu"))
        found[case] = train_twice(norm, values[half], gradient[half])
        norm.eval()
        assert torch.equal(norm(values[half]), nn.BatchNorm2d.forward(norm, values[half]))
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict[str, Tensor]]]:
    """Run every case on two ranks; return each rank's results."""
    folder = tmp_path_factory.mktemp("ranks")
    spawn(_rank, args=(str(folder),), nprocs=WORLD)  # type: ignore[no-untyped-call]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


@pytest.mark.parametrize("case", CASES)
def test_norm__over_two_ranks_equals_the_whole_batch(case: str, ranks: list[dict[str, dict[str, Tensor]]]) -> None:
    first, second = (found[case] for found in ranks)
    norm, values, gradient = norm_and_values(case)
    alone = train_twice(copy.deepcopy(norm), values[:2], gradient[:2])
    expected = train_twice(norm, values, gradient)
    dtype = CASES[case][0]
    tolerance = {torch.float32: 2e-5, torch.float64: 1e-12, torch.bfloat16: 2e-2}[dtype]
    tolerance = 1e-2 if case == "far_from_zero" else tolerance  # the error of float32 itself
    for name in ("output", "values"):
        whole = torch.cat([first[name], second[name]])
        torch.testing.assert_close(whole, expected[name], rtol=tolerance, atol=tolerance)
        assert not torch.allclose(alone[name], expected[name][:2], rtol=2 * tolerance, atol=2 * tolerance)
    for name in ("weight", "bias"):  # DDP adds them up
        torch.testing.assert_close(first[name] + second[name], expected[name], rtol=tolerance, atol=10 * tolerance)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(first[name], expected[name], rtol=1e-5, atol=1e-5)
        assert torch.equal(first[name], second[name])


def test_norm__without_other_ranks_equals_torch() -> None:
    norm, values, gradient = norm_and_values("plain")
    expected = train_twice(copy.deepcopy(norm), values, gradient)
    synchronise_batchnorm(nn.Sequential(norm), torch.device("cpu"))
    found = train_twice(norm, values, gradient)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
