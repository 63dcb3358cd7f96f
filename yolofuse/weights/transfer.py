"""Copy the tensors of files into a model, through the cut: layer i goes to every part that has a layer i."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from yolofuse.errors import WeightsError, listing
from yolofuse.model import Detector
from yolofuse.types import Modality
from yolofuse.upstream import shared_init_name
from yolofuse.weights.class_names import ClassMatch
from yolofuse.weights.class_rows import ClassBranch, ClassOutputs, class_branches, match_rows
from yolofuse.weights.sources import Source
from yolofuse.weights.tensor_log import TensorLog, TensorRecord

_NAME = re.compile(r"^(?P<part>\w+)\.(?:layers\.)?(?P<rest>\w+\..+)$")
_MAX_UNKNOWN = 0.05  # share of a file's tensors without a place; above it the file is of another family
_SOURCE_PARTS = {
    "rgb": ("rgb", "trunk"),
    "ir": ("ir", "rgb", "trunk"),
    "trunk": ("trunk", "rgb", "ir"),
    "fusion": ("fusion",),
}
"""Parts of a source in which a part of the model finds its layers. A single-stream source has a trunk alone; a dual one
has each layer in its streams or its trunk, depending on its own cut."""


def transfer(
    tensor_log: TensorLog,
    detector: Detector,
    sources: Mapping[str, Source],
    *,
    classes: Mapping[str, Sequence[ClassMatch]] | None = None,
    base: str | None = None,
    input_modality: Modality | None = None,
) -> list[str]:
    """Copy every tensor of the sources that has a place in the model; returns warnings.

    A first convolution that reads other channels than its source is inflated: for one channel the sum of the three RGB
    filters (equal to a grey image in all three channels), for four the RGB filters and their mean, for three from one a
    third each. Class rows go by name. Only the class branch, whose width depends on the number of classes, may differ
    in shape; it then stays missing.

    Args:
        tensor_log: Of the model.
        detector: Its model.
        sources: The source of each part.
        classes: For each part with a source that names its classes: where the rows of each of the model's classes are.
        base: The model's base; None where it is not known.
        input_modality: The one image that a single-stream model reads; None for a model that reads both.

    Raises:
        WeightsError: If a file is of another family, a tensor has another shape than its place, or nothing fits.
            Nothing is written then.
    """
    branches = class_branches(detector)
    copies = _plan_copies(tensor_log, detector, sources, branches, classes or {}, input_modality)
    warnings = _refuse_other_families(tensor_log, sources, base)
    if sources and not copies:
        files = ", ".join(str(source.path) for source in _distinct(sources))
        raise WeightsError(
            f"{files}: no tensor in it has a place in this model; is model.base of the same family and size?"
        )
    for copy in _drop_lone_biases(copies, branches):
        copy.write(tensor_log)
    warnings += _class_warnings(tensor_log, sources, branches)
    if "rgb" in sources and sources["rgb"].input_modality == "ir":
        warnings.append(f"rgb: {sources['rgb'].path} was trained on IR images; are weights.rgb and ir swapped?")
    return warnings


def tensors_for(part: str, source: Source) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a source that may go to a part of a model, those of the likeliest part first."""
    for name in _SOURCE_PARTS[part]:
        yield from source.parts.get(name, {}).items()


@dataclass(frozen=True)
class _Copy:
    """A tensor of a file, ready to be written to its place."""

    record: TensorRecord
    values: Tensor
    origin: str
    inflated: bool = False
    rows: Tensor | None = None

    def write(self, tensor_log: TensorLog) -> None:
        if self.rows is None:
            tensor_log.load(self.record.name, self.values, self.origin, inflated=self.inflated)
        else:
            tensor_log.load_rows(self.record.name, self.values, self.rows, self.origin)


