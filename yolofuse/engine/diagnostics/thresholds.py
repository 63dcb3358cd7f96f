"""Which figures of a fresh detector are out of bounds, and what to do about each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_LOSS_FACTOR = 2.0
_DEAD = 0.05
_RATIO = (1e-2, 2e2)
_SPREAD = (1e-3, 1e3)
_FP16_OVERFLOW = 0.05
_OF_GRADIENTS = {"vanishing gradients", "exploding gradients", "fp16 overflow"}


@dataclass
class LayerFigures:
    """One layer: one with parameters, or an activation.

    Attributes:
        name: As in the model, named by where it is called.
        part: rgb, ir, fusion or trunk.
        kind: Its class.
        mean: Of its output, in training mode.
        std: Spread of its output, in training mode.
        eval_mean: Of its output, in eval mode.
        eval_std: Spread of its output, in eval mode.
        dead: Share of channels whose output is the same everywhere; None where it is no activation.
        judged: Whether its spread matters: not where a norm comes next, or where a zero start was declared.
        not_finite: How many values were not, by kind of pass.
        grad_norm: Norm of the gradient of its weight; None where it has none.
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
    """The first loss per pair by term, and what it is when the head gives its prior everywhere."""

    first: dict[str, float]
    predicted: dict[str, float]
    prior_kept: bool = True
    """Whether the head's biases are those of the prediction."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: In a word or two.
        layers: Where, the first or the worst one first.
        figure: What was measured there.
        text: The whole sentence.
    """

    kind: str
    layers: tuple[str, ...]
    figure: float
    text: str

    @property
    def of_gradient(self) -> bool:
        """Whether it is about a gradient, and not about a layer's output."""
        return self.kind in _OF_GRADIENTS


def find_alarms(
    layers: Sequence[LayerFigures], losses: Losses, gradient_ratio: dict[str, float], *, precision: str, fp16: str
) -> tuple[list[Finding], list[str]]:
    """What is wrong, and what is only worth knowing.

    Args:
        layers: In the order they are computed.
        losses: The first loss.
        gradient_ratio: First layer over last, by the first layer's name.
        precision: The run's own; trouble in another one is only noted.
        fp16: How fp16 was measured, for the words.
    """
    found = [
        *_not_finite(layers, ["fp32", "eval", "gradient", precision]),
        *_first_loss(losses),
        *_dead(layers),
        *_ratio(gradient_ratio),
    ]
    found += _spread(layers)
    notes = [f.text for other in ("bf16", "fp16") if other != precision for f in _not_finite(layers, [other])]
    overflow = _fp16_gradients(layers, fp16)
    if precision == "fp16":
        found += overflow
    else:
        notes += [finding.text for finding in overflow]
    return found, [*notes, *_hidden_by_norms(layers)]


def _not_finite(layers: Sequence[LayerFigures], kinds: Sequence[str]) -> list[Finding]:
    found = []
    for what in dict.fromkeys(kinds):
        broken = [layer for layer in layers if layer.not_finite.get(what)]
        if broken:
            first = broken[-1] if what == "gradient" else broken[0]  # gradients flow from the last layer to the first
            where = {"eval": "in eval mode", "gradient": "in its gradient"}.get(what, f"in {what}")
            advice = "take another init.preset" if what != "fp16" else "take train.precision: bf16 or fp32"
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
    advice = "what the head reads is too large: take model.norm: batch, smaller gains, or a smaller init.head_std"
    if not losses.prior_kept:
        advice = "its prior biases are lost: take an init.preset that keeps them"
    text = (
        f"head: the first loss is {first:.1f}, but {predicted:.1f} with the head at its prior ({worst} is furthest "
        f"off); {advice}"
    )
    return [Finding("first loss too high", ("head",), first / predicted if predicted else math.inf, text)]


