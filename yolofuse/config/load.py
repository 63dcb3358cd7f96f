"""Load a :class:`Config` from a YAML file and ``section.key=value`` overrides; report every mistake at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from yolofuse.config.error_messages import format_errors
from yolofuse.config.safe_yaml import dump_yaml, parse_yaml, read_yaml
from yolofuse.config.schema import Config
from yolofuse.errors import ConfigError, listing


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Load the config of a run; its paths become absolute, relative to the working directory.

    Args:
        path: The run's YAML.
        overrides: Such as ``train.imgsz=320``; the value is parsed as YAML.

    Raises:
        ConfigError: Naming every unknown key (and the nearest right one) and every wrong value.
    """
    return validate_config(read_yaml(path), overrides, where=str(path))


def validate_config(raw: dict[str, Any], overrides: Sequence[str] = (), *, where: str) -> Config:
    """Validate content that is already read, as :func:`load_config` does; ``where`` names its source in messages."""
    content = _apply_overrides(raw, overrides)
    try:
        return Config.model_validate(_lists_to_tuples(content))
    except ValidationError as error:
        raise ConfigError(listing(where, format_errors(error, Config), "wrong value")) from error


def dump_config(config: Config) -> str:
    """Return the config as YAML text; loading it gives an equal config."""
    return dump_yaml(plain_config(config))


def plain_config(config: Config, *, only_set: bool = False) -> dict[str, Any]:
    """Return the config as plain dicts, lists and scalars; ``only_set``: without what nobody has given a value."""
    return config.model_dump(mode="json", exclude_unset=only_set)


def override_words(options: Mapping[str, Any]) -> list[str]:
    """Write options of a function call as overrides: ``train={"epochs": 3}`` as ``train.epochs=3``.

    Args:
        options: Values by section or dotted key; of a section, the mapping holds the options to change.
    """
    return [f"{name}={json.dumps(value, default=str)}" for name, value in _flat_sections(options, Config)]


def _flat_sections(options: Mapping[str, Any], section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        field = section.model_fields.get(name)
        inner = None if field is None else field.annotation
        if isinstance(value, Mapping) and isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _flat_sections(value, inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _apply_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    content = {key: dict(value) if isinstance(value, dict) else value for key, value in raw.items()}
    problems = []
    for override in overrides:
        name, equals, text = override.partition("=")
        keys = name.split(".")
        if not equals or not all(keys):
            problems.append(f"'{override}': write it as section.key=value, for example train.imgsz=320")
            continue
        try:
            value = parse_yaml(text)
        except yaml.YAMLError:
            value = text
        section = content
        for key in keys[:-1]:
            inner = section.get(key)
            section[key] = dict(inner) if isinstance(inner, dict) else {}
            section = section[key]
        section[keys[-1]] = value
    if problems:
        raise ConfigError(listing("command line", problems))
    return content


def _lists_to_tuples(value: Any) -> Any:
    """Convert lists at any depth: a frozen config holds no lists."""
    if isinstance(value, dict):
        return {key: _lists_to_tuples(item) for key, item in value.items()}
    return tuple(_lists_to_tuples(item) for item in value) if isinstance(value, list) else value


def flat_options(config: Config) -> dict[str, Any]:
    """Return all options by dotted key, such as ``train.epochs``."""
    return _flatten(plain_config(config))


def _flatten(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in section.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
