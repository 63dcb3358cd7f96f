"""Synchronise BatchNorm statistics over all ranks, also on devices that torch's SyncBatchNorm does not support."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional


class SyncBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d whose training statistics are those of all ranks of the default group.

    Parameters, buffers and their names are BatchNorm2d's. In evaluation, and without other ranks, it behaves like one.
    Every rank must have the same number of values: batches are divided evenly. There is one collective per forward pass
    and one per backward pass.

    Reference:
        torch.nn.SyncBatchNorm, which supports CUDA only. Here means and variances are exchanged, not sums of squares,
        which lose precision where a mean is large; equal counts let them be averaged.

    Shapes:
        (B, C, H, W) -> (B, C, H, W)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise by the statistics of all ranks in training, by the running statistics in evaluation."""
        if not (self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(input)
        self._check_input_dim(input)
        output, mean, var = _apply(input, self.weight, self.bias, self.eps)
        self._update_running(mean, var, input.numel() // input.shape[1] * dist.get_world_size())
        return output

    @torch.no_grad()
    def _update_running(self, mean: Tensor, var: Tensor, num_values: int) -> None:
        """Update the running statistics as BatchNorm2d does, with the unbiased variance."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        # Without a momentum BatchNorm keeps the plain average of all batches; that count is read on the host.
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        unbiased = var * (num_values / max(num_values - 1, 1))
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), share)


class _SharedNorm(torch.autograd.Function):
    """Normalise by the mean and the biased variance over all ranks; return both too."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Shapes: values (B, C, H, W), weight and bias (C,) -> (B, C, H, W), (C,), (C,)."""
        var, mean = torch.var_mean(_at_least_float(values), dim=(0, 2, 3), correction=0)
        local = torch.stack([mean, var])  # (2, C)
        shared = [torch.empty_like(local) for _ in range(dist.get_world_size())]
        dist.all_gather(shared, local)
        means, variances = torch.stack(shared, 1)  # (W, C) each
        mean = means.mean(0)
        var = (variances + (means - mean).square()).mean(0)
        ctx.save_for_backward(values, weight, mean, var)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, var)
        output = functional.batch_norm(values, mean, var, weight, bias, training=False, eps=eps)
        return output, mean, var

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        """Return the gradients; those of weight and bias are this rank's share, as for every parameter."""
        values, weight, mean, var = ctx.saved_tensors
        # First as if mean and variance were constants, then minus the terms through them, which need all ranks.
        plain, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grads[0], values, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
        )
        # sums of the gradient, and of the gradient times the normalised value
        sums = _at_least_float(torch.stack([grad_bias, grad_weight]))
        dist.all_reduce(sums)
        sums /= values.numel() // values.shape[1] * dist.get_world_size()
        inverse = (var + ctx.eps).rsqrt()
        scale = inverse if weight is None else inverse * _at_least_float(weight)
        shape = (1, -1, 1, 1)
        centered = _at_least_float(values) - mean.view(shape)  # first: far from zero, later terms would lose its digits
        correction = torch.addcmul((scale * sums[0]).view(shape), centered, (scale * inverse * sums[1]).view(shape))
        grad = plain - correction.to(plain.dtype)
        needed = ctx.needs_input_grad
        return grad, grad_weight if needed[1] else None, grad_bias if needed[2] else None, None


def _at_least_float(values: Tensor) -> Tensor:
    """Convert half precision to float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


_apply = cast(Callable[[Tensor, Tensor | None, Tensor | None, float], tuple[Tensor, Tensor, Tensor]], _SharedNorm.apply)


def synchronise_batchnorm(model: nn.Module, device: torch.device) -> None:
    """Convert a model in place to statistics over all ranks: torch's layers on CUDA, this module's elsewhere.

    Args:
        model: Not wrapped yet, and no BatchNorm itself.
        device: The model's device.
    """
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncBatchNorm2d  # it adds no attribute, and references to the layer stay valid
