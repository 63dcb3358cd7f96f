"""Any file of weights, read without running what is in it, as tensors keyed by layer number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from yolofuse.config.safe_yaml import CONTROL
from yolofuse.errors import WeightsError, listing
from yolofuse.weights.checkpoint import FORMAT, check_version, file_sha256
from yolofuse.weights.safe_load import StandIn, open_models
from yolofuse.weights.safetensors_io import SUFFIX, open_safetensors
from yolofuse.weights.seal import check_seal
from yolofuse.weights.source_metadata import base_of, class_rows, read_names

_T = TypeVar("_T")
InputModality = Literal["rgb", "ir", "stacked"]
_SEES: dict[int, InputModality] = {3: "rgb", 1: "ir", 4: "stacked"}
_NESTED = ("ema", "model", "state_dict", "model_state_dict")  # the moving average is what was evaluated: it goes first
_MAX_MODULES = 10_000
_WRAPPED = re.compile(r"^(?:module\.|_orig_mod\.)+")  # DataParallel and torch.compile
_LAYER = re.compile(r"^(?:model\.)*(\d+\..+)$")
_OURS = re.compile(
    r"^(?P<part>rgb|ir|trunk)\.layers\.(?P<rest>\d+\..+)$|^(?P<fusion>fusion)\.(?P<tap>(?:\d+|image)\..+)$"
)
_TARGET = re.compile(r"[\d*]+\..+")


@dataclass(frozen=True)
class Source:
    """What a file of weights holds.

    Attributes:
        path: The file itself, also where a run folder was given.
        parts: Tensors by part, then by ``<layer>.<rest>`` (``<tap>.<rest>`` in ``fusion``); floating ones are float32.
            A single-stream file has the one part ``trunk``; a run of ours has the parts of its model.
        names: Class names; None where the file has none, or only placeholders.
        base: The single-stream model it is, such as ``yolov8n``, where the file says so.
        input_modality: Which image a single-stream model reads, by its first convolution; None where that is
            unclear, and for a model with two streams.
        sha256: Of the file.
        is_mapped: Whether its names came from a name map.
    """

    path: Path
    parts: Mapping[str, Mapping[str, Tensor]]
    names: tuple[str, ...] | None
    base: str | None
    input_modality: InputModality | None
    sha256: str
    is_mapped: bool = False


@dataclass
class _Found:
    """A state_dict and what stands beside it."""

    state: dict[str, Tensor]
    names: Any = None
    yaml: Any = None


def load_source(
    path: Path, *, name_map: Mapping[str, str] | None = None, class_names: Sequence[str] | None = None
) -> Source:
    """Read a file of weights, or the best weights of a run folder.

    Args:
        path: A checkpoint of ultralytics 8 or YOLOv5, a state_dict, a safetensors file, a checkpoint of ours, or a run
            folder of ours.
        name_map: For a state_dict with other names: pattern of its names to ``<layer>.<rest>``. A ``*`` matches any
            text, as short as it can be, which goes in order to the ``*`` of the target. Names without a match are left
            out. A file whose layers are numbered needs no map, and none is applied to it.
        class_names: The classes of a file that does not name them; one that does keeps its own.

    Raises:
        WeightsError: If the file is missing, damaged, holds code or anything unknown, does not fit ``name_map``, or
            names no classes and has another number of them than ``class_names``.
    """
    file = _file_of(path)
    content = open_safetensors(file) if file.suffix == SUFFIX else open_models(file)
    mapped = False
    if isinstance(content, dict) and content.get("format") == FORMAT:
        found, parts, base = _read_ours(file, content)
    else:
        found = _find(content) or _Found({})
        if not found.state:
            inside = f"a dict of {_first(map(str, content))}" if isinstance(content, dict) else type(content).__name__
            raise WeightsError(f"{file}: no model and no state_dict in it (got {inside}); give a file that has one")
        mapped = name_map is not None and not _numbered(found.state)
        if all(map(_OURS.match, found.state)):  # ours, from a safetensors file
            parts = _by_part(file, found.state)
        elif name_map is not None and mapped:
            parts = {"trunk": _mapped(file, found.state, name_map)}
        else:
            parts = {"trunk": _by_layer(file, found.state)}
        base = base_of(found.yaml)
    parts = _plain(file, parts)
    return Source(
        path=file,
        parts=parts,
        names=_names(file, parts, read_names(found.names), class_names),
        base=base,
        input_modality=_sees(parts["trunk"]) if set(parts) == {"trunk"} else None,
        sha256=file_sha256(file),
        is_mapped=mapped,
    )


def _file_of(path: Path) -> Path:
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


def _read_ours(path: Path, content: dict[str, Any]) -> tuple[_Found, dict[str, dict[str, Tensor]], str | None]:
    """A checkpoint of ours: its moving average by part, and its base."""
    check_version(path, content, sealed=check_seal(path))
    found = _find({"ema": content.get("ema")}) or _Found({})
    parts = _by_part(path, found.state)
    found.names = content.get("names")
    config = content.get("config")
    model = config.get("model") if isinstance(config, dict) else None
    base = model.get("base") if isinstance(model, dict) else None
    return found, parts, base if isinstance(base, str) else None


def _by_part(path: Path, state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors of a model of ours by part."""
    matches = {name: _OURS.match(name) for name in state}
    strange = [name for name, match in matches.items() if match is None]
    if strange or not matches:
        raise WeightsError(
            f"{path}: a yolofuse checkpoint, but its 'ema' is no model ({_first(strange) or 'nothing in it'}); it is "
            "damaged, or of a newer yolofuse"
        )
    parts: dict[str, dict[str, Tensor]] = {}
    for name, match in matches.items():
        if match is not None:
            parts.setdefault(match["part"] or match["fusion"], {})[match["rest"] or match["tap"]] = state[name]
    return parts


