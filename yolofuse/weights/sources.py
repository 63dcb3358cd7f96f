"""Read any file of weights, without running what is in it, as tensors keyed by layer number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor

from yolofuse.config.safe_yaml import CONTROL
from yolofuse.errors import WeightsError
from yolofuse.files import file_sha256
from yolofuse.types import PAIR_FORMATS, PairFormat
from yolofuse.weights.checkpoint import FORMAT, check_version, verify_checksum
from yolofuse.weights.layer_names import (
    apply_name_map,
    has_layer_numbers,
    has_part_names,
    key_by_layer,
    quote_first,
    split_by_part,
)
from yolofuse.weights.safe_load import ModuleStub, open_models
from yolofuse.weights.safetensors_io import SUFFIX, open_safetensors
from yolofuse.weights.source_metadata import base_of, class_rows, read_names

_T = TypeVar("_T")
InputModality = Literal["rgb", "ir", "stacked"]
_MODALITIES: dict[int, InputModality] = {3: "rgb", 1: "ir", 4: "stacked"}  # by channels of the first convolution
_NESTED = ("ema", "model", "state_dict", "model_state_dict")  # the EMA first: it is what was evaluated
_MAX_DEPTH = 4
_MAX_MODULES = 10_000


@dataclass(frozen=True)
class Source:
    """Content of a file of weights.

    Attributes:
        path: The file itself, also where a run folder was given.
        parts: Tensors by part, then by ``<layer>.<rest>`` (``<tap>.<rest>`` in ``fusion``); floating ones are float32.
            A single-stream file has the one part ``trunk``; a yolofuse run has the parts of its model.
        names: Class names; None where the file has none, or only placeholders.
        base: The single-stream model it is, such as ``yolov8n``, where the file names it.
        input_modality: Which image a single-stream model reads, by its first convolution; None where that is
            unclear, and for a model with two streams.
        is_mapped: Whether its names came from a name map.
        formats: Rules by which the pairs of its training were read; empty where it does not hold them.
    """

    path: Path
    parts: Mapping[str, Mapping[str, Tensor]]
    names: tuple[str, ...] | None
    base: str | None
    input_modality: InputModality | None
    sha256: str
    is_mapped: bool = False
    formats: tuple[PairFormat, ...] = ()


@dataclass
class _RawState:
    """A state_dict and its metadata, as a file holds them."""

    state: dict[str, Tensor]
    names: Any = None
    yaml: Any = None


def load_source(
    path: Path, *, name_map: Mapping[str, str] | None = None, class_names: Sequence[str] | None = None
) -> Source:
    """Read a file of weights, or the best weights of a run folder.

    Args:
        path: A checkpoint of ultralytics 8 or YOLOv5, a state_dict, a safetensors file, a yolofuse checkpoint, or a
            yolofuse run folder.
        name_map: For a state_dict with other names: pattern of its names to ``<layer>.<rest>``. A ``*`` matches any
            text, as short as it can be, which replaces in order the ``*`` of the target. Names without a match are
            left out. The map is not applied to a file whose layers are numbered.
        class_names: The classes of a file that does not name them; one that does keeps its own.

    Raises:
        WeightsError: If the file is missing, damaged, holds code or anything unknown, does not fit ``name_map``, or
            names no classes and has another number of them than ``class_names``.
    """
    file = _resolve_file(path)
    content = open_safetensors(file) if file.suffix == SUFFIX else open_models(file)
    is_mapped = False
    formats: tuple[PairFormat, ...] = ()
    if isinstance(content, dict) and content.get("format") == FORMAT:
        raw, parts, base = _read_checkpoint(file, content)
        formats = _read_formats(file, content)
    else:
        raw = _find_state(content) or _RawState({})
        if not raw.state:
            is_dict = isinstance(content, dict)
            inside = f"a dict of {quote_first(map(str, content))}" if is_dict else type(content).__name__
            raise WeightsError(f"{file}: no model and no state_dict in it (got {inside}); give a file that has one")
        is_mapped = name_map is not None and not has_layer_numbers(raw.state)
        if has_part_names(raw.state):  # a yolofuse model in a safetensors file
            parts = split_by_part(file, raw.state)
        elif name_map is not None and is_mapped:
            parts = {"trunk": apply_name_map(file, raw.state, name_map)}
        else:
            parts = {"trunk": key_by_layer(file, raw.state)}
        base = base_of(raw.yaml)
    parts = _to_dense_float32(file, parts)
    return Source(
        path=file,
        parts=parts,
        names=_resolve_names(file, parts, read_names(raw.names), class_names),
        base=base,
        input_modality=_input_modality(parts["trunk"]) if set(parts) == {"trunk"} else None,
        sha256=file_sha256(file),
        is_mapped=is_mapped,
        formats=formats,
    )


def _resolve_file(path: Path) -> Path:
    try:
        if not path.is_dir():
            return path
    except OSError as error:  # a name that is too long, for instance
        raise WeightsError(f"{str(path)[:100]}: cannot be read ({error.strerror}); check the path") from error
    for name in ("best.pt", "last.pt"):
        if (path / "weights" / name).is_file():
            return path / "weights" / name
    raise WeightsError(
        f"{path}: a folder with neither weights/best.pt nor weights/last.pt; give a run folder or a file"
    )


def _read_checkpoint(path: Path, content: dict[str, Any]) -> tuple[_RawState, dict[str, dict[str, Tensor]], str | None]:
    """Return a yolofuse checkpoint's EMA, raw and by part, and its base."""
    check_version(path, content, has_checksum=verify_checksum(path))
    raw = _find_state({"ema": content.get("ema")}) or _RawState({})
    parts = split_by_part(path, raw.state)
    config = content.get("config")
    model = config.get("model") if isinstance(config, dict) else None
    names, kept = content.get("names"), model.get("kept_classes") if isinstance(model, dict) else None
    raw.names = [*names, *kept] if isinstance(names, list) and isinstance(kept, list | tuple) else names
    base = model.get("base") if isinstance(model, dict) else None
    return raw, parts, base if isinstance(base, str) else None


