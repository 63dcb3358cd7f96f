"""What a model starts from: files of weights, and the policy for whatever they do not cover."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from yolofuse.config.field_types import ImageSize, Moderate, Section, Unit
from yolofuse.param_init import FusionInit

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
    """YAML file that says where the tensors of a foreign state_dict belong: ``stem.conv.*: 0.conv.*``. It is used on
    files whose layers are not numbered."""
    class_names: tuple[str, ...] | None = None
    """Classes of a source that does not name them, in its order: class rows go by name. One that does keeps its own."""
    require: Unit = 0.0
    """Stop unless this share of the weights of backbone and neck was loaded."""


class InitRule(Section):
    """How some modules begin. The first rule that matches a module has it.

    An option that the scheme does not read is refused, not ignored. Norms are only meant by a rule with a type, or with
    a name that does not match all that is around them.
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
    slope: Moderate | None = None
    """Negative slope of ``leaky_relu``; None is 0.01."""
    gain: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """The gain itself, instead of a nonlinearity's."""
    mean: Moderate | None = None
    std: Annotated[float, Field(ge=0, le=1e6)] | None = None
    low: Moderate | None = None
    high: Moderate | None = None
    value: Moderate | None = None
    sparsity: Unit | None = None
    """Share of zeros in each column."""
    cut: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Where ``trunc_normal`` is cut, in standard deviations."""
    bias: Literal["zeros", "torch_default"] | Moderate = "zeros"


class InitConfig(Section):
    """The policy for what was not loaded. It runs after loading and touches nothing that was loaded."""

    preset: PresetName = "kaiming"
    """Rules for everything that ``rules`` do not match. ``article`` overwrites even what was loaded: for comparison
    only."""
    rules: tuple[InitRule, ...] = ()
    seed: Annotated[int, Field(ge=0)] | None = None
    """Of the draws; None: train.seed."""
    fusion: FusionInit = "average"
    """What fusion blocks hand on at first; ``scheme`` leaves them to the rules. Like ``model.fusion`` it is not used
    where nothing is fused."""
    head_std: Annotated[float, Field(ge=0, le=1e6)] | Literal["rules"] | None = None
    """Of the last convolution of each head branch; ``rules`` leaves it to them. None: as the preset has it."""
    prior_objects: Annotated[float, Field(ge=1e-6, le=1e6)] = 5.0
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
