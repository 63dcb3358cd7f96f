"""Define the options of a model's initial weights: files to load, and the policy for what they do not cover."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from yolofuse.config.field_types import AbsolutePath, ImageSize, Moderate, Section, Unit
from yolofuse.types import FusionInit

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
    """Files that the model's initial weights are loaded from.

    A file is an ultralytics checkpoint, a YOLOv5 checkpoint, a state_dict (also as safetensors), or a checkpoint or run
    folder of yolofuse. Its layers are divided at the cut: those before it go to both streams, the others to the trunk.
    """

    pretrained: AbsolutePath | None = None
    """Default source of every part without one below."""
    rgb: AbsolutePath | None = None
    """Source of the RGB stream."""
    ir: AbsolutePath | None = None
    """Source of the IR stream."""
    trunk: Literal["rgb", "ir"] | AbsolutePath | None = None
    """Source of the trunk: a file, or ``rgb`` or ``ir`` for that stream's source. None: ``pretrained``, else that of
    ``rgb``, else that of ``ir``."""
    name_map: AbsolutePath | None = None
    """YAML file that maps the tensor names of a foreign state_dict: ``stem.conv.*: 0.conv.*``. Used for files whose
    layers are not numbered."""
    class_names: tuple[str, ...] | None = None
    """Class names of a source that stores none, in its order: class rows are matched by name. A source that stores
    names keeps them."""
    class_map: dict[str, str] | None = None
    """Class of the data to class of the weights that it starts from, beside equal names and known aliases (people and
    person); ``""`` for a class to be learnt from scratch."""
    keep_classes: bool = False
    """Keep the class rows of the weights that the data has no class for: the loss leaves them out and evaluation does
    not look at them, but the model still scores them. Their names are ``model.kept_classes``."""
    require: Unit = 0.0
    """Stop with an error unless this share of the weights of backbone and neck was loaded."""


class InitRule(Section):
    """A rule for the initial values of some modules; the first rule that matches a module applies.

    An option that the scheme does not use is refused, not ignored. Norm layers match only a rule with a type, or with
    a name that does not also match all modules around them.
    """

    name: str = "*"
    """Shell pattern of a module's or a parameter's name, such as ``fusion.*`` or ``trunk.layers.*.cv1.conv.weight``."""
    type: str | None = None
    """Class of the module or of one of its bases, such as ``Conv2d``. None: any."""
    scheme: SchemeName
    """Distribution, or fixed values, that the weights are filled with."""
    mode: FanMode | None = None
    """For the kaiming schemes; None is fan_in."""
    nonlinearity: NonlinearityName | None = None
    """Activation whose gain is used: ``auto`` for the one that follows, or its name. None is auto for kaiming schemes
    and linear (gain 1) for xavier, orthogonal and eye."""
    slope: Moderate | None = None
    """Negative slope of ``leaky_relu``; None is 0.01."""
    gain: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """The gain itself, instead of the nonlinearity's."""
    mean: Moderate | None = None
    """Of ``normal`` and ``trunc_normal``; None is 0."""
    std: Annotated[float, Field(ge=0, le=1e6)] | None = None
    """Standard deviation of ``normal``, ``trunc_normal`` and the non-zero values of ``sparse``; None is 0.02."""
    low: Moderate | None = None
    """Lower bound of ``uniform``; None is -0.05."""
    high: Moderate | None = None
    """Upper bound of ``uniform``; None is 0.05."""
    value: Moderate | None = None
    """Of ``constant``; None is 0."""
    sparsity: Unit | None = None
    """Share of zeros in each column of ``sparse``, below 1; None is 0.9."""
    cut: Annotated[float, Field(gt=0, le=1e6)] | None = None
    """Bound at which ``trunc_normal`` is truncated, in standard deviations, at least 0.1; None is 2."""
    bias: Literal["zeros", "torch_default"] | Moderate = "zeros"
    """Value of the biases of the modules that match; ``torch_default`` draws them as torch does."""


class InitConfig(Section):
    """Initialisation of the weights that were not loaded. It runs after loading and changes nothing that was loaded."""

    preset: PresetName = "kaiming"
    """Rules for everything that ``rules`` do not match. ``article`` also overwrites loaded weights: for comparison
    only."""
    rules: tuple[InitRule, ...] = ()
    """Rules that are tried before the preset's, in their order."""
    seed: Annotated[int, Field(ge=0)] | None = None
    """Seed of the random draws; None: train.seed."""
    fusion: FusionInit = "average"
    """Output of fresh fusion blocks; ``scheme`` leaves them to the rules. Unused, like ``model.fusion``, where nothing
    is fused."""
    head_std: Annotated[float, Field(ge=0, le=1e6)] | Literal["rules"] | None = None
    """Standard deviation of the last convolution of each head branch; ``rules`` leaves it to the rules. None: the
    preset's."""
    prior_objects: Annotated[float, Field(ge=1e-6, le=1e6)] = 5.0
    """Objects per image that the class biases of a fresh head expect ..."""
    prior_imgsz: ImageSize | None = 640
    """... in an image of this side in pixels; None: train.imgsz."""
    zero_gamma: bool | None = None
    """Start the last norm of every residual branch at zero. None: the preset's choice."""

    @model_validator(mode="after")
    def _check_gains(self) -> InitConfig:
        for number, rule in enumerate(self.rules):
            if rule.gain is not None and (rule.nonlinearity is not None or rule.slope is not None):
                raise ValueError(f"rules[{number}]: gain and nonlinearity exclude each other; leave one out")
        return self
