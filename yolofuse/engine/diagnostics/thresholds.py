"""Compare the statistics of an untrained detector with bounds, and advise on each that is out of bounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_LOSS_FACTOR = 2.0
_DEAD = 0.05
_RATIO = (1e-2, 2e2)
_STD = (1e-3, 1e3)
_FP16_OVERFLOW = 0.05
_OF_GRADIENTS = {"vanishing gradients", "exploding gradients", "fp16 overflow"}


@dataclass
class LayerStats:
    """Statistics of one layer with parameters, or of one activation.

    Attributes:
        name: As in the model, by where it is called.
        part: rgb, ir, fusion or trunk.
        kind: Its class.
        mean: Of its output, in training mode.
        std: Standard deviation of its output, in training mode.
        eval_mean: Of its output, in eval mode.
        eval_std: Standard deviation of its output, in eval mode.
        dead: Share of channels whose output is constant; None if it is no activation.
        judged: Whether its standard deviation is checked: not if a norm follows, or if it is meant to start at zero.
        not_finite: Number of values that are not finite, by kind of pass.
        grad_norm: Norm of the gradient of its weight; None if it has none.
        grad_rms: The same per element.
        fp16_overflow: Share of that gradient that overflows fp16 at the gradient scaler's first scale.
        fp16_underflow: Share that becomes zero in fp16 at that scale.
    """

    name: str
    part: str
    kind: str
    mean: float
    std: float
    eval_mean: float | None = None
    eval_std: float | None = None
    dead: float | None = None
    judged: bool = True
    not_finite: dict[str, int] = field(default_factory=dict)
    grad_norm: float | None = None
    grad_rms: float | None = None
    fp16_overflow: float | None = None
    fp16_underflow: float | None = None


@dataclass(frozen=True)
class Losses:
    """The first loss per pair by term, and its expected value if the head outputs its prior everywhere."""

    first: dict[str, float]
    predicted: dict[str, float]
    prior_kept: bool = True
    """Whether the head's biases are those of the prediction."""


@dataclass(frozen=True)
class Finding:
    """One statistic out of bounds.

    Attributes:
        kind: Short name, such as ``dead channels``.
        layers: Names of the layers, the first or the worst one first.
        figure: The value measured there.
        text: The whole message.
    """

    kind: str
    layers: tuple[str, ...]
    figure: float
    text: str

    @property
    def of_gradient(self) -> bool:
        """Whether it concerns a gradient rather than a layer's output."""
        return self.kind in _OF_GRADIENTS


def find_anomalies(
    layers: Sequence[LayerStats], losses: Losses, gradient_ratio: dict[str, float], *, precision: str, fp16: str
) -> tuple[list[Finding], list[str]]:
    """Check all statistics; return findings and notes.

    Args:
        layers: In the order they are computed.
        losses: The first loss.
        gradient_ratio: First layer over last, by the first layer's name.
        precision: The run's own; problems in another one become notes.
        fp16: How fp16 was measured, for the messages.
    """
    found = [
        *_not_finite(layers, ["fp32", "eval", "gradient", precision]),
        *_first_loss(losses),
        *_dead(layers),
        *_ratio(gradient_ratio),
    ]
    found += _std_out_of_bounds(layers)
    notes = [f.text for other in ("bf16", "fp16") if other != precision for f in _not_finite(layers, [other])]
    overflow = _fp16_gradients(layers, fp16)
    if precision == "fp16":
        found += overflow
    else:
        notes += [finding.text for finding in overflow]
    return found, [*notes, *_hidden_by_norms(layers)]


def _not_finite(layers: Sequence[LayerStats], kinds: Sequence[str]) -> list[Finding]:
    found = []
    for what in dict.fromkeys(kinds):
        broken = [layer for layer in layers if layer.not_finite.get(what)]
        if broken:
            first = broken[-1] if what == "gradient" else broken[0]  # gradients flow from the last layer to the first
            where = {"eval": "in eval mode", "gradient": "in its gradient"}.get(what, f"in {what}")
            advice = "use another init.preset" if what != "fp16" else "use train.precision: bf16 or fp32"
            names = (first.name, *(layer.name for layer in broken if layer is not first))
            count = first.not_finite[what]
            text = f"{first.name}: {count} values are not finite {where}{_more(names)}; {advice}, or smaller weights"
            found.append(Finding("not finite", names, count, text))
    return found