def _plan_copies(
    tensor_log: TensorLog,
    detector: Detector,
    sources: Mapping[str, Source],
    branches: Mapping[str, ClassBranch],
    classes: Mapping[str, Sequence[ClassMatch]],
    input_modality: Modality | None,
) -> list[_Copy]:
    """Find the copy for each tensor that has one; refuses files with tensors that do not fit their place."""
    copies: list[_Copy] = []
    misfits: dict[Path, list[str]] = {}
    for record in tensor_log:
        source = sources.get(record.part)
        found = _find_tensor(source, record, input_modality) if source else None
        if source is None or found is None or record.status == "fixed":
            continue
        key, value = found
        stem = _is_stem(detector, record, input_modality)
        branch, matches = branches.get(record.name), classes.get(record.part)
        copy = _fit(record, value, f"{source.path}: {key}", branch, matches, stem)
        if isinstance(copy, _Copy):
            copies.append(copy)
        elif copy == "misfit":
            shape = _format_shape(value.shape) + ("" if value.is_floating_point() else f" of {value.dtype}")
            problem = f"{key}: {shape} in the file, {_format_shape(record.shape)} in the model's {record.name}"
            misfits.setdefault(source.path, []).append(problem)
    for path, problems in misfits.items():
        family = next((s.base for s in sources.values() if s.path == path and s.base), "another family or size")
        raise WeightsError(
            listing(f"{path}: does not fit model.base (the file holds {family})", problems, "wrong shape")
            + "\nGive weights of the model's own family and size, or change model.base"
        )
    return copies


def _refuse_other_families(tensor_log: TensorLog, sources: Mapping[str, Source], base: str | None) -> list[str]:
    """Refuse a file with many layers that this model does not have; returns a warning for a file with a few.

    Shapes alone cannot distinguish families: most of yolov10n's layers fit into yolov8n.
    """
    places = {match["rest"] for record in tensor_log if (match := _NAME.match(record.name))}
    warnings = []
    for source in _distinct(sources):
        tensors = [(part, key, t) for part, by_key in source.parts.items() for key, t in by_key.items()]
        body = [key for part, key, tensor in tensors if part != "fusion" and tensor.is_floating_point()]
        head = max((int(key.split(".")[0]) for key in body), default=0)
        body = [key for key in body if int(key.split(".")[0]) < head]
        unknown = [key for key in body if key not in places]
        reasons = []
        if base is not None and source.base not in {None, base}:
            reasons.append(f"it holds {source.base}, but model.base is {base}")
        if len(unknown) > _MAX_UNKNOWN * len(body):
            examples = ", ".join(unknown[:3])
            reasons.append(f"{len(unknown)} of its {len(body)} tensors before the head have no place here ({examples})")
        if reasons:
            raise WeightsError(
                f"{source.path}: {'; '.join(reasons)}. Give weights of the model's own family and size, trained with "
                "the same model.norm, or change model.base"
            )
        if unknown:
            warnings.append(f"{source.path}: {len(unknown)} tensors have no place in this model: {unknown[0]}, ...")
    return warnings


def _distinct(sources: Mapping[str, Source]) -> list[Source]:
    """List every file once, however many parts it serves."""
    return list({source.path: source for source in sources.values()}.values())


def _is_stem(detector: Detector, record: TensorRecord, input_modality: Modality | None) -> bool:
    """Return whether a tensor is the weight of a convolution that reads the image."""
    owner = detector.get_submodule(record.module)
    channels = {"rgb": 3, "ir": 1}.get(input_modality or record.part, 4)
    return isinstance(owner, nn.Conv2d) and owner.groups == 1 and owner.in_channels == channels


def _drop_lone_biases(copies: Sequence[_Copy], branches: Mapping[str, ClassBranch]) -> list[_Copy]:
    """Drop class rows of a bias whose weight does not fit: it belongs to weights of another width."""
    fitting = {copy.record.name for copy in copies}
    incomplete = {
        name.rpartition(".")[0] for name, branch in branches.items() if branch != "inner" and name not in fitting
    }
    return [
        copy
        for copy in copies
        if branches.get(copy.record.name, "inner") == "inner" or copy.record.module not in incomplete
    ]


