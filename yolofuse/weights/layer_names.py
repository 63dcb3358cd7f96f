"""Rename the tensors of a state_dict to ``<layer>.<rest>``, by the numbers in their names or by a name map."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from yolofuse.errors import WeightsError, listing

_WRAPPED = re.compile(r"^(?:module\.|_orig_mod\.)+")  # DataParallel and torch.compile
_LAYER = re.compile(r"^(?:model\.)*(\d+\..+)$")
_OURS = re.compile(
    r"^(?P<part>rgb|ir|trunk)\.layers\.(?P<rest>\d+\..+)$|^(?P<fusion>fusion)\.(?P<tap>(?:\d+|image)\..+)$"
)
_TARGET = re.compile(r"[\d*]+\..+")


def has_layer_numbers(state: Mapping[str, Tensor]) -> bool:
    """Return whether any name holds a layer number, as ``model.0.conv.weight`` does."""
    return bool(_numbered(state))


def has_part_names(state: Mapping[str, Tensor]) -> bool:
    """Return whether all names are those of a yolofuse model, such as ``rgb.layers.0.conv.weight``."""
    return all(map(_OURS.match, state))


def split_by_part(path: Path, state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Split the tensors of a yolofuse model by part.

    Raises:
        WeightsError: If a name is not that of a yolofuse model, or there is none.
    """
    matches = {name: _OURS.match(name) for name in state}
    unknown = [name for name, match in matches.items() if match is None]
    if unknown or not matches:
        raise WeightsError(
            f"{path}: a yolofuse checkpoint, but its 'ema' is no model ({quote_first(unknown) or 'nothing in it'}); it "
            "is damaged, or of a newer yolofuse"
        )
    parts: dict[str, dict[str, Tensor]] = {}
    for name, match in matches.items():
        if match is not None:
            parts.setdefault(match["part"] or match["fusion"], {})[match["rest"] or match["tap"]] = state[name]
    return parts


def key_by_layer(path: Path, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Key a single-stream state_dict by ``<layer>.<rest>``; tensors without a layer number are left out.

    Raises:
        WeightsError: If no name has a number, or two names become one.
    """
    pairs = _numbered(state)
    if not pairs:
        raise WeightsError(
            f"{path}: holds no numbered layers such as 'model.0.conv.weight' (got {quote_first(state)}); write "
            "weights.name_map, a YAML file that maps its names to '<layer>.<rest>'"
        )
    return _rename(path, state, pairs)


def apply_name_map(path: Path, state: Mapping[str, Tensor], name_map: Mapping[str, str]) -> dict[str, Tensor]:
    """Key the tensors that a name map matches by the names it gives them.

    Raises:
        WeightsError: With all mistakes of the map.
    """
    problems = [] if name_map else ["maps nothing; write at least one pattern"]
    pairs: list[tuple[str, str]] = []
    for pattern, target in name_map.items():
        if pattern.count("*") != target.count("*"):
            problems.append(f"'{pattern}' -> '{target}': both must have the same number of *")
            continue
        if not _TARGET.fullmatch(target):
            problems.append(f"'{pattern}' -> '{target}': the target must be '<layer>.<rest>', for example '0.conv.*'")
            continue
        regex = re.compile("(.*?)".join(map(re.escape, pattern.split("*"))), re.DOTALL)
        found = [(name, match) for name in state if (match := regex.fullmatch(_WRAPPED.sub("", name)))]
        if not found:
            problems.append(f"'{pattern}': no tensor has such a name (it has {quote_first(state)})")
        renamed = [(name, _fill_stars(target, match.groups())) for name, match in found]
        problems += [
            f"'{name}' would become '{to}', which has no layer number" for name, to in renamed if not _LAYER.match(to)
        ]
        pairs += renamed
    if problems:
        raise WeightsError(listing(f"weights.name_map for {path}", problems))
    return _rename(path, state, pairs)


def quote_first(names: Iterable[str]) -> str:
    """Quote the first three of some names for a message."""
    listed = list(names)
    return ", ".join(map(repr, listed[:3])) + (", ..." if len(listed) > 3 else "")


def _numbered(state: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """Return the names that hold a layer number, each with its ``<layer>.<rest>``."""
    matches = [(name, _LAYER.match(_WRAPPED.sub("", name))) for name in state]
    return [(name, match[1]) for name, match in matches if match]


def _fill_stars(target: str, texts: Sequence[str]) -> str:
    """Replace each ``*`` of a target by the next text."""
    first, *others = target.split("*")
    return first + "".join(text + other for text, other in zip(texts, others, strict=True))


def _rename(path: Path, state: Mapping[str, Tensor], pairs: Iterable[tuple[str, str]]) -> dict[str, Tensor]:
    """Key tensors by their targets; refuses two tensors with one target."""
    names_of: dict[str, list[str]] = {}
    for name, target in pairs:
        names_of.setdefault(target, []).append(name)
    clashes = [f"'{target}' would come from {quote_first(names)}" for target, names in names_of.items() if names[1:]]
    if clashes:
        raise WeightsError(listing(f"{path}: one name for several tensors; map each to its own", clashes, "clash"))
    return {target: state[names[0]] for target, names in names_of.items()}
