"""Define the named policies: each is a few rules and switches, which follow the run's own rules."""

from __future__ import annotations

from dataclasses import dataclass

from yolofuse.config import InitRule
from yolofuse.config.weights_schema import PresetName


@dataclass(frozen=True)
class Preset:
    """A named policy.

    Attributes:
        rules: For everything that a run's own rules do not match.
        overwrites_all: Whether the rules overwrite fixed, declared and loaded tensors; such a preset has a ``warning``.
    """

    rules: tuple[InitRule, ...]
    head_std: float | None = 0.01
    zero_gamma: bool = False
    overwrites_all: bool = False
    warning: str = ""


PRESETS: dict[PresetName, Preset] = {
    # He et al., arXiv:1502.01852, with the gain of the activation that really follows.
    "kaiming": Preset((InitRule(scheme="kaiming_normal", mode="fan_in", nonlinearity="auto"),)),
    # Glorot and Bengio, AISTATS 2010, as printed: for a linear unit.
    "xavier": Preset((InitRule(scheme="xavier_normal", nonlinearity="linear"),)),
    # What ultralytics starts from: torch's own defaults, and its priors.
    "ultralytics": Preset((InitRule(scheme="torch_default", bias="torch_default"),), head_std=None),
    # After torchvision's ResNet, with the zero gamma of Goyal et al., arXiv:1706.02677. The fan_out here counts stride
    # and groups, so that a convolution of stride 2 has twice torchvision's standard deviation.
    "resnet": Preset((InitRule(scheme="kaiming_normal", mode="fan_out", nonlinearity="relu"),), zero_gamma=True),
    # After torchvision's VGG; the same is true of its fan_out.
    "vgg": Preset(
        (
            InitRule(type="Linear", scheme="normal", std=0.01),
            InitRule(scheme="kaiming_normal", mode="fan_out", nonlinearity="relu"),
        )
    ),
    # An article's recipe: model.apply(kaiming) over every convolution and BatchNorm, biases to zero.
    "article": Preset(
        (
            InitRule(type="Conv2d", scheme="kaiming_normal", mode="fan_in", nonlinearity="relu"),
            InitRule(type="BatchNorm2d", scheme="ones"),
        ),
        head_std=None,
        overwrites_all=True,
        warning="init.preset article overwrites every convolution and BatchNorm: the DFL layer's fixed weights "
        "(without them no box is ever right), the head's prior biases (the first loss is many times too high), the "
        "declared initial values of fusion blocks, and everything that was loaded. It is there for comparison, not "
        "for training",
    ),
}
