"""Read the metadata of a file of weights: its base model, its class names, and the number of classes it scores."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PureWindowsPath
from typing import Any

import yaml
from torch import Tensor

from yolofuse.config.safe_yaml import MAX_BYTES, parse_yaml
from yolofuse.upstream import list_bases, resolve_base

_STEM = re.compile(r"(?P<family>yolov?\d+)(?P<size>[a-z]?)(?P<variant>(?:-[a-z0-9]+)*)")


def base_of(description: Any) -> str | None:
    """Return the name of the base model that a checkpoint's ``yaml`` describes; None where it is none of the catalogue.

    Ultralytics names the model's file and scale; YOLOv5 gives depth, width and layers, which are then compared with
    those of the catalogue. Either may be the mapping or its text.
    """
    if isinstance(description, str) and len(description) <= MAX_BYTES:
        try:
            description = parse_yaml(description)
        except (yaml.YAMLError, RecursionError, ValueError):
            return None
    if not isinstance(description, dict):
        return None
    if "depth_multiple" in description:
        return next((name for name in list_bases() if _is_yolov5(name, description)), None)
    file, scale = description.get("yaml_file"), description.get("scale")
    if not isinstance(file, str):
        return None
    stem = PureWindowsPath(file).stem  # splits at both kinds of slashes
    parts = _STEM.fullmatch(stem)
    sized = f"{parts['family']}{scale}{parts['variant']}" if parts and not parts["size"] else None
    return next((name for name in (stem, sized) if name in list_bases()), None)


def _is_yolov5(name: str, description: Mapping[Any, Any]) -> bool:
    """Return whether the layers before the head are those of a base; YOLOv5's own head is another one."""
    if not name.startswith("yolov5"):
        return False
    base = resolve_base(name).read()
    multiples = [description.get("depth_multiple"), description.get("width_multiple")]
    return bool(multiples == base["scales"][base["scale"]][:2]) and _layers(description) == _layers(base)


def _layers(description: Mapping[Any, Any]) -> list[Any] | None:
    backbone, head = description.get("backbone"), description.get("head")
    if not isinstance(backbone, list) or not isinstance(head, list):
        return None
    return [_without_none(backbone), _without_none(head[:-1])]


def _without_none(value: Any) -> Any:
    """Replace None by the text "None": YOLOv5 writes the former for a missing size, ultralytics the latter."""
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return "None" if value is None else value


def read_names(names: Any) -> tuple[str, ...] | None:
    """Return class names from a list, or from a mapping by class number; None for anything else, and placeholders."""
    if isinstance(names, dict):
        try:
            by_number = {int(number): name for number, name in names.items()}
        except (TypeError, ValueError):
            return None
        names = [by_number.get(number) for number in range(len(names))]
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str | int) for name in names):
        return None
    texts = tuple(str(name) for name in names)
    return None if texts == tuple(str(number) for number in range(len(texts))) else texts


def class_rows(tensors: Mapping[str, Tensor]) -> int | None:
    """Return how many classes the head scores, by the tensors of its part, named ``<layer>.<rest>``.

    None where the shapes do not show it; they do for heads of ultralytics and YOLOv5.
    """
    if not tensors:
        return None
    head = max(int(name.partition(".")[0]) for name in tensors)
    if any(name.startswith((f"{head}.cv4.", f"{head}.proto.")) for name in tensors):
        return None  # a head for masks, or for text prompts: its rows are no classes
    last = [t.shape[0] for name, t in tensors.items() if re.fullmatch(rf"{head}\.cv3\.\d+\.2\.bias", name) and t.ndim]
    anchors = tensors.get(f"{head}.anchors")
    if not last and anchors is not None and anchors.ndim == 3:
        outputs = [t.shape[0] for name, t in tensors.items() if re.fullmatch(rf"{head}\.m\.\d+\.bias", name) and t.ndim]
        # per anchor: a box, whether there is an object, and the classes
        last = [rows // anchors.shape[1] - 5 for rows in outputs if anchors.shape[1] and not rows % anchors.shape[1]]
    return last[0] if len(set(last)) == 1 and last[0] > 0 else None
