"""Build the optimizer with its parameter groups, and the schedule of learning rate, momentum and accumulation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from yolofuse.config import TrainConfig
from yolofuse.config.schema import RatesConfig
from yolofuse.errors import ConfigError
from yolofuse.model.heads import HEAD_TYPES
from yolofuse.upstream import MuSGD

_MUON_SHARE, _SGD_SHARE = 0.2, 1.0  # as ultralytics trains YOLO26
_FUSED_DEVICES = {"cpu", "cuda"}


def freeze(model: nn.Module, patterns: tuple[str, ...]) -> list[str]:
    """Freeze every parameter whose name matches a pattern; return their names.

    Raises:
        ConfigError: If a pattern matches nothing, or everything is frozen.
    """
    names = [name for name, _ in model.named_parameters()]
    idle = [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in names)]
    if idle:
        raise ConfigError(
            f"train.freeze: {', '.join(map(repr, idle))} matches no parameter; "
            f"names look like {names[0]!r} and {names[-1]!r}"
        )
    frozen = [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
    for name in frozen:
        model.get_parameter(name).requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("train.freeze: every parameter is frozen, so there is nothing to train")
    return frozen


def freeze_batchnorm_statistics(model: nn.Module, *, everywhere: bool = False) -> None:
    """Set BatchNorm layers with frozen weights, or all of them, to eval mode, so that their statistics stay."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and (everywhere or not module.weight.requires_grad):
            module.eval()


