"""Turn ``model.fusion`` into fusion blocks: look up the block and check its options against its constructor."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from torch import nn

from yolofuse.config import ModelConfig, format_errors
from yolofuse.errors import ConfigError, did_you_mean, listing
from yolofuse.nn import FUSIONS

_TRIAL_CHANNELS = 16


def check_fusion(config: ModelConfig) -> None:
    """Check the fusion block's name and options, also where the cut does not use one; takes a millisecond.

    Raises:
        ConfigError: If there is no such block, or an option is unknown, missing, of another type, or refused by it.
    """
    name, options = config.fusion_name, config.fusion_options
    block = FUSIONS.get(name)
    if block is None:
        hint = f"{did_you_mean(name, FUSIONS)} (known: {', '.join(FUSIONS)})"
        raise ConfigError(f"model.fusion: unknown block {name!r}{hint}")
    _, *parameters = inspect.signature(block, eval_str=True).parameters.values()  # without channels
    problems = _wrong_options(options, parameters)
    if not problems:
        try:
            with torch.random.fork_rng(devices=[]):
                block(_TRIAL_CHANNELS, **options)
        except ValueError as problem:
            problems = [str(problem)]
    if problems:
        known = ", ".join(str(option.replace(annotation=option.empty)) for option in parameters)
        described = f"options of {name}: {known}" if known else f"{name} has no options"
        raise ConfigError(f"{listing('model.fusion', problems, 'wrong value')}\n  {described}")


def fusion_factory(config: ModelConfig) -> Callable[[int], nn.Module]:
    """Return a function that builds a fusion block for a number of channels.

    Raises:
        ConfigError: As of :func:`check_fusion`.
    """
    check_fusion(config)
    return partial(FUSIONS[config.fusion_name], **config.fusion_options)


def _wrong_options(options: Mapping[str, Any], parameters: Sequence[inspect.Parameter]) -> list[str]:
    """Compare options with names and annotations of a constructor's parameters, without converting anything."""
    fields: dict[str, Any] = {
        option.name: (
            Any if option.annotation is option.empty else option.annotation,
            ... if option.default is option.empty else option.default,
        )
        for option in parameters
    }
    schema: type[BaseModel] = create_model("Options", __config__=ConfigDict(strict=True, extra="forbid"), **fields)
    try:
        schema.model_validate(dict(options))
    except ValidationError as error:
        return format_errors(error, schema)
    return []
