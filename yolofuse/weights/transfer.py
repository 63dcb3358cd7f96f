"""Weights of files into a model, through the cut: layer i goes to every part that has a layer i."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from yolofuse.errors import WeightsError, listing
from yolofuse.model import Detector
from yolofuse.types import Modality
from yolofuse.upstream import ClassBranch, class_branch, init_like
from yolofuse.weights.sources import Source
from yolofuse.weights.tensor_log import Entry, TensorLog

_NAME = re.compile(r"^(?P<part>\w+)\.(?:layers\.)?(?P<rest>\w+\..+)$")
_STRANGE = 0.05  # share of a file's tensors without a place, from which it is of another family
_LOOK_IN = {
    "rgb": ("rgb", "trunk"),
    "ir": ("ir", "rgb", "trunk"),
    "trunk": ("trunk", "rgb", "ir"),
    "fusion": ("fusion",),
}
"""Where a part finds its layers in a source. A single-stream source has a trunk alone; a dual one has each layer in its
streams or its trunk, wherever its own cut was."""


def transfer(
    ledger: TensorLog,
    detector: Detector,
    sources: Mapping[str, Source],
    *,
    names: Sequence[str] | None = None,
    base: str | None = None,
    sees: Modality | None = None,
) -> list[str]:
    """Copy every tensor of the sources that has a place in the model; returns what the user should know.

    A first convolution that reads other channels than its source is inflated: for one channel the sum of the three RGB
    filters (equal to showing grey three times), for four the RGB filters and their mean, for three from one a third
    each. Rows of the classes go by name. Only the class branch, whose width depends on the number of classes, may
    differ in shape; it then stays missing.

    Args:
        ledger: The model's book.
        detector: The model.
        sources: The source of each part.
        names: The model's classes in order; None where they are not known.
        base: The model's base; None where it is not known.
        sees: The one image that a single-stream model reads; None for a model that reads both.

    Raises:
        WeightsError: If a file is of another family, a tensor has another shape than its place, or nothing fits.
            Nothing is written then.
    """
    branches = dict(class_branch(detector))
    plans = _plan(ledger, detector, sources, branches, names, sees)
    warnings = _refuse_other_families(ledger, sources, base)
    if sources and not plans:
        files = ", ".join(str(source.path) for source in _each(sources))
        raise WeightsError(
            f"{files}: no tensor in it has a place in this model; is model.base of the same family and size?"
        )
    for plan in _whole_layers(plans, branches):
        plan.write(ledger)
    warnings += _class_warnings(ledger, sources, branches, names)
    if "rgb" in sources and sources["rgb"].input_modality == "ir":
        warnings.append(f"rgb: {sources['rgb'].path} was trained on IR images; are weights.rgb and ir swapped?")
    return warnings


def _plan(
    ledger: TensorLog,
    detector: Detector,
    sources: Mapping[str, Source],
    branches: Mapping[str, ClassBranch],
    names: Sequence[str] | None,
    sees: Modality | None,
) -> list[_Plan]:
    """How each tensor that has a place goes there; refuses files with tensors that fit nowhere."""
    plans: list[_Plan] = []
    misfits: dict[Path, list[str]] = {}
    for entry in ledger:
        source = sources.get(entry.part)
        picked = _pick(source, entry, sees) if source else None
        if source is None or picked is None or entry.fate == "fixed":
            continue
        key, value = picked
        stem = _is_stem(detector, entry, sees)
        plan = _fit(entry, value, f"{source.path}: {key}", branches.get(entry.name), source.names, names, stem)
        if isinstance(plan, _Plan):
            plans.append(plan)
        elif plan == "misfit":
            held = _shape(value) if value.is_floating_point() else f"{_shape(value)} of {value.dtype}"
            problem = f"{key}: {held} in the file, {_shape(entry.shape)} in the model's {entry.name}"
            misfits.setdefault(source.path, []).append(problem)
    for path, problems in misfits.items():
        held = next((s.base for s in sources.values() if s.path == path and s.base), "another family or size")
        raise WeightsError(
            listing(f"{path}: does not fit model.base (the file holds {held})", problems, "wrong shape")
            + "\nGive weights of the model's own family and size, or change model.base"
        )
    return plans


def _refuse_other_families(ledger: TensorLog, sources: Mapping[str, Source], base: str | None) -> list[str]:
    """Look for layers of a file that this model does not have at all; a few are worth a warning.

    Shapes alone cannot tell families apart: most of yolov10n's layers fit into yolov8n.
    """
    places = {match["rest"] for entry in ledger if (match := _NAME.match(entry.name))}
    warnings = []
    for source in _each(sources):
        held = [(part, key, t) for part, tensors in source.parts.items() for key, t in tensors.items()]
        body = [key for part, key, tensor in held if part != "fusion" and tensor.is_floating_point()]
        last = max((int(key.split(".")[0]) for key in body), default=0)
        body = [key for key in body if int(key.split(".")[0]) < last]
        strange = [key for key in body if key not in places]
        reasons = []
        if base is not None and source.base not in {None, base}:
            reasons.append(f"it holds {source.base}, but model.base is {base}")
        if len(strange) > _STRANGE * len(body):
            examples = ", ".join(strange[:3])
            reasons.append(f"{len(strange)} of its {len(body)} tensors before the head have no place here ({examples})")
        if reasons:
            raise WeightsError(
                f"{source.path}: {'; '.join(reasons)}. Give weights of the model's own family and size, trained with "
                "the same model.norm, or change model.base"
            )
        if strange:
            warnings.append(f"{source.path}: {len(strange)} tensors have no place in this model: {strange[0]}, ...")
    return warnings


def _each(sources: Mapping[str, Source]) -> list[Source]:
    """Every source once, whatever parts it serves."""
    return list({source.path: source for source in sources.values()}.values())


def _is_stem(detector: Detector, entry: Entry, sees: Modality | None) -> bool:
    """Whether a tensor is the weight of a convolution that reads the image."""
    owner = detector.get_submodule(entry.module)
    channels = {"rgb": 3, "ir": 1}.get(sees or entry.part, 4)
    return isinstance(owner, nn.Conv2d) and owner.groups == 1 and owner.in_channels == channels


@dataclass(frozen=True)
class _Plan:
    entry: Entry
    values: Tensor
    origin: str
    inflated: bool = False
    rows: Tensor | None = None

    def write(self, ledger: TensorLog) -> None:
        if self.rows is None:
            ledger.load(self.entry.name, self.values, self.origin, inflated=self.inflated)
        else:
            ledger.load_rows(self.entry.name, self.values, self.rows, self.origin)


def _whole_layers(plans: Sequence[_Plan], branches: Mapping[str, ClassBranch]) -> list[_Plan]:
    """The plans without class rows of which only the bias fits: it belongs to weights of another width."""
    fitting = {plan.entry.name for plan in plans}
    halved = {name.rpartition(".")[0] for name, branch in branches.items() if branch == "rows" and name not in fitting}
    return [plan for plan in plans if branches.get(plan.entry.name) != "rows" or plan.entry.module not in halved]


def _pick(source: Source, entry: Entry, sees: Modality | None) -> tuple[str, Tensor] | None:
    """The tensor of a source that belongs in a place, with its name in the file."""
    match = _NAME.match(entry.name)
    if match is None:
        return None
    order = _LOOK_IN[entry.part]
    if entry.part == "trunk" and sees is not None:
        order = ("trunk", sees, "rgb")
    for part in order:
        held = source.parts.get(part, {})
        for key in (match["rest"], init_like(f".{match['rest']}")[1:]):
            if key in held:
                return f"{part}.{key}" if len(source.parts) > 1 else key, held[key]
    return None


def _fit(
    entry: Entry,
    value: Tensor,
    origin: str,
    branch: ClassBranch | None,
    from_names: Sequence[str] | None,
    to_names: Sequence[str] | None,
    is_stem: bool,
) -> _Plan | str | None:
    """How a tensor goes to its place; None if it stays away, ``misfit`` if it must not."""
    if not value.is_floating_point():
        return "misfit"
    if branch == "rows":
        return _fit_rows(entry, value, origin, from_names, to_names)
    if tuple(value.shape) == entry.shape:
        return _Plan(entry, value, origin)
    if branch == "inner":
        return None
    inflated = _inflate(value, entry.shape) if is_stem else None
    return "misfit" if inflated is None else _Plan(entry, inflated, origin, inflated=True)


def _fit_rows(
    entry: Entry, value: Tensor, origin: str, from_names: Sequence[str] | None, to_names: Sequence[str] | None
) -> _Plan | None:
    """Rows by class name; by order where the file does not name its classes but has as many."""
    if tuple(value.shape[1:]) != entry.shape[1:]:
        return None
    if from_names is None or to_names is None or len(from_names) != len(value):
        return _Plan(entry, value, origin) if len(value) == entry.shape[0] else None
    known = {name.casefold().strip(): row for row, name in reversed(list(enumerate(from_names)))}
    rows = [known.get(name.casefold().strip()) for name in to_names]
    is_known = torch.tensor([row is not None for row in rows])
    if not is_known.any():
        return None
    values = value[torch.tensor([row or 0 for row in rows])]
    return _Plan(entry, values, origin, rows=None if is_known.all() else is_known)


def _inflate(value: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """Filters of a first convolution for another number of channels; None if that is not what differs."""
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
    ledger: TensorLog,
    sources: Mapping[str, Source],
    branches: Mapping[str, ClassBranch],
    names: Sequence[str] | None,
) -> list[str]:
    """What became of the rows of the classes, where a file had some."""
    warnings = []
    for part, source in sources.items():
        rows = [name for name, branch in branches.items() if branch == "rows" and ledger.entries[name].part == part]
        held = {key for tensors in source.parts.values() for key in tensors}
        if not any(name.split(".layers.")[-1] in held for name in rows):
            continue
        fates = {ledger.entries[name].fate for name in rows}
        known = {ledger.entries[name].rows is not None for name in rows}
        if source.names is None and "loaded" in fates:
            warnings.append(
                f"{source.path} does not name its classes: they were taken in the order of yours; if that is not "
                "right, say theirs in weights.class_names"
            )
        elif fates == {"missing"} and known == {False}:
            why = (
                "it does not name its classes; say them in weights.class_names"
                if source.names is None
                else "no class is in both lists, or the class branch, whose width follows their number, is wider there"
            )
            warnings.append(f"{part}: the class rows of {source.path} were not used: {why}")
    return warnings


def _shape(value: Tensor | tuple[int, ...]) -> str:
    return " x ".join(map(str, value if isinstance(value, tuple) else value.shape)) or "scalar"
