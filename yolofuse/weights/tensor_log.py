"""Write a model's tensors and record where each came from: loaded, drawn, or left as built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

TensorStatus = Literal["missing", "loaded", "inflated", "partial", "initialised", "constructor", "fixed"]
"""``missing``: not written yet; none is left after the policy. ``partial``: some rows were loaded and the others
initialised. ``constructor``: as it was built, because no rule and no declaration covers it."""


@dataclass
class TensorRecord:
    """Origin of one tensor of the model.

    Attributes:
        part: rgb, ir, fusion or trunk.
        module: Name of the owner.
        trainable: Whether it is a parameter; BatchNorm's running statistics are not.
        head: Whether it belongs to a detection head.
        rows: For ``partial``: which rows were loaded, a bool tensor.
        source: File and tensor that it was loaded from.
        rule: The rule or declaration that initialised it (or its new rows).
        expected_std: Standard deviation that the rule should give; None where nothing is drawn.
        measured_std: Standard deviation of the drawn values.
        frozen: Whether training leaves it unchanged.
    """

    name: str
    part: str
    module: str
    shape: tuple[int, ...]
    trainable: bool
    head: bool
    status: TensorStatus = "missing"
    rows: Tensor | None = None
    source: str | None = None
    rule: str | None = None
    expected_std: float | None = None
    measured_std: float | None = None
    frozen: bool = False

    @property
    def num_elements(self) -> int:
        """Number of elements of the tensor."""
        return int(torch.Size(self.shape).numel())

    @property
    def num_loaded(self) -> int:
        """Number of elements that came from a file."""
        if self.status in {"loaded", "inflated"}:
            return self.num_elements
        if self.rows is not None and self.status in {"missing", "partial"}:
            return int(self.rows.sum()) * (self.num_elements // self.shape[0])
        return 0


class TensorLog:
    """Write a model's tensors and record every write; a second write to the same elements is an assertion error.

    Counters (``num_batches_tracked``) are left out, and tied parameters have one record, under the first name.
    """

    def __init__(self, model: nn.Module, *, fixed: frozenset[str], heads: tuple[str, ...]) -> None:
        """Start a record for every tensor; ``fixed`` parameters must not be written, ``heads`` are the heads' names."""
        named = {**dict(model.named_parameters()), **dict(model.named_buffers())}  # both without duplicates
        trainable = {name for name, _ in model.named_parameters()}
        self._tensors = {name: tensor for name, tensor in named.items() if tensor.is_floating_point()}
        self.records = {
            name: TensorRecord(
                name=name,
                part=name.split(".")[0],
                module=name.rpartition(".")[0],
                shape=tuple(tensor.shape),
                trainable=name in trainable,
                head=any(name.startswith(f"{head}.") for head in heads),
                status="fixed" if name in fixed else "missing",
            )
            for name, tensor in self._tensors.items()
        }

    def __iter__(self) -> Iterator[TensorRecord]:
        return iter(self.records.values())

    @torch.no_grad()
    def load(self, name: str, values: Tensor, source: str, *, inflated: bool = False) -> None:
        """Write a whole tensor from a file."""
        record = self._missing(name)
        self._tensors[name].copy_(values)
        record.status, record.source = ("inflated" if inflated else "loaded"), source

    @torch.no_grad()
    def load_rows(self, name: str, values: Tensor, rows: Tensor, source: str) -> None:
        """Write the rows of a tensor where ``rows`` is true; the others stay missing."""
        record = self._missing(name)
        tensor = self._tensors[name]
        tensor[rows.to(tensor.device)] = values[rows].to(tensor)
        record.rows, record.source = rows, source

    @torch.no_grad()
    def initialise(self, name: str, values: Tensor, rule: str, *, mean: float = 0.0, std: float | None = None) -> None:
        """Write the missing elements of a tensor: all of it, or the rows that were not loaded.

        ``values`` are for the whole tensor, drawn from a distribution of ``mean`` and ``std`` (None: not drawn).
        """
        record = self._missing(name)
        tensor = self._tensors[name]
        if record.rows is None:
            tensor.copy_(values)
            record.status = "initialised"
            new = tensor
        else:
            new_rows = ~record.rows.to(tensor.device)
            tensor[new_rows] = values.to(tensor)[new_rows]
            record.status = "partial"
            new = tensor[new_rows]
        self._record_rule(record, new, rule, mean, std)

    @torch.no_grad()
    def overwrite(self, name: str, values: Tensor, rule: str, *, mean: float = 0.0, std: float | None = None) -> None:
        """Write a tensor of any status. Only for the ``article`` preset, which is there to show the damage."""
        record = self.records[name]
        self._tensors[name].copy_(values)
        record.status, record.rows, record.source = "initialised", None, None
        self._record_rule(record, self._tensors[name], rule, mean, std)

    def keep(self, name: str) -> None:
        """Record that a tensor stays as it was constructed."""
        self._missing(name).status = "constructor"

    def _missing(self, name: str) -> TensorRecord:
        record = self.records[name]
        assert record.status == "missing", f"{name} is {record.status} already"
        return record

    @staticmethod
    def _record_rule(record: TensorRecord, new: Tensor, rule: str, mean: float, std: float | None) -> None:
        record.rule, record.expected_std = rule, std
        if std is not None:
            record.measured_std = float((new.double() - mean).square().mean().sqrt())
