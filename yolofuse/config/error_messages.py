"""Format pydantic's validation errors as ``dotted.key: message (got value)``, with the nearest key for unknown ones."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Tag, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from yolofuse.config.safe_yaml import ODD_NUMBER
from yolofuse.errors import closest

_Model = type[BaseModel]

SYNONYMS = {
    "lr": "lr0",
    "learning_rate": "lr0",
    "batch_size": "batch",
    "img_size": "imgsz",
    "nbs": "nominal_batch",
    "amp": "precision",
    "name": "run",
    "project": "run",
    "cos_lr": "schedule",
    "fliplr": "flip_lr",
    "flipud": "flip_ud",
    "rect": "letterbox",
    "data": "descriptor",
    "single_cls": "single_class",
}
"""Other names of options, ultralytics' among them: suggested before names that are spelt alike."""


def format_errors(
    error: ValidationError,
    model: _Model,
    *,
    list_base: int | None = None,
    show: Callable[[object], str] = repr,
) -> list[str]:
    """Format every mistake that pydantic found, sorted and without repetition.

    Messages of the arms of a union are merged into one: ``... or ...``. A ``ValueError`` that a validator raises keeps
    its text. Unknown keys are compared with the keys of their section first, then with those of the whole model.

    Args:
        error: What ``model.model_validate`` raised.
        model: The model that was validated.
        list_base: How items of lists are written: None is ``rules.0``, a number is ``rules[0]`` counted from it.
        show: Formats a value for ``(got ...)``.
    """
    messages: dict[str, list[str]] = {}
    values: dict[str, str] = {}
    of_arms: set[str] = set()
    for details in error.errors():
        key, section, is_arm = _resolve(details["loc"], model, list_base)
        values.setdefault(key, f" (got {show(details['input'])})" if key else "")
        if details["type"] == "extra_forbidden":
            messages[key], values[key] = [f"unknown key{_suggest(key, section, model)}"], ""
        elif details["type"] == "missing":
            messages[key], values[key] = ["is missing; it has no default"], ""
        else:
            messages.setdefault(key, []).append(_message(details))
            of_arms |= {key} if is_arm else set()
    inner = {key for key in of_arms if any(other.startswith((f"{key}.", f"{key}[")) for other in messages)}
    lines = (
        f"{key}: {_merge(texts)}{values[key]}".removeprefix(": ")
        for key, texts in messages.items()
        if key not in inner  # another arm of the union got further
    )
    return sorted(set(lines))


def _message(details: ErrorDetails) -> str:
    if details["type"] == "value_error":
        return details["msg"].removeprefix("Value error, ")
    if details["type"] in {"model_type", "model_attributes_type", "dict_type"}:
        return "input should be a mapping of keys to values"
    text = (details["msg"][0].lower() + details["msg"][1:]).replace("valid tuple", "list")
    return text + _how_to_write(details["type"], details["input"])


def _how_to_write(kind: str, value: object) -> str:
    """Return what to write where YAML has read a name as a truth value or a date, or left a number as text."""
    if kind == "string_type" and isinstance(value, bool | date):
        return "; put it in quotes (YAML reads yes, no, on and off as true or false)"
    if kind in {"int_type", "float_type"} and isinstance(value, str) and ODD_NUMBER.fullmatch(value):
        return f"; write {value.lstrip('0')}" if value.isdecimal() and value.strip("0") else "; write it in decimal"
    return ""


def _merge(messages: Sequence[str]) -> str:
    first, *others = dict.fromkeys(messages)
    return " or ".join([first, *(text.removeprefix("input should be ") for text in others)])


def _resolve(location: tuple[int | str, ...], model: _Model, list_base: int | None) -> tuple[str, _Model, bool]:
    """Return the dotted key of an error's location, the section it is in, and whether it ends at a union's arm.

    A location also names arms of unions, which are no keys of the document.
    """
    key, section, annotation, is_arm = "", model, model, False
    for part in location:
        annotation, is_arm = _step(annotation, part)
        if not is_arm and isinstance(part, int):
            key += f".{part}" if list_base is None else f"[{part + list_base}]"
        elif not is_arm:
            key += f".{part}" if key else str(part)
        if annotation is None:
            break
        arms = list(_arms(annotation))
        if len(arms) == 1 and _is_model(arms[0]):
            section = arms[0]
    return key, section, is_arm


def _step(annotation: Any, part: int | str) -> tuple[Any, bool]:
    """Return the annotation behind one part of a location (None: unknown), and whether the part is a union's arm."""
    arms = _arms(annotation)
    if len(arms) > 1:
        named = [bare for bare, name in arms.items() if str(part).partition("[")[0] == name]
        return (named[0] if named else None), True
    bare = next(iter(arms))
    if _is_model(bare):
        field = _fields(bare).get(str(part))
        return (field.annotation if field else None), False
    origin, inner = get_origin(bare), [item for item in get_args(bare) if item is not Ellipsis]
    if origin in {list, tuple, set, frozenset} and isinstance(part, int) and inner:
        return inner[min(part, len(inner) - 1)], False
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return inner[1], False
    return None, not isinstance(part, int)


def _arms(annotation: Any) -> dict[Any, str]:
    """Return the arms of a union without None, each with its name in locations; one arm for any other annotation."""
    bare, name = _strip(annotation)
    if get_origin(bare) not in {Union, types.UnionType}:
        return {bare: name}
    return {arm: tag for arm, tag in map(_strip, get_args(bare)) if arm is not type(None)}


def _strip(annotation: Any) -> tuple[Any, str]:
    name = ""
    if get_origin(annotation) is Annotated:
        annotation, *metadata = get_args(annotation)
        name = next((item.tag for item in metadata if isinstance(item, Tag)), "")
    return annotation, name or str(getattr(annotation, "__name__", annotation))


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _fields(section: _Model) -> dict[str, FieldInfo]:
    """Return the fields of a section by the names that a document gives them."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def _all_keys(section: _Model, prefix: str = "") -> Iterator[str]:
    for name, field in _fields(section).items():
        if _is_model(field.annotation):
            yield from _all_keys(field.annotation, f"{prefix}{name}.")  # type: ignore[arg-type]
        else:
            yield prefix + name


def _suggest(key: str, section: _Model, root: _Model) -> str:
    prefix, dot, last = key.rpartition(".")
    known = list(_fields(section))
    keys = list(_all_keys(root))
    synonym = SYNONYMS.get(last)
    if synonym in known:
        return f"; did you mean {prefix}{dot}{synonym}?"
    best = [f"{prefix}{dot}{name}" for name in closest(last, known)]
    best = best or [name for name in keys if name.rpartition(".")[2] == last] or closest(key, keys)
    return f"; did you mean {best[0]}?" if best else f"; known here: {', '.join(known) or 'nothing'}"
