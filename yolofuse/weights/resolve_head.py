"""Choose the detection head of a model by what its weights hold, so that the weights' head can be loaded whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from yolofuse.config import Config, ModelConfig
from yolofuse.errors import ConfigError
from yolofuse.weights.class_names import match_classes
from yolofuse.weights.source_metadata import class_rows
from yolofuse.weights.sources import Source
from yolofuse.weights.transfer import tensors_for

_SMALLEST_STRIDE = 8


def resolve_head(config: Config, sources: Mapping[str, Source], names: Sequence[str]) -> Config:
    """Return the config with ``model.head`` and what belongs to it filled in.

    Args:
        config: Of the run; what it states itself is kept.
        sources: The source of each part of the model.
        names: Classes of the data set.

    Raises:
        ConfigError: If two heads of one model would need different anchors, or there are no classes to keep.
    """
    model = config.model
    parts = ("trunk",) if "trunk" in sources else ("rgb", "ir")
    heads = {part: head for part in parts if (head := _head_of(part, sources.get(part)))}
    kinds = {_kind(head) for head in heads.values()}
    kind = model.head
    if kind == "auto":
        kind = "anchors" if kinds == {"anchors"} else "dfl"
    model = model.model_copy(update={"head": kind})
    if config.weights.keep_classes:
        came = {part: head for part, head in heads.items() if _kind(head) == kind}
        model = model.model_copy(update={"kept_classes": _kept_classes(config, came, sources, names)})
    if kind == "anchors":
        model = _with_anchors(model, heads)
    elif model.branch_classes is None and kinds == {"dfl"}:
        model = model.model_copy(update={"branch_classes": _branch_classes(config, heads, sources, names)})
    gain = config.train.loss.box_of("anchors" if kind == "anchors" else "dfl")
    loss = config.train.loss.model_copy(update={"box": gain})
    return config.model_copy(update={"model": model, "train": config.train.model_copy(update={"loss": loss})})


def _head_of(part: str, source: Source | None) -> dict[str, Tensor] | None:
    """Return the tensors of a source's last layer by the rest of their names, as far as they would go to a part."""
    if source is None:
        return None
    last = max(int(name.partition(".")[0]) for p, by in source.parts.items() if p != "fusion" for name in by)
    tensors = {name.partition(".")[2]: t for name, t in tensors_for(part, source) if name.startswith(f"{last}.")}
    return tensors or None


def _kind(head: Mapping[str, Tensor]) -> str | None:
    if "anchors" in head and any(name.startswith("m.") for name in head):
        return "anchors"
    return "dfl" if any(name.startswith("cv3.") for name in head) else None


def _with_anchors(model: ModelConfig, heads: Mapping[str, Mapping[str, Tensor]]) -> ModelConfig:
    """Fill in the anchors of the weights, in pixels."""
    if model.anchors is not None:
        return model
    found = {part: _anchors_in_pixels(head["anchors"]) for part, head in heads.items() if "anchors" in head}
    if len(set(found.values())) > 1:
        raise ConfigError(
            f"model.anchors: the weights of {' and '.join(found)} have different anchors; give the anchors of both, "
            "or model.head: dfl"
        )
    return model.model_copy(update={"anchors": next(iter(found.values()), None)})


def _anchors_in_pixels(anchors: Tensor) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Convert (levels, anchors, 2) in strides, which double from level to level."""
    return tuple(
        tuple((round(w * stride, 3), round(h * stride, 3)) for w, h in level)
        for level, stride in ((level.tolist(), _SMALLEST_STRIDE * 2**i) for i, level in enumerate(anchors))
    )


def _kept_classes(
    config: Config, heads: Mapping[str, Mapping[str, Tensor]], sources: Mapping[str, Source], names: Sequence[str]
) -> tuple[str, ...]:
    """Return the classes of the weights that no class of the data starts from, in the order of the weights."""
    known = {sources[part].names for part in heads}
    if len(known) != 1 or None in known:
        why = "they have no head for this model" if not known else "their heads name no, or different, classes"
        raise ConfigError(f"weights.keep_classes: the weights have no classes to keep ({why}); set it to false")
    of_weights = known.pop() or ()
    used = {match.row for match in match_classes(names, of_weights, config.weights.class_map)}
    kept = [name for row, name in enumerate(of_weights) if row not in used]
    again = {match.source for match in match_classes(names, kept) if match.kind == "name"}  # learnt anew by class_map
    return tuple(name for name in dict.fromkeys(kept) if name not in again)


def _branch_classes(
    config: Config, heads: Mapping[str, Mapping[str, Tensor]], sources: Mapping[str, Source], names: Sequence[str]
) -> int | None:
    """Return the number of classes of the weights, if a class of the data is among them."""
    counts = set()
    for part, head in heads.items():
        known = sources[part].names
        rows = class_rows({f"0.{name}": tensor for name, tensor in head.items()})
        if known and rows and any(m.row is not None for m in match_classes(names, known, config.weights.class_map)):
            counts.add(rows)
    return counts.pop() if len(counts) == 1 else None