def _read_formats(path: Path, content: dict[str, Any]) -> tuple[PairFormat, ...]:
    try:
        return PAIR_FORMATS.validate_python(content.get("formats") or ())
    except ValidationError as error:
        raise WeightsError(f"{path}: damaged (formats: {error.errors()[0]['msg'].lower()}); use another file") from None


def _find_state(content: Any, depth: int = 0) -> _RawState | None:
    """Find the state_dict in a checkpoint: it is a model, a dict that holds one, or the state_dict itself."""
    if isinstance(content, ModuleStub):
        return _RawState(_state_of(content), content.kept.get("names"), content.kept.get("yaml"))
    if not isinstance(content, dict) or depth > _MAX_DEPTH:
        return None
    for key in _NESTED:
        inner = _find_state(content.get(key), depth + 1)
        if inner is not None and inner.state:
            inner.names = content.get("names") if inner.names is None else inner.names
            inner.yaml = content.get("yaml") if inner.yaml is None else inner.yaml
            return inner
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    return _RawState(state, content.get("names"), content.get("yaml"))


def _state_of(model: ModuleStub) -> dict[str, Tensor]:
    """Return what ``state_dict()`` of the real model would, without calling the model.

    A damaged file may hold a module inside itself; the limit on their number ends that.
    """
    state: dict[str, Tensor] = {}
    todo = [("", model)]
    for _ in range(_MAX_MODULES):
        if not todo:
            return state
        prefix, module = todo.pop()
        transient = module.kept.get("_non_persistent_buffers_set")
        transient = transient if isinstance(transient, set) else set()
        buffers = ((name, value) for name, value in _items_of(module, "_buffers", Tensor) if name not in transient)
        state |= {f"{prefix}{name}": value for name, value in (*_items_of(module, "_parameters", Tensor), *buffers)}
        children = [(f"{prefix}{name}.", child) for name, child in _items_of(module, "_modules", ModuleStub)]
        todo += reversed(children)
    return {}


def _items_of(module: ModuleStub, key: str, kind: type[_T]) -> Iterator[tuple[Any, _T]]:
    items = module.kept.get(key)
    if isinstance(items, dict):
        yield from ((name, value) for name, value in items.items() if isinstance(value, kind))


def _to_dense_float32(path: Path, parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """Return the tensors detached, and in float32 where they are of another float type; refuses all but dense ones."""
    dense: dict[str, dict[str, Tensor]] = {part: {} for part in parts}
    unusable, not_finite = [], []
    for part, name, given in ((p, name, given) for p, tensors in parts.items() for name, given in tensors.items()):
        if CONTROL.search(name):
            raise WeightsError(f"{path}: a tensor is called {name[:80]!r}; give plain names")
        tensor = torch.detach(given)
        label = f"{part}.{name}" if len(parts) > 1 else name
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.device.type != "cpu":
            unusable.append(label)
            continue
        dense[part][name] = tensor.float() if tensor.is_floating_point() else tensor
        if tensor.is_floating_point() and not dense[part][name].isfinite().all():
            not_finite.append(label)
    if unusable:
        raise WeightsError(
            f"{path}: sparse, quantised, complex or without values: {quote_first(unusable)}; give float weights"
        )
    if not_finite:
        raise WeightsError(
            f"{path}: damaged, {len(not_finite)} tensors are not finite: {quote_first(not_finite)}; use another file"
        )
    return dense


def _resolve_names(
    path: Path,
    parts: Mapping[str, Mapping[str, Tensor]],
    own: tuple[str, ...] | None,
    given: Sequence[str] | None,
) -> tuple[str, ...] | None:
    """Return the file's class names, else the given ones; refuses another number of them than the head scores."""
    names = own if own is not None or given is None else tuple(given)
    if names is None:
        return None
    unprintable = [name for name in names if CONTROL.search(name)]
    if unprintable:  # they would reach a terminal
        raise WeightsError(f"{path}: a class is called {unprintable[0][:80]!r}; give a state_dict without names")
    for part in set(parts) - {"fusion"}:
        rows = class_rows(parts[part])
        if rows is not None and rows != len(names):
            whose, remedy = (
                ("weights.class_names has", "give as many")
                if own is None
                else ("it has", "it is damaged, or a head was changed by hand: give a state_dict without names")
            )
            raise WeightsError(
                f"{path}: {whose} {len(names)} class names, but its head scores {rows} classes; {remedy}"
            )
    return names


def _input_modality(tensors: Mapping[str, Tensor]) -> InputModality | None:
    channels = [tensor.shape[1] for name, tensor in tensors.items() if name.startswith("0.") and tensor.ndim == 4]
    return _MODALITIES.get(channels[0]) if channels else None
