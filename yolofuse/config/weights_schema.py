"""What a model starts from: files of weights, and the policy for whatever they do not cover."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from yolofuse.config.fields import ImageSize, NonNegative, Number, Positive, Section, Unit
from yolofuse.starts import FusionStart

PresetName = Literal["kaiming", "xavier", "ultralytics", "resnet", "vgg", "article"]
SchemeName = Literal[
    "kaiming_normal",
    "kaiming_uniform",
    "xavier_normal",
    "xavier_uniform",
    "orthogonal",
    "normal",
    "uniform",
    "trunc_normal",
    "constant",
    "zeros",
    "ones",
    "eye",
    "dirac",
    "sparse",
    "torch_default",
]
FanMode = Literal["fan_in", "fan_out", "fan_avg"]
NonlinearityName = Literal[
    "auto",
    "linear",
    "relu",
    "leaky_relu",
    "silu",
    "gelu",
    "mish",
    "hardswish",
    "selu",
    "elu",
    "tanh",
    "sigmoid",
]


class WeightsConfig(Section):
    """Which files the model starts from.

    A file is an ultralytics checkpoint, a YOLOv5 checkpoint, a state_dict, or a checkpoint or run folder of ours. Its
    layers go through the cut: to both streams, and to the trunk.
    """

    pretrained: str | None = None
    """For every part that has no source of its own below."""
    rgb: str | None = None
    """For the RGB stream."""
    ir: str | None = None
    """For the IR stream."""
    trunk: str | None = None
    """For the trunk: a file, or ``rgb`` or ``ir`` for that stream's source. None: ``pretrained``, else ``rgb``'s, else
    ``ir``'s."""
    name_map: str | None = None
    """YAML file that says where the tensors of a foreign state_dict belong: ``stem.conv.*: 0.conv.*``."""
    class_names: tuple[str, ...] | None = None
    """Classes of a source that does not carry their names, in its order: class rows go by name."""
    require: Unit = 0.0
    """Stop unless this share of the weights of backbone and neck was loaded."""


class InitRule(Section):
    """How some modules begin. The first rule that matches a module has it.

    Which options a scheme reads is checked when the rule is used: a mode for ``constant`` is refused, not ignored.
    """

    name: str = "*"
    """Shell pattern of a module's or a parameter's name, such as ``fusion.*`` or ``trunk.layers.*.cv1.conv.weight``."""
    type: str | None = None
    """Class of the module or of one of its bases, such as ``Conv2d``. None: any."""
    scheme: SchemeName
    mode: FanMode | None = None
    """Of the kaiming schemes; None is fan_in."""
    nonlinearity: NonlinearityName | None = None
    """Whose gain to take: ``auto`` for the activation that follows, or its name. None is auto for kaiming schemes and
    linear (gain 1) for xavier, orthogonal and eye."""
    slope: Number | None = None
    """Negative slope of ``leaky_relu``; None is 0.01."""
    gain: Positive | None = None
    """The gain itself, instead of a nonlinearity's."""
    mean: Number | None = None
    std: NonNegative | None = None
    low: Number | None = None
    high: Number | None = None
    value: Number | None = None
    sparsity: Unit | None = None
    """Share of zeros in each column."""
    cut: Positive | None = None
    """Where ``trunc_normal`` is cut, in standard deviations."""
    bias: Literal["zeros", "torch_default"] | Number = "zeros"


class InitConfig(Section):
    """The policy for what was not loaded. It runs after loading and touches nothing that was loaded."""

    preset: PresetName = "kaiming"
    """Rules for everything that ``rules`` do not match. ``article`` overwrites even what was loaded: for comparison
    only."""
    rules: tuple[InitRule, ...] = ()
    seed: Annotated[int, Field(ge=0)] | None = None
    """Of the draws; None: train.seed."""
    fusion: FusionStart = "average"
    """What fusion blocks hand on at first; ``scheme`` leaves them to the rules."""
    head_std: NonNegative | Literal["rules"] | None = None
    """Of the last convolution of each head branch; ``rules`` leaves it to them. None: as the preset has it."""
    prior_objects: Positive = 5.0
    """Objects per image that the class biases of a fresh head expect ..."""
    prior_imgsz: ImageSize | None = 640
    """... in an image of this side in pixels; None: train.imgsz."""
    zero_gamma: bool | None = None
    """Start the last norm of every residual branch at zero. None: as the preset has it."""

    @model_validator(mode="after")
    def _one_gain(self) -> InitConfig:
        for number, rule in enumerate(self.rules):
            if rule.gain is not None and (rule.nonlinearity is not None or rule.slope is not None):
                raise ValueError(f"rules[{number}]: gain and nonlinearity say the same thing twice; leave one out")
        return self
