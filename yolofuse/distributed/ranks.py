"""Pick this process's device, and exchange values with the other ranks of its run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from yolofuse.errors import ConfigError, RunError, RunStopped, YolofuseError, describe_os_error
from yolofuse.log import launched_ranks

T = TypeVar("T")

_PATIENCE = timedelta(hours=2)
"""How long ranks wait for rank 0, which alone checks the data and computes metrics: many minutes on slow disks."""
_POLL_S = 0.005


@dataclass(frozen=True)
class Ranks:
    """This process among those of its run.

    Attributes:
        rank: Its number; rank 0 writes files and logs.
        world: Number of ranks.
        device: Where it computes.
        local_rank: Its number among those of its machine.
        control: The group for messages between hosts; None is the default group.
    """

    rank: int
    world: int
    device: torch.device
    local_rank: int = 0
    control: dist.ProcessGroup | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """Return the values of all ranks, in rank order, on every rank."""
        if self.world == 1:
            return [value]
        self.barrier()
        gathered: list[Any] = [None] * self.world
        dist.all_gather_object(gathered, value, group=self.control)
        return gathered

    def from_main(self, value: T) -> T:
        """Return rank 0's value on every rank."""
        if self.world == 1:
            return value
        self.barrier()
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]

    def run_on_main(self, work: Callable[[], T]) -> T:
        """Run ``work`` on rank 0; return its result, or raise its user error, on every rank."""
        outcome: tuple[T | None, YolofuseError | None] = (None, None)
        if self.is_main:
            try:
                outcome = (work(), None)
            except YolofuseError as error:
                outcome = (None, error)
            except OSError as error:
                outcome = (None, RunError(describe_os_error(error, "the run folder")))
        value, problem = self.from_main(outcome)
        if problem is not None:
            raise problem
        return value  # type: ignore[return-value]

    def any_rank(self, *flags: bool) -> tuple[bool, ...]:
        """Return for each flag whether any rank has set it. A message between hosts: no device is waited for."""
        if self.world == 1:
            return flags
        message = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(message, dist.ReduceOp.MAX, group=self.control)
        return tuple(bool(flag) for flag in message)

    def barrier(self) -> None:
        """Wait for every rank, in Python, where signals are handled."""
        if self.world > 1:
            work = dist.barrier(group=self.control, async_op=True)
            while not work.is_completed():
                time.sleep(_POLL_S)
            work.wait()

    @torch.no_grad()
    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over the ranks; return it."""
        if self.world > 1:
            dist.all_reduce(tensor)
        return tensor

    @torch.no_grad()
    def average_(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its mean over the ranks, in one message."""
        if self.world == 1 or not tensors:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.world
        offset = 0
        for tensor in tensors:
            tensor.copy_(flat[offset : offset + tensor.numel()].view_as(tensor))
            offset += tensor.numel()


@contextmanager
def join_ranks(device: str) -> Iterator[Ranks]:
    """Join the other processes that torchrun started, if any: NCCL on CUDA, gloo on the CPU.

    Args:
        device: ``auto``, or a torch device such as ``cpu`` or ``cuda:1``.

    Raises:
        ConfigError: If there is no such device, or a launcher has set only a part of its variables.
        RunError: If the other processes can't be reached.
    """
    world, _, local = launched_ranks()
    chosen = pick_device(device, local if world > 1 else None)
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if world == 1:
        yield Ranks(0, 1, chosen)
        return
    on_cuda = chosen.type == "cuda"
    try:
        dist.init_process_group("nccl" if on_cuda else "gloo", timeout=_PATIENCE)
    except (dist.DistError, ValueError) as error:  # a port in use, a name without an address
        where = f"MASTER_ADDR={os.environ['MASTER_ADDR']} MASTER_PORT={os.environ['MASTER_PORT']}"
        reason = str(error).partition("\n")[0]
        raise RunError(f"{where}: the {world} processes of this run can't meet there ({reason})") from error
    try:
        control = cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=_PATIENCE)) if on_cuda else None
        yield Ranks(dist.get_rank(), dist.get_world_size(), chosen, local, control)
    except BaseException as error:
        if not on_cuda or isinstance(error, RunStopped):  # NCCL would wait for ranks that may never answer
            dist.destroy_process_group()
        raise
    else:
        dist.destroy_process_group()


def pick_device(name: str, local_rank: int | None = None) -> torch.device:
    """Return the device called ``name``; ``auto`` is CUDA if available.

    Raises:
        ConfigError: If there is no such device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"train.device: '{name}' is not a device; use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if device.index is not None and local_rank is not None:
            raise ConfigError(f"train.device: '{name}' would put every rank on one GPU; with torchrun use auto or cuda")
        index = device.index if device.index is not None else (local_rank or 0)
        if index >= count:
            raise ConfigError(f"train.device: '{name}' asks for GPU {index}, but {count} are visible; use auto or cpu")
        return torch.device("cuda", index)
    if device.type != "cpu":
        raise ConfigError(f"train.device: '{name}' is not supported; use auto, cpu, cuda or cuda:N")
    return device


def batchnorm_statistics(model: nn.Module) -> list[Tensor]:
    """Return running means and variances: they differ between ranks after a step, unlike averaged gradients."""
    return [
        buffer
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for buffer in (module.running_mean, module.running_var)
        if buffer is not None
    ]
