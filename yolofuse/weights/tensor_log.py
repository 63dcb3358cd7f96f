"""The book of every tensor of a model: what was loaded, what was drawn, what stays. Each is written once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

TensorStatus = Literal["missing", "loaded", "inflated", "partial", "initialised", "constructor", "fixed"]
"""``missing``: nobody has written it yet; after the policy there is none. ``partial``: some rows were loaded and the
others initialised. ``constructor``: as it was built, since no rule and no declaration knows it."""


@dataclass
class Entry:
    """One tensor of the model.

    Attributes:
        name: As the model's state_dict has it.
        part: rgb, ir, fusion or trunk.
        module: Name of the owner.
        shape: Of the tensor.
        trainable: Whether it is a parameter; BatchNorm's running statistics are not.
        head: Whether it belongs to a detection head.
        fate: What became of it.
        rows: For ``partial``: which rows were loaded, a bool tensor.
        source: File and tensor that it was loaded from.
        rule: What initialised it (or its new rows).
        expected_std: Spread that the rule should give; None where nothing is drawn.
        measured_std: Spread that it gave.
        frozen: Whether training leaves it as it is.
    """

    name: str
    part: str
    module: str
    shape: tuple[int, ...]
    trainable: bool
    head: bool
    fate: TensorStatus = "missing"
    rows: Tensor | None = None
    source: str | None = None
    rule: str | None = None
    expected_std: float | None = None
    measured_std: float | None = None
    frozen: bool = False

    @property
    def num_elements(self) -> int:
        """Elements of the tensor."""
        return int(torch.Size(self.shape).numel())

    @property
    def num_loaded(self) -> int:
        """Elements that came from a file."""
        if self.fate in {"loaded", "inflated"}:
            return self.num_elements
        if self.rows is not None and self.fate in {"missing", "partial"}:
            return int(self.rows.sum()) * (self.num_elements // self.shape[0])
        return 0


class TensorLog:
    """Writes a model's tensors and books every write; a second write to the same elements is a bug of ours.

    Counters (``num_batches_tracked``) are left out, and of tied parameters only the first name is booked.
    """

    def __init__(self, model: nn.Module, *, fixed: frozenset[str], heads: tuple[str, ...]) -> None:
        """Open the book.

        Args:
            model: Whose tensors.
            fixed: Parameters that nothing may write.
            heads: Names of the detection heads.
        """
        named = {**dict(model.named_parameters()), **dict(model.named_buffers())}  # both without duplicates
        trainable = {name for name, _ in model.named_parameters()}
        self._tensors = {name: tensor for name, tensor in named.items() if tensor.is_floating_point()}
        self.entries = {
            name: Entry(
                name=name,
                part=name.split(".")[0],
                module=name.rpartition(".")[0],
                shape=tuple(tensor.shape),
                trainable=name in trainable,
                head=any(name.startswith(f"{head}.") for head in heads),
                fate="fixed" if name in fixed else "missing",
            )
            for name, tensor in self._tensors.items()
        }

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries.values())

    def tensor(self, name: str) -> Tensor:
        """The model's own tensor, to be read."""
        return self._tensors[name]

    @torch.no_grad()
    def load(self, name: str, values: Tensor, source: str, *, inflated: bool = False) -> None:
        """Write a whole tensor from a file."""
        entry = self._missing(name)
        self._tensors[name].copy_(values)
        entry.fate, entry.source = ("inflated" if inflated else "loaded"), source

    @torch.no_grad()
    def load_rows(self, name: str, values: Tensor, rows: Tensor, source: str) -> None:
        """Write those rows of a tensor where ``rows`` is true; the others stay missing."""
        entry = self._missing(name)
        tensor = self._tensors[name]
        tensor[rows.to(tensor.device)] = values[rows].to(tensor)
        entry.rows, entry.source = rows, source

    @torch.no_grad()
    def initialise(self, name: str, values: Tensor, rule: str, *, mean: float = 0.0, std: float | None = None) -> None:
        """Write what is missing of a tensor: all of it, or the rows that were not loaded.

        Args:
            name: The tensor.
            values: Values for the whole tensor; rows that were loaded are not taken.
            rule: For the report.
            mean: Mean of the distribution they were drawn from.
            std: Its standard deviation; None where nothing was drawn.
        """
        entry = self._missing(name)
        tensor = self._tensors[name]
        if entry.rows is None:
            tensor.copy_(values)
            entry.fate = "initialised"
            new = tensor
        else:
            new_rows = ~entry.rows.to(tensor.device)
            tensor[new_rows] = values.to(tensor)[new_rows]
            entry.fate = "partial"
            new = tensor[new_rows]
        self._book_drawn(entry, new, rule, mean, std)

    @torch.no_grad()
    def overwrite(self, name: str, values: Tensor, rule: str, *, mean: float = 0.0, std: float | None = None) -> None:
        """Write a tensor whatever it holds. For the ``article`` preset alone, whose point is the damage."""
        entry = self.entries[name]
        self._tensors[name].copy_(values)
        entry.fate, entry.rows, entry.source = "initialised", None, None
        self._book_drawn(entry, self._tensors[name], rule, mean, std)

    def keep(self, name: str) -> None:
        """Book that a tensor stays as it was constructed."""
        self._missing(name).fate = "constructor"

    def _missing(self, name: str) -> Entry:
        entry = self.entries[name]
        assert entry.fate == "missing", f"{name} is {entry.fate} already"
        return entry

    @staticmethod
    def _book_drawn(entry: Entry, new: Tensor, rule: str, mean: float, std: float | None) -> None:
        entry.rule, entry.expected_std = rule, std
        if std is not None:
            entry.measured_std = float((new.double() - mean).square().mean().sqrt())
