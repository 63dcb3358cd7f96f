"""From a YAML file and ``section.key=value`` words to a :class:`Config`, with every mistake told at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from yolofuse.config.safe_yaml import parse_yaml, read_yaml
from yolofuse.config.schema import Config
from yolofuse.errors import ConfigError, listing

_PATHS = (
    *(("data", key) for key in ("descriptor", "root", "cache_dir")),
    *(("weights", key) for key in ("pretrained", "rgb", "ir", "trunk", "name_map")),
)
_NOT_PATHS = {("weights", "trunk", stream) for stream in ("rgb", "ir")}


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """The config of a run. Paths in it are made absolute, as seen from the folder the command was given in.

    Args:
        path: The run's YAML.
        overrides: Words such as ``train.imgsz=320``; the value is read as YAML.

    Raises:
        ConfigError: Naming every unknown key (and the nearest right one) and every wrong value.
    """
    return validate_config(read_yaml(path), overrides, where=str(path))


def validate_config(raw: dict[str, Any], overrides: Sequence[str] = (), *, where: str) -> Config:
    """Like :func:`load_config` for content that is already read; ``where`` names its source in messages."""
    content = _apply_overrides(raw, overrides)
    try:
        config = Config.model_validate(_tuples(content))
    except ValidationError as error:
        raise ConfigError(listing(where, sorted(set(_messages(error.errors()))), "wrong value")) from error
    return _absolute(config)


def dump_config(config: Config) -> str:
    """The config as YAML text; loading it gives an equal config."""
    return yaml.safe_dump(plain_config(config), sort_keys=False, allow_unicode=True)


def plain_config(config: Config) -> dict[str, Any]:
    """The config as plain dicts, lists and scalars."""
    return config.model_dump(mode="json")


def _apply_overrides(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    content = {key: dict(value) if isinstance(value, dict) else value for key, value in raw.items()}
    problems = []
    for word in overrides:
        name, equals, text = word.partition("=")
        keys = name.split(".")
        if not equals or not all(keys):
            problems.append(f"'{word}': write it as section.key=value, for example train.imgsz=320")
            continue
        try:
            value = parse_yaml(text)
        except yaml.YAMLError:
            value = text
        place = content
        for key in keys[:-1]:
            inner = place.get(key)
            place[key] = dict(inner) if isinstance(inner, dict) else {}
            place = place[key]
        place[keys[-1]] = value
    if problems:
        raise ConfigError(listing("command line", problems))
    return content


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _messages(errors: Sequence[ErrorDetails]) -> Iterator[str]:
    by_field: dict[str, list[str]] = {}
    for error in errors:
        depth, section = _deepest_field([str(part) for part in error["loc"]])
        key = ".".join(str(part) for part in error["loc"][:depth])
        if error["type"] == "extra_forbidden":
            by_field[key] = [f"unknown key{_suggestion(key, section)}"]
        elif error["type"] == "missing":
            by_field[key] = ["is missing; it has no default"]
        elif error["type"] == "value_error":
            text = error["msg"].removeprefix("Value error, ")
            by_field.setdefault(key, []).append(text if not key else f"{text} (got {error['input']!r})")
        else:
            text = (error["msg"][0].lower() + error["msg"][1:]).replace("valid tuple", "list")
            by_field.setdefault(key, []).append(f"{text} (got {error['input']!r})")
    for key, texts in by_field.items():
        merged = " or ".join(dict.fromkeys(text.rsplit(" (got", 1)[0] for text in texts))
        got = f" (got{texts[0].rsplit(' (got', 1)[1]}" if " (got" in texts[0] else ""
        yield f"{key}: {merged}{got}" if key else merged + got


def _deepest_field(location: list[str]) -> tuple[int, type[BaseModel]]:
    """How much of an error's location names fields (the rest names arms of a union), and the section it ends in."""
    section: type[BaseModel] = Config
    for depth, part in enumerate(location):
        if depth and part.isdigit():
            continue  # an item of a list of sections
        field = section.model_fields.get(part)
        inner = _inner_section(field.annotation) if field else None
        if inner is None:
            return depth + 1, section
        section = inner
    return len(location), section


def _inner_section(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, or holds a list of."""
    inner = get_args(annotation)[0] if get_origin(annotation) is tuple else annotation
    return inner if isinstance(inner, type) and issubclass(inner, BaseModel) else None


def _all_keys(section: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _all_keys(inner, f"{prefix}{name}.")
        else:
            yield prefix + name


def _suggestion(key: str, section: type[BaseModel]) -> str:
    keys = list(_all_keys())
    prefix, _, last = key.rpartition(".")
    here = difflib.get_close_matches(last, section.model_fields, n=1)
    if here:
        return f"; did you mean {prefix + '.' if prefix else ''}{here[0]}?"
    elsewhere = [known for known in keys if known.rpartition(".")[2] == last] or difflib.get_close_matches(key, keys, 1)
    return f"; did you mean {elsewhere[0]}?" if elsewhere else f"; known here: {', '.join(section.model_fields)}"


def _absolute(config: Config) -> Config:
    changed: dict[str, dict[str, str]] = {}
    for section, key in _PATHS:
        value = getattr(getattr(config, section), key)
        if value is not None and (section, key, value) not in _NOT_PATHS:
            changed.setdefault(section, {})[key] = str(Path(value).expanduser().absolute())
    return config.model_copy(
        update={name: getattr(config, name).model_copy(update=update) for name, update in changed.items()}
    )