def build_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Build SGD, AdamW or MuSGD, with weight decay on weights only, never on biases and norms.

    Gradients are sums over the pairs of a nominal batch, so the decay is scaled where ``batch`` exceeds it. SGD and
    AdamW use one fused kernel per group where torch has it.
    """
    accumulate = max(round(config.nominal_batch / config.batch), 1)
    decay = config.weight_decay * config.batch * accumulate / config.nominal_batch
    groups: list[dict[str, Any]] = []
    for rate, kinds in _split(model, config.rates).items():
        scaled = {} if rate == 1.0 else {"rate": rate}
        groups += [group | scaled for group in _groups(kinds, config, decay) if group["params"]]
    if config.optimizer == "musgd":
        return MuSGD(groups, muon=_MUON_SHARE, sgd=_SGD_SHARE)
    trained = [parameter for group in groups for parameter in group["params"]]
    fused = all(p.device.type in _FUSED_DEVICES and p.is_floating_point() for p in trained)
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, fused=fused, foreach=not fused)
    optimizer = torch.optim.SGD(groups, fused=fused, foreach=not fused)
    for parameter in trained:  # otherwise a skipped first update leaves unset memory in torch's fused SGD
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def _groups(kinds: _Kinds, config: TrainConfig, decay: float) -> list[dict[str, Any]]:
    """Make the parameter groups of one learning rate; some may be empty."""
    weights, norms, biases = kinds
    shared: dict[str, Any] = {"lr": config.lr0}
    if config.optimizer == "musgd":
        muon = [p for p in weights if p.ndim in {2, 4}]
        rest = [p for p in weights if p.ndim not in {2, 4}]
        shared |= {"momentum": config.momentum, "nesterov": True}
        groups = [
            {"params": muon, "weight_decay": decay, "use_muon": True, "kind": "weight", **shared},
            {"params": rest, "weight_decay": decay, "kind": "weight", **shared},
        ]
    else:
        shared |= (
            {"momentum": config.momentum, "nesterov": True}
            if config.optimizer == "sgd"
            else {"betas": (config.momentum, 0.999)}
        )
        groups = [{"params": weights, "weight_decay": decay, "kind": "weight", **shared}]
    return [
        *groups,
        {"params": norms, "weight_decay": 0.0, "kind": "norm", **shared},
        {"params": biases, "weight_decay": 0.0, "kind": "bias", **shared},
    ]


def gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return the norm of the gradients of parameters, taken together."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def clip_gradients(parameters: Sequence[nn.Parameter], norm: Tensor, limit: float) -> None:
    """Scale the gradients of parameters so that their norm is at most ``limit``; 0 switches that off.

    Args:
        parameters: All that have a gradient.
        norm: Their norm as it is.
        limit: The largest norm. On a GPU gradients below it are multiplied by one: asking would wait for the device.
    """
    if limit and (norm.is_cuda or norm > limit):
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)


def skip_if(optimizer: torch.optim.Optimizer, bad: Tensor) -> bool:
    """Skip the next update if ``bad`` holds, decided on the device; return whether the optimizer supports that.

    Only fused SGD and AdamW do: neither parameters nor momenta nor counts change then. For any other the caller has to
    read ``bad`` itself, which waits for the device.

    Args:
        optimizer: Its ``step`` reads the flag; an enabled GradScaler replaces the flag by its own.
        bad: One bool on the parameters' device.
    """
    if not all(group.get("fused") for group in optimizer.param_groups):
        return False
    optimizer.found_inf = bad.to(torch.float32)  # type: ignore[attr-defined]
    return True


_Kinds = tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]
"""Weights, norms and biases."""


def _split(model: nn.Module, rates: RatesConfig) -> dict[float, _Kinds]:
    """Sort the trained parameters by the rate of their part of the model, then by kind."""
    found: dict[float, _Kinds] = {}
    heads = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, HEAD_TYPES))
    for prefix, module in model.named_modules():
        rate = _rate_of(f"{prefix}.", heads, rates)
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            weights, norms, biases = found.setdefault(rate, ([], [], []))
            if name.endswith("bias"):
                biases.append(parameter)
            elif isinstance(module, nn.modules.batchnorm._BatchNorm) or parameter.ndim < 2:
                norms.append(parameter)
            else:
                weights.append(parameter)
    return found


def _rate_of(prefix: str, heads: tuple[str, ...], rates: RatesConfig) -> float:
    if prefix.startswith(heads):
        return rates.head
    part = prefix.partition(".")[0]
    return {"rgb": rates.streams, "ir": rates.streams, "fusion": rates.fusion, "trunk": rates.trunk}.get(part, 1.0)


class Schedule:
    """Learning rate, momentum and accumulation as functions of the step alone.

    Over the warm-up the rates rise from 0 (biases fall from ``warmup_bias_lr``) and the accumulation from 1; then the
    rate follows a cosine or a line down to ``lr0 * lrf``.
    """

    def __init__(self, config: TrainConfig, steps_per_epoch: int) -> None:
        self._config = config
        self._total = max(config.epochs * steps_per_epoch, 1)
        self._warmup = round(config.warmup_epochs * steps_per_epoch)
        self._accumulate = max(round(config.nominal_batch / config.batch), 1)

    def rate(self, step: int) -> float:
        """Return the learning rate of the weights at a step."""
        return _between(0.0, self._base_rate(step), self._warmth(step))

    def accumulation(self, step: int) -> int:
        """Return how many steps share one update of the weights."""
        if step >= self._warmup:
            return self._accumulate
        return max(round(_between(1, self._accumulate, self._warmth(step))), 1)

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Set every parameter group's learning rate and momentum for a step."""
        warmth, rate = self._warmth(step), self._base_rate(step)
        momentum = _between(self._config.warmup_momentum, self._config.momentum, warmth)
        for group in optimizer.param_groups:
            start = self._config.warmup_bias_lr if group["kind"] == "bias" else 0.0
            group["lr"] = _between(start, rate, warmth) * group.get("rate", 1.0)
            if "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            else:
                group["momentum"] = momentum

    def _base_rate(self, step: int) -> float:
        done = min(step / self._total, 1.0)
        fall = (1 - math.cos(math.pi * done)) / 2 if self._config.schedule == "cosine" else done
        return self._config.lr0 * (1 + fall * (self._config.lrf - 1))

    def _warmth(self, step: int) -> float:
        return step / self._warmup if step < self._warmup else 1.0


def _between(start: float, end: float, share: float) -> float:
    return start * (1 - share) + end * share  # exact at both ends