def _dead(layers: Sequence[LayerFigures]) -> list[Finding]:
    return _worst(
        layers,
        "dead channels",
        lambda layer: layer.dead,
        lambda share: share > _DEAD,
        lambda name, share: f"{name}: {share:.0%} of the channels are dead (bound {_DEAD:.0%})",
        "look at the rules for this layer: its weights are zero, equal, or its input is",
    )


def _ratio(ratios: dict[str, float]) -> list[Finding]:
    found = []
    for name, ratio in ratios.items():
        if not _RATIO[0] <= ratio <= _RATIO[1]:
            kind = "vanishing gradients" if ratio < _RATIO[0] else "exploding gradients"
            text = (
                f"{name}: its gradient is {ratio:.2g} times that of the head's last layers (bounds {_RATIO[0]:g} and "
                f"{_RATIO[1]:g}); take init.preset kaiming, keep model.norm: batch, and see where the spread changes"
            )
            found.append(Finding(kind, (name,), ratio, text))
    return found


def _spread(layers: Sequence[LayerFigures]) -> list[Finding]:
    judged = [layer for layer in layers if layer.judged]
    vanishing = _worst(
        judged,
        "vanishing activations",
        lambda layer: -layer.std,
        lambda minus: -minus < _SPREAD[0],
        lambda name, minus: f"{name}: the spread of its output is {-minus:.2g} (bound {_SPREAD[0]:g})",
        "take init.preset kaiming, whose gain makes up for the activation, and keep model.norm: batch",
    )
    exploding = _worst(
        judged,
        "exploding activations",
        lambda layer: layer.std,
        lambda std: std > _SPREAD[1],
        lambda name, std: f"{name}: the spread of its output is {std:.2g} (bound {_SPREAD[1]:g})",
        "take a smaller gain or std for these layers, or model.norm: batch",
    )
    return [*vanishing, *exploding]


def _fp16_gradients(layers: Sequence[LayerFigures], fp16: str) -> list[Finding]:
    how = "cast to fp16" if fp16 == "cast" else "under autocast"
    return _worst(
        layers,
        "fp16 overflow",
        lambda layer: layer.fp16_overflow,
        lambda share: share > _FP16_OVERFLOW,
        lambda name, share: f"{name}: {share:.0%} of its gradient, scaled by 65536 and {how}, overflows",
        "the scaler will skip the first updates until its scale has fallen; train.precision: bf16 needs none",
    )


def _hidden_by_norms(layers: Sequence[LayerFigures]) -> list[str]:
    """What only shows in eval mode: norms hide it in training, until their statistics are known."""
    known = [layer for layer in layers if layer.eval_std is not None and layer.judged]
    out = [layer for layer in known if not _SPREAD[0] <= (layer.eval_std or 0.0) <= _SPREAD[1]]
    still = [layer for layer in out if _SPREAD[0] <= layer.std <= _SPREAD[1]]
    if not still:
        return []
    worst = max(still, key=lambda layer: abs(math.log(layer.eval_std or 1e-30)))
    return [
        f"{worst.name}: in eval mode the spread is {worst.eval_std:.2g}, in training mode {worst.std:.2g}"
        f"{_more([layer.name for layer in still])}: BatchNorm makes up for it once its statistics are learnt"
    ]


def _worst(
    layers: Sequence[LayerFigures],
    kind: str,
    figure: Callable[[LayerFigures], float | None],
    is_bad: Callable[[float], bool],
    words: Callable[[str, float], str],
    advice: str,
) -> list[Finding]:
    """One finding for all layers whose figure is bad, worst first; the larger the worse."""
    figures = [(value, layer.name) for layer in layers if (value := figure(layer)) is not None]
    bad = sorted((pair for pair in figures if is_bad(pair[0])), key=lambda pair: -pair[0])
    if not bad:
        return []
    names = tuple(name for _, name in bad)
    return [Finding(kind, names, abs(bad[0][0]), f"{words(names[0], bad[0][0])}{_more(names)}; {advice}")]


def _more(names: Sequence[str]) -> str:
    return f", and in {len(names) - 1} more layers" if len(names) > 1 else ""
