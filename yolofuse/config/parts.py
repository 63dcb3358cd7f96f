"""Make parts of the program that a config names: look the constructor up, check its options, call it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from yolofuse.config.error_messages import format_errors
from yolofuse.config.field_types import PartConfig, part_name, part_options
from yolofuse.errors import ConfigError, did_you_mean, listing

T = TypeVar("T")


def check_name(option: str, name: str, known: Collection[str]) -> None:
    """Check that there is a part of a name.

    Args:
        option: The option that names it, for messages.
        name: The name.
        known: All names.

    Raises:
        ConfigError: If there is none.
    """
    if name not in known:
        names = ", ".join(known) or "none; your own code adds them"
        raise ConfigError(f"{option}: unknown name {name!r}{did_you_mean(name, known)} (known: {names})")


def make_part(option: str, part: str | PartConfig, known: Mapping[str, Callable[..., T]], *arguments: Any) -> T:
    """Make a part.

    Args:
        option: The option that names it, for messages.
        part: Its name, with or without options.
        known: Constructors by name. Options are their parameters after ``arguments``, with annotations and defaults.
        arguments: What the constructor takes before the options.

    Raises:
        ConfigError: If there is no such part, or an option is unknown, missing, of another type, or refused by it with
            a ValueError.
    """
    name, options = part_name(part), part_options(part)
    check_name(option, name, known)
    constructor = known[name]
    parameters = list(inspect.signature(constructor, eval_str=True).parameters.values())[len(arguments) :]
    problems = _wrong_options(options, parameters)
    if not problems:
        try:
            return constructor(*arguments, **options)
        except ValueError as problem:
            problems = [str(problem)]
    names = ", ".join(str(parameter.replace(annotation=parameter.empty)) for parameter in parameters)
    described = f"options of {name}: {names}" if names else f"{name} has no options"
    raise ConfigError(f"{listing(option, problems, 'wrong value')}\n  {described}")


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