def _find(content: Any, depth: int = 0) -> _Found | None:
    """The state_dict inside whatever a checkpoint may be: a model, a dict that holds one, or the dict itself."""
    if isinstance(content, StandIn):
        return _Found(_state_of(content), content.kept.get("names"), content.kept.get("yaml"))
    if not isinstance(content, dict) or depth > 4:
        return None
    for key in _NESTED:
        inner = _find(content.get(key), depth + 1)
        if inner is not None and inner.state:
            inner.names = content.get("names") if inner.names is None else inner.names
            inner.yaml = content.get("yaml") if inner.yaml is None else inner.yaml
            return inner
    state = {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
    return _Found(state, content.get("names"), content.get("yaml"))


def _state_of(model: StandIn) -> dict[str, Tensor]:
    """What ``state_dict()`` of the real model would give, without asking the model.

    A damaged file may hold a module inside itself; the bound on their number ends that.
    """
    state: dict[str, Tensor] = {}
    todo = [("", model)]
    for _ in range(_MAX_MODULES):
        if not todo:
            return state
        prefix, module = todo.pop()
        transient = module.kept.get("_non_persistent_buffers_set")
        transient = transient if isinstance(transient, set) else set()
        state |= {f"{prefix}{name}": value for name, value in _held(module, "_parameters", Tensor)}
        state |= {
            f"{prefix}{name}": value for name, value in _held(module, "_buffers", Tensor) if name not in transient
        }
        children = [(f"{prefix}{name}.", child) for name, child in _held(module, "_modules", StandIn)]
        todo += reversed(children)
    return {}


def _held(module: StandIn, key: str, kind: type[_T]) -> Iterator[tuple[Any, _T]]:
    held = module.kept.get(key)
    if isinstance(held, dict):
        yield from ((name, value) for name, value in held.items() if isinstance(value, kind))


def _numbered(state: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """The names that say which layer they belong to, with ``<layer>.<rest>``."""
    matches = [(name, _LAYER.match(_WRAPPED.sub("", name))) for name in state]
    return [(name, match[1]) for name, match in matches if match]


def _by_layer(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A single-stream state_dict by ``<layer>.<rest>``; what has no number is no layer's, and left out."""
    pairs = _numbered(state)
    if not pairs:
        raise WeightsError(
            f"{path}: holds no numbered layers such as 'model.0.conv.weight' (got {_first(state)}); write "
            "weights.name_map, a YAML file that maps its names to '<layer>.<rest>'"
        )
    return _collect(path, state, pairs)


def _mapped(path: Path, state: Mapping[str, Tensor], name_map: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors that a map names, under the names it gives them. All its mistakes are told at once."""
    problems = [] if name_map else ["maps nothing; write at least one pattern"]
    pairs: list[tuple[str, str]] = []
    for pattern, target in name_map.items():
        if pattern.count("*") != target.count("*"):
            problems.append(f"'{pattern}' -> '{target}': both must have the same number of *")
            continue
        if not _TARGET.fullmatch(target):
            problems.append(f"'{pattern}' -> '{target}': the target must be '<layer>.<rest>', for example '0.conv.*'")
            continue
        shape = re.compile("(.*?)".join(map(re.escape, pattern.split("*"))), re.DOTALL)
        found = [(name, match) for name in state if (match := shape.fullmatch(_WRAPPED.sub("", name)))]
        if not found:
            problems.append(f"'{pattern}': no tensor has such a name (it has {_first(state)})")
        filled = [(name, _fill(target, match.groups())) for name, match in found]
        problems += [
            f"'{name}' would become '{to}', which has no layer number" for name, to in filled if not _LAYER.match(to)
        ]
        pairs += filled
    if problems:
        raise WeightsError(listing(f"weights.name_map for {path}", problems))
    return _collect(path, state, pairs)


def _fill(target: str, texts: Sequence[str]) -> str:
    """The target with each ``*`` replaced by the next text."""
    first, *others = target.split("*")
    return first + "".join(text + other for text, other in zip(texts, others, strict=True))


def _collect(path: Path, state: Mapping[str, Tensor], pairs: Iterable[tuple[str, str]]) -> dict[str, Tensor]:
    """The tensors under their targets, each target once."""
    sources: dict[str, list[str]] = {}
    for name, target in pairs:
        sources.setdefault(target, []).append(name)
    twice = [f"'{target}' would come from {_first(names)}" for target, names in sources.items() if len(names) > 1]
    if twice:
        raise WeightsError(listing(f"{path}: one name for several tensors; map each to its own", twice, "clash"))
    return {target: state[names[0]] for target, names in sources.items()}


def _first(names: Iterable[str]) -> str:
    """The first three of some names, for a message."""
    listed = list(names)
    return ", ".join(map(repr, listed[:3])) + (", ..." if len(listed) > 3 else "")


def _plain(path: Path, parts: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """The tensors dense, detached, and in float32 where they were of another float type."""
    plain: dict[str, dict[str, Tensor]] = {part: {} for part in parts}
    odd, broken = [], []
    for part, name, given in (
        (part, name, given) for part, tensors in parts.items() for name, given in tensors.items()
    ):
        if CONTROL.search(name):
            raise WeightsError(f"{path}: a tensor is called {name[:80]!r}; give plain names")
        tensor = torch.detach(given)
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.device.type != "cpu":
            odd.append(f"{part}.{name}" if len(parts) > 1 else name)
            continue
        plain[part][name] = tensor.float() if tensor.is_floating_point() else tensor
        if tensor.is_floating_point() and not plain[part][name].isfinite().all():
            broken.append(f"{part}.{name}" if len(parts) > 1 else name)
    if odd:
        raise WeightsError(f"{path}: sparse, quantised, complex or without values: {_first(odd)}; give float weights")
    if broken:
        raise WeightsError(f"{path}: damaged, {len(broken)} tensors are not finite: {_first(broken)}; use another file")
    return plain


def _names(
    path: Path,
    parts: Mapping[str, Mapping[str, Tensor]],
    own: tuple[str, ...] | None,
    given: Sequence[str] | None,
) -> tuple[str, ...] | None:
    """The class names: the file's, else the given ones. Their number must be that of the classes its head scores."""
    names = own if own is not None or given is None else tuple(given)
    if names is None:
        return None
    odd = [name for name in names if CONTROL.search(name)]
    if odd:  # they would reach a terminal
        raise WeightsError(f"{path}: a class is called {odd[0][:80]!r}; give a state_dict without names")
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


def _sees(tensors: Mapping[str, Tensor]) -> InputModality | None:
    """By the channels of the first convolution."""
    channels = [tensor.shape[1] for name, tensor in tensors.items() if name.startswith("0.") and tensor.ndim == 4]
    return _SEES.get(channels[0]) if channels else None
