"""Probe an untrained detector with one real batch: activations, gradients, first loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from yolofuse.batch import PairedBatch
from yolofuse.engine.build import TrainContext, first_batches
from yolofuse.engine.diagnostics.activation_stats import ActivationRecorder
from yolofuse.engine.diagnostics.hooks import layer_hooks, preserve_state
from yolofuse.engine.diagnostics.locate_nan import count_not_finite
from yolofuse.engine.diagnostics.thresholds import Finding, LayerStats, Losses, find_anomalies
from yolofuse.engine.optim import freeze_batchnorm_statistics
from yolofuse.engine.precision import autocast, resolve_precision
from yolofuse.param_init import InitOptions
from yolofuse.weights import policy_of
from yolofuse.weights.init.policy import find_init_specs

_FIRST_SCALE = 65536.0
"""Initial scale of a gradient scaler."""


@dataclass(frozen=True)
class Probe:
    """The measurements of a probe and what is wrong with them.

    Attributes:
        layers: In the order they are computed.
        losses: The first loss and its expected value.
        gradient_ratio: Norm of the gradient of each stream's first layer over that of the head's last layers.
        fp16: ``autocast``, or ``cast`` where fp32 values were cast, as on the CPU, where fp16 is too slow.
        findings: Values out of bounds.
        notes: Further remarks.
    """

    layers: tuple[LayerStats, ...]
    losses: Losses
    gradient_ratio: dict[str, float]
    fp16: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """The kinds of findings, or ``healthy``."""
        if not self.findings:
            return "healthy"
        return ", ".join(dict.fromkeys(finding.kind for finding in self.findings))

    def plain(self) -> dict[str, Any]:
        """Return everything for JSON; numbers that are not finite become strings."""
        plain: dict[str, Any] = _jsonable({"verdict": self.verdict, **asdict(self)})
        return plain


def probe(context: TrainContext, num_batches: int = 1) -> Probe:
    """Probe a run that was just built, without training it; everything is left as it was.

    Args:
        context: A run on one rank.
        num_batches: Number of batches to run.
    """
    batches = [batch.to(context.ranks.device) for batch in first_batches(context, num_batches)]
    passes = _Passes(context)
    with preserve_state(context.detector):
        evaluated = passes.forward(batches, "fp32", train=False)
        halved = passes.forward(batches, "bf16", train=True)
        predicted = passes.predicted_loss(batches)
        trained, first = passes.with_gradients(batches, "fp32", scale=1.0)
        gradients = passes.gradients()
        if context.ranks.device.type == "cuda":
            passes.drop_gradients()
            in_fp16, _ = passes.with_gradients(batches, "fp16", scale=_FIRST_SCALE)
            scaled, fp16 = passes.gradients(), "autocast"
        else:
            in_fp16, fp16 = trained, "cast"
            scaled = {name: (g * _FIRST_SCALE).half() for name, g in gradients.items()}
    starting_at_zero = _blocks_starting_at_zero(context)
    layers = []
    for name, stats in trained.stats.items():
        gradient, other = gradients.get(name), evaluated.stats.get(name)
        bf16, fp16_stats = halved.stats.get(name), in_fp16.stats.get(name)
        layer = LayerStats(
            name=name,
            part=name.split(".")[0],
            kind=type(stats.module).__name__,
            mean=stats.mean / stats.count,
            std=stats.std,
            eval_mean=other.mean / other.count if other else None,
            eval_std=other.std if other else None,
            dead=None if name.rpartition(".")[0] in starting_at_zero else stats.dead(),
            judged=not stats.before_norm and name.rpartition(".")[0] not in starting_at_zero,
            not_finite={
                "fp32": stats.not_finite,
                "eval": other.not_finite if other else 0,
                "bf16": bf16.not_finite if bf16 else 0,
                "fp16": (fp16_stats.not_finite if fp16_stats else 0) + (stats.fp16_overflow if fp16 == "cast" else 0),
                "gradient": count_not_finite(gradient) if gradient is not None else 0,
            },
        )
        if gradient is not None:
            layer.grad_norm = float(gradient.norm())
            layer.grad_rms = layer.grad_norm / math.sqrt(gradient.numel())
            layer.fp16_overflow = count_not_finite(scaled[name]) / gradient.numel()
            layer.fp16_underflow = float(((scaled[name] == 0) & (gradient != 0)).float().mean())
        layers.append(layer)
    losses = Losses(first=first, predicted=predicted, prior_kept=passes.prior_kept)
    ratio = _gradient_ratio(layers, passes.ends)
    used = resolve_precision(context.ranks.device, context.config.train.precision)
    findings, notes = find_anomalies(layers, losses, ratio, precision=used, fp16=fp16)
    return Probe(tuple(layers), losses, ratio, fp16, tuple(findings), tuple(notes))


class _Passes:
    """Runs the probe's forward and backward passes."""

    def __init__(self, context: TrainContext) -> None:
        self._context = context
        self._detector = context.detector
        names = {module: name for name, module in context.detector.named_modules()}
        self.ends = {names[module]: module for module in _last_convolutions(context.detector.heads.values())}
        self._priors = _prior_biases(context, self.ends)
        self.prior_kept = all(
            torch.equal(self._priors[name], m.bias) for name, m in self.ends.items() if m.bias is not None
        )

    def forward(self, batches: Iterable[PairedBatch], precision: str, *, train: bool) -> ActivationRecorder:
        """Run forward passes only; record the activations."""
        recorder = ActivationRecorder()
        self._mode(train)
        with torch.no_grad(), layer_hooks(self._detector, recorder.before, recorder.after):
            for batch in batches:
                self._forward(batch, precision)
        return recorder

    def with_gradients(
        self, batches: list[PairedBatch], precision: str, *, scale: float
    ) -> tuple[ActivationRecorder, dict[str, float]]:
        """Run forward and backward passes as in training; return the activations and the mean of each loss term."""
        recorder = ActivationRecorder()
        sums: dict[str, float] = {}
        self._mode(train=True)
        for batch in batches:
            with layer_hooks(self._detector, recorder.before, recorder.after):
                outputs = self._forward(batch, precision)
            total, terms, _ = self._context.criterion(outputs, batch)
            (total * scale / len(batches)).backward()  # type: ignore[no-untyped-call]
            _add_terms(sums, terms, len(batches))
        return recorder, sums

    def predicted_loss(self, batches: list[PairedBatch]) -> dict[str, float]:
        """Return the loss if the head's raw outputs were its biases everywhere: as loaded, else those of the prior."""
        sums: dict[str, float] = {}
        self._mode(train=True)
        with torch.no_grad(), _replaced({module: self._priors[name] for name, module in self.ends.items()}):
            for batch in batches:
                _add_terms(sums, self._context.criterion(self._forward(batch, "fp32"), batch).terms, len(batches))
        return sums

    def gradients(self) -> dict[str, Tensor]:
        """Return the gradient of each layer's weight, by the layer's name."""
        return {
            name: weight.grad.detach()
            for name, module in self._detector.named_modules()
            if isinstance(weight := getattr(module, "weight", None), Tensor) and weight.grad is not None
        }

    def drop_gradients(self) -> None:
        """Clear all gradients; those returned by :meth:`gradients` stay valid."""
        for parameter in self._detector.parameters():
            parameter.grad = None

    def _mode(self, train: bool) -> None:
        self._detector.train(train)
        if train:
            freeze_batchnorm_statistics(self._detector, everywhere=self._context.config.train.freeze_bn)
        for head in self._detector.heads.values():
            head.training = True  # raw outputs: boxes need not be decoded

    def _forward(self, batch: PairedBatch, precision: str) -> Any:
        with autocast(self._context.ranks.device, precision):
            return self._detector(batch.rgb, batch.ir)


