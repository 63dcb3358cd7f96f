"""Turn ``model.fusion`` into fusion blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from yolofuse.config import ModelConfig
from yolofuse.config.field_types import part_name, part_options
from yolofuse.config.parts import make_part
from yolofuse.nn import FUSIONS

_TRIAL_CHANNELS = 16


def check_fusion(config: ModelConfig) -> None:
    """Check the fusion block's name and options, also where the cut does not use one; takes a millisecond.

    Raises:
        ConfigError: If there is no such block, or an option is unknown, missing, of another type, or refused by it.
    """
    with torch.random.fork_rng(devices=[]):
        make_part("model.fusion", config.fusion, FUSIONS, _TRIAL_CHANNELS)


def fusion_factory(config: ModelConfig) -> Callable[[int], nn.Module]:
    """Return a function that builds a fusion block for a number of channels.

    Raises:
        ConfigError: As of :func:`check_fusion`.
    """
    check_fusion(config)
    return partial(FUSIONS[part_name(config.fusion)], **part_options(config.fusion))