def _find_tensor(source: Source, record: TensorRecord, input_modality: Modality | None) -> tuple[str, Tensor] | None:
    """Return the tensor of a source that belongs in a place, with its name in the file."""
    match = _NAME.match(record.name)
    if match is None:
        return None
    order = _SOURCE_PARTS[record.part]
    if record.part == "trunk" and input_modality is not None:
        order = ("trunk", input_modality, "rgb")
    for part in order:
        tensors = source.parts.get(part, {})
        for key in (match["rest"], shared_init_name(f".{match['rest']}")[1:]):
            if key in tensors:
                return f"{part}.{key}" if len(source.parts) > 1 else key, tensors[key]
    return None


def _fit(
    record: TensorRecord,
    value: Tensor,
    origin: str,
    branch: ClassBranch | None,
    matches: Sequence[ClassMatch] | None,
    is_stem: bool,
) -> _Copy | str | None:
    """Make the copy of a tensor to its place; None if it is to be left out, ``misfit`` if it may not be."""
    if not value.is_floating_point():
        return "misfit"
    if branch is not None and branch != "inner":
        return _fit_rows(record, value, origin, branch, matches)
    if tuple(value.shape) == record.shape:
        return _Copy(record, value, origin)
    if branch == "inner":
        return None
    inflated = _inflate(value, record.shape) if is_stem else None
    return "misfit" if inflated is None else _Copy(record, inflated, origin, inflated=True)


def _fit_rows(
    record: TensorRecord, value: Tensor, origin: str, outputs: ClassOutputs, matches: Sequence[ClassMatch] | None
) -> _Copy | None:
    """Make the copy of a tensor with rows for classes; None if no row of it has a place."""
    if tuple(value.shape[1:]) != record.shape[1:]:
        return None
    rows = match_rows(len(value), record.shape[0], outputs, matches)
    if rows is None:
        return None
    is_known = rows >= 0
    return _Copy(record, value[rows.clamp_min(0)], origin, rows=None if is_known.all() else is_known)


def _inflate(value: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """Convert filters of a first convolution to another number of channels; None if anything else differs."""
    if value.ndim != 4 or len(shape) != 4 or value.shape[0] != shape[0] or tuple(value.shape[2:]) != shape[2:]:
        return None
    have, want = value.shape[1], shape[1]
    if have == 3 and want == 1:
        return value.sum(1, keepdim=True)
    if have == 3 and want == 4:
        return torch.cat([value, value.mean(1, keepdim=True)], 1)
    if have == 1 and want in {3, 4}:
        return (value / want).repeat(1, want, 1, 1)
    if have == 4 and want in {1, 3}:
        return value[:, 3:] if want == 1 else value[:, :3]
    return None


def _class_warnings(
    tensor_log: TensorLog, sources: Mapping[str, Source], branches: Mapping[str, ClassBranch]
) -> list[str]:
    """Warn where a file's class rows were copied by order, or not at all."""
    warnings = []
    for part, source in sources.items():
        rows = [n for n, branch in branches.items() if branch != "inner" and tensor_log.records[n].part == part]
        keys = {key for tensors in source.parts.values() for key in tensors}
        if not any(name.split(".layers.")[-1] in keys for name in rows):
            continue
        statuses = {tensor_log.records[name].status for name in rows}
        has_rows = {tensor_log.records[name].rows is not None for name in rows}
        if source.names is None and "loaded" in statuses:
            warnings.append(
                f"{source.path} does not name its classes: its class rows were copied in the order of your classes; if "
                "that is not right, list its classes in weights.class_names"
            )
        elif statuses == {"missing"} and has_rows == {False}:
            why = (
                "it does not name its classes; list them in weights.class_names"
                if source.names is None
                else "no class is in both lists (weights.class_map can pair them), or the class branch is wider there"
            )
            warnings.append(f"{part}: the class rows of {source.path} were not used: {why}")
    return warnings


def _format_shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "scalar"
