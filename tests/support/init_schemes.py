"""List initialisation schemes for tests to run over."""

from __future__ import annotations

from yolofuse.config.weights_schema import FanMode, SchemeName
from yolofuse.weights.init import OPTIONS, Scheme

_MODES: tuple[FanMode, ...] = ("fan_in", "fan_out", "fan_avg")
_KAIMING: tuple[SchemeName, ...] = ("kaiming_normal", "kaiming_uniform")
_GAIN = 1.6765  # SiLU's
RANDOM = [
    *(Scheme(name, mode=mode, gain=_GAIN) for name in _KAIMING for mode in _MODES),
    Scheme("xavier_normal"),
    Scheme("xavier_uniform", gain=_GAIN),
    Scheme("orthogonal", gain=_GAIN),
    Scheme("normal", mean=0.5, std=0.01),
    Scheme("uniform", low=-0.1, high=0.3),
    Scheme("trunc_normal", mean=0.1, std=0.02),
    Scheme("trunc_normal", std=0.02, cut=0.7),
    Scheme("sparse", std=0.01, sparsity=0.8),
    Scheme("torch_default"),
]
FIXED = [
    Scheme("constant", value=0.1),
    Scheme("zeros"),
    Scheme("ones"),
    Scheme("eye", gain=2.0),
    Scheme("dirac"),
]


def scheme_id(scheme: Scheme) -> str:
    """Return a test id with the options that distinguish the schemes above."""
    options = sorted(OPTIONS[scheme.name] & {"mode", "cut"})
    return "-".join([scheme.name, *(str(getattr(scheme, option)) for option in options)])