def _add_terms(sums: dict[str, float], terms: dict[str, Tensor], count: int) -> None:
    for name, value in terms.items():
        sums[name] = sums.get(name, 0.0) + float(value) / count


def _last_convolutions(heads: Iterable[Any]) -> list[nn.Conv2d]:
    branches = [
        branch
        for head in heads
        for name in ("cv2", "cv3", "one2one_cv2", "one2one_cv3")
        for branch in getattr(head, name, None) or ()
    ]
    anchored = [layer for head in heads for layer in getattr(head, "m", None) or ()]
    return list(dict.fromkeys([*(branch[-1] for branch in branches), *anchored]))


def _prior_biases(context: TrainContext, ends: dict[str, nn.Conv2d]) -> dict[str, Tensor]:
    """Return the biases of the last convolutions: as loaded, else those of the prior, whatever the policy set."""
    options: InitOptions = policy_of(context.config).options
    specs = find_init_specs(context.detector, options)
    statuses = context.weights_report.statuses if context.weights_report is not None else {}
    found: dict[str, Tensor] = {}
    for name, module in ends.items():
        bias, spec = module.bias, specs.get(f"{name}.bias")
        assert bias is not None
        found[name] = bias.detach()
        if spec is not None and spec.fill is not None and statuses.get(f"{name}.bias") == "initialised":
            found[name] = spec.fill(bias, None).to(bias)
    return found


@contextmanager
def _replaced(outputs: dict[nn.Conv2d, Tensor]) -> Iterator[None]:
    """Let convolutions output a constant per channel instead of their result."""

    def hook_for(values: Tensor) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        return lambda module, args, output: values.view(1, -1, 1, 1).expand_as(output).contiguous()

    hooks = [module.register_forward_hook(hook_for(values)) for module, values in outputs.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _blocks_starting_at_zero(context: TrainContext) -> set[str]:
    """Return the blocks whose norm is meant to start at zero: their output is zero at first, but they are not dead."""
    entries = context.weights_report.records if context.weights_report is not None else ()
    return {entry.module.rpartition(".")[0] for entry in entries if entry.rule == "zero gamma"}


def _gradient_ratio(layers: list[LayerStats], ends: Iterable[str]) -> dict[str, float]:
    """Divide the gradients of the first layers by those of the head's last ones; empty for a frozen head."""
    norms = {layer.name: layer.grad_norm for layer in layers if layer.grad_norm is not None}
    at_ends = [norms[name] for name in ends if name in norms]
    if not at_ends:
        return {}
    last = math.hypot(*at_ends)
    firsts: dict[str, str] = {}
    for name in norms:
        firsts.setdefault(name.split(".")[0], name)
    parts = [part for part in ("rgb", "ir") if part in firsts] or list(firsts)[:1]
    return {firsts[part]: norms[firsts[part]] / last if last else 0.0 for part in parts}


def _jsonable(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return value
