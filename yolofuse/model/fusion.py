"""Turn ``model.fusion`` into fusion blocks: look up the block and check its options against its constructor."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
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
    parameters = _option_parameters(block)
    problems = _unknown_options(options, parameters) + _wrong_values(options, parameters)
    if not problems:
        try:
            with torch.random.fork_rng(devices=[]):
                block(_TRIAL_CHANNELS, **options)
        except ValueError as problem:
            problems = [str(problem)]
    if problems:
        raise ConfigError(f"{listing('model.fusion', problems, 'wrong value')}\n  {_describe(name, parameters)}")


def fusion_factory(config: ModelConfig) -> Callable[[int], nn.Module]:
    """Return a function that builds a fusion block for a number of channels.

    Raises:
        ConfigError: As of :func:`check_fusion`.
    """
    check_fusion(config)
    return partial(FUSIONS[config.fusion_name], **config.fusion_options)


def _option_parameters(block: type[nn.Module]) -> dict[str, inspect.Parameter]:
    """Return the constructor's parameters after ``channels``."""
    _, *options = inspect.signature(block, eval_str=True).parameters.values()
    return {option.name: option for option in options}


def _unknown_options(options: Mapping[str, Any], parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    return [f"{name}: unknown option{did_you_mean(name, parameters)}" for name in options if name not in parameters]


def _wrong_values(options: Mapping[str, Any], parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    """Compare options with the annotations of the constructor, without converting anything."""
    fields: dict[str, Any] = {
        name: (Any if option.annotation is option.empty else option.annotation, _default(option))
        for name, option in parameters.items()
    }
    schema: type[BaseModel] = create_model("Options", __config__=ConfigDict(strict=True), **fields)
    try:
        schema.model_validate(dict(options))
    except ValidationError as error:
        return format_errors(error, schema)
    return []


def _default(option: inspect.Parameter) -> Any:
    return ... if option.default is option.empty else option.default


def _describe(name: str, parameters: Mapping[str, inspect.Parameter]) -> str:
    """Format the options that a block has, with their defaults."""
    known = [
        key if option.default is option.empty else f"{key}={option.default!r}" for key, option in parameters.items()
    ]
    return f"options of {name}: {', '.join(known)}" if known else f"{name} has no options"