def _first_loss(losses: Losses) -> list[Finding]:
    first, predicted = sum(losses.first.values()), sum(losses.predicted.values())
    if first <= _LOSS_FACTOR * predicted:
        return []
    worst = max(losses.first, key=lambda name: losses.first[name] - losses.predicted.get(name, 0.0))
    advice = "the input of the head is too large: use model.norm: batch, smaller gains, or a smaller init.head_std"
    if not losses.prior_kept:
        advice = "its prior biases are lost: use an init.preset that keeps them"
    text = (
        f"head: the first loss is {first:.1f}, but {predicted:.1f} with the head at its prior ({worst} is furthest "
        f"off); {advice}"
    )
    return [Finding("first loss too high", ("head",), first / predicted if predicted else math.inf, text)]


def _dead(layers: Sequence[LayerStats]) -> list[Finding]:
    return _worst(
        layers,
        "dead channels",
        lambda layer: layer.dead,
        lambda share: share > _DEAD,
        lambda name, share: f"{name}: {share:.0%} of the channels are dead (bound {_DEAD:.0%})",
        "check the init.rules for this layer: its weights are zero or equal, or its input is",
    )


def _ratio(ratios: dict[str, float]) -> list[Finding]:
    found = []
    for name, ratio in ratios.items():
        if not _RATIO[0] <= ratio <= _RATIO[1]:
            kind = "vanishing gradients" if ratio < _RATIO[0] else "exploding gradients"
            text = (
                f"{name}: its gradient is {ratio:.2g} times that of the head's last layers (bounds {_RATIO[0]:g} and "
                f"{_RATIO[1]:g}); use init.preset kaiming, keep model.norm: batch, and see where the std changes"
            )
            found.append(Finding(kind, (name,), ratio, text))
    return found


def _std_out_of_bounds(layers: Sequence[LayerStats]) -> list[Finding]:
    judged = [layer for layer in layers if layer.judged]
    vanishing = _worst(
        judged,
        "vanishing activations",
        lambda layer: -layer.std,
        lambda minus: -minus < _STD[0],
        lambda name, minus: f"{name}: the std of its output is {-minus:.2g} (bound {_STD[0]:g})",
        "use init.preset kaiming, whose gain compensates the activation, and keep model.norm: batch",
    )
    exploding = _worst(
        judged,
        "exploding activations",
        lambda layer: layer.std,
        lambda std: std > _STD[1],
        lambda name, std: f"{name}: the std of its output is {std:.2g} (bound {_STD[1]:g})",
        "use a smaller gain or std for these layers, or model.norm: batch",
    )
    return [*vanishing, *exploding]


def _fp16_gradients(layers: Sequence[LayerStats], fp16: str) -> list[Finding]:
    how = "cast to fp16" if fp16 == "cast" else "under autocast"
    return _worst(
        layers,
        "fp16 overflow",
        lambda layer: layer.fp16_overflow,
        lambda share: share > _FP16_OVERFLOW,
        lambda name, share: f"{name}: {share:.0%} of its gradient, scaled by 65536 and {how}, overflows",
        "the scaler will skip the first updates until its scale has fallen; train.precision: bf16 needs none",
    )


def _hidden_by_norms(layers: Sequence[LayerStats]) -> list[str]:
    """Return notes on layers that are out of bounds in eval mode only, where BatchNorm uses its initial statistics."""
    known = [layer for layer in layers if layer.eval_std is not None and layer.judged]
    out = [layer for layer in known if not _STD[0] <= (layer.eval_std or 0.0) <= _STD[1]]
    still = [layer for layer in out if _STD[0] <= layer.std <= _STD[1]]
    if not still:
        return []
    worst = max(still, key=lambda layer: abs(math.log(layer.eval_std or 1e-30)))
    return [
        f"{worst.name}: in eval mode the std is {worst.eval_std:.2g}, in training mode {worst.std:.2g}"
        f"{_more([layer.name for layer in still])}: BatchNorm compensates once its statistics are learnt"
    ]


def _worst(
    layers: Sequence[LayerStats],
    kind: str,
    measure: Callable[[LayerStats], float | None],
    is_bad: Callable[[float], bool],
    message: Callable[[str, float], str],
    advice: str,
) -> list[Finding]:
    """Return one finding for all layers whose value is bad, worst first; the larger the worse."""
    values = [(value, layer.name) for layer in layers if (value := measure(layer)) is not None]
    bad = sorted((pair for pair in values if is_bad(pair[0])), key=lambda pair: -pair[0])
    if not bad:
        return []
    names = tuple(name for _, name in bad)
    return [Finding(kind, names, abs(bad[0][0]), f"{message(names[0], bad[0][0])}{_more(names)}; {advice}")]


def _more(names: Sequence[str]) -> str:
    return f", and in {len(names) - 1} more layers" if len(names) > 1 else ""
