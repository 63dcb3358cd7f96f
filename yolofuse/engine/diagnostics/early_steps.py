"""Record losses and gradient norms of a run's first steps in a file, and warn where they look wrong."""

from __future__ import annotations

import csv
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from yolofuse.batch import PairedBatch
from yolofuse.engine.diagnostics.locate_nan import where_not_finite
from yolofuse.engine.precision import autocast
from yolofuse.files import open_own, read_regular, save_text

if TYPE_CHECKING:
    from yolofuse.engine.build import TrainContext

log = logging.getLogger("yolofuse")

_READ_EVERY = 10  # steps whose values stay on the device until they are read together
_SPIKE, _MEMORY = 3.0, 10  # times the median of this many steps
_SKIPS = 3
_NOT_TERMS = {"step", "total", "grad_norm"}


@dataclass(frozen=True)
class Step:
    """One step of training.

    Attributes:
        number: Counted from 1.
        terms: The loss terms per pair, by name.
        grad_norm: Norm of all gradients before clipping; None if the weights were not updated.
    """

    number: int
    terms: Mapping[str, float]
    grad_norm: float | None = None

    @property
    def total(self) -> float:
        """The sum of the terms."""
        return sum(self.terms.values())


@dataclass(frozen=True)
class Alarm:
    """A warning, given once per kind."""

    kind: str
    text: str


def detect_anomalies(steps: Sequence[Step], window: int, *, scaled: bool = False, since: int = 0) -> list[Alarm]:
    """Return the warnings for the steps from index ``since`` on.

    Args:
        steps: All steps so far, from the first one on.
        window: Number of steps to watch; only at its end is the loss required to have fallen.
        scaled: Whether a gradient scaler skips updates whose gradients are not finite.
        since: Steps before it were checked already.
    """
    alarms: list[Alarm] = []
    for i in range(since, len(steps)):
        alarms += _check_step(steps[: i + 1] if i < _MEMORY else steps[i - _MEMORY : i + 1], scaled)
    if scaled:
        alarms += _skipped(steps, since)
    if since < window <= len(steps):
        alarms += _not_falling(steps[:window])
    return alarms


def _check_step(recent: Sequence[Step], scaled: bool) -> list[Alarm]:
    *past, step = recent
    if not math.isfinite(step.total):
        names = [name for name, value in step.terms.items() if not math.isfinite(value)]
        text = f"the {' and '.join(names)} loss is not finite from step {step.number} on; try a lower train.lr0"
        return [Alarm("loss not finite", text)]
    alarms = []
    if not scaled and step.grad_norm is not None and not math.isfinite(step.grad_norm):
        text = f"the gradients are not finite at step {step.number}; try a lower train.lr0, or train.precision: fp32"
        alarms.append(Alarm("gradients not finite", text))
    usual = median(old.total for old in past) if len(past) == _MEMORY else math.inf
    if step.total > _SPIKE * usual:
        text = (
            f"the loss jumped to {step.total:.3g} at step {step.number}, over {_SPIKE:g} times the {usual:.3g} of the "
            f"steps before; try a lower train.lr0 or train.warmup_bias_lr, or more train.warmup_epochs"
        )
        alarms.append(Alarm("spike", text))
    return alarms


def _skipped(steps: Sequence[Step], since: int) -> list[Alarm]:
    in_row = 0
    for i, step in enumerate(steps):
        if step.grad_norm is None:
            continue
        in_row = 0 if math.isfinite(step.grad_norm) else in_row + 1
        if in_row == _SKIPS and i >= since:
            text = (
                f"{_SKIPS} updates in a row were skipped up to step {step.number}, since gradients overflowed in fp16; "
                "the scale falls by itself, but if it goes on try train.precision: bf16"
            )
            return [Alarm("skipped", text)]
    return []


def _not_falling(steps: Sequence[Step]) -> list[Alarm]:
    quarter = len(steps) // 4
    if not quarter:
        return []
    first, last = (fmean(step.total for step in part) for part in (steps[:quarter], steps[-quarter:]))
    if last < first or not math.isfinite(last):
        return []
    text = (
        f"the loss has not fallen in {len(steps)} steps: {first:.3g} in the first quarter, {last:.3g} in the last; try "
        "another train.lr0 or a shorter warm-up, look at train_batch0.jpg, and probe the weights (yolofuse probe)"
    )
    return [Alarm("not falling", text)]


class Monitor:
    """Records the first steps of a run without waiting for the device."""

    def __init__(
        self,
        path: Path,
        window: int,
        *,
        step: int = 0,
        scaled: bool = False,
        is_main: bool = True,
        locate_nan: Callable[[PairedBatch], str] | None = None,
    ) -> None:
        """Read what the file holds of the steps up to ``step``.

        Args:
            path: The CSV file.
            window: Number of steps to record; 0 for none.
            step: Where the run stands; what the file says of later steps is dropped, for they will be taken again.
            scaled: Whether a gradient scaler skips updates whose gradients are not finite.
            is_main: Whether to write and warn; rank 0 does.
            locate_nan: Describes where a batch's values stop being finite.
        """
        self._path = path
        self._window = window if is_main else 0
        self._scaled = scaled
        self._locate_nan = locate_nan
        self.batch: PairedBatch | None = None
        """The batch that is being trained on, to look for the first values that are not finite."""
        self.batch_step = -1
        """Its step, counted from 0."""
        self._pending: list[tuple[int, dict[str, Tensor]]] = []
        self._norms: dict[int, Tensor] = {}
        self._steps = [known for known in read_steps(path) if known.number <= step] if self._window else []
        self._warned = {alarm.kind for alarm in detect_anomalies(self._steps, window, scaled=scaled)}
        if self._steps:
            save_text(path, _header(self._steps) + _lines(self._steps))
        elif self._window:
            path.unlink(missing_ok=True)

    def add(self, step: int, terms: dict[str, Tensor]) -> None:
        """Record the loss terms of a step, counted from 1."""
        if step > self._window or len(self._pending) >= _READ_EVERY:
            self.read()
        if step <= self._window:
            self._pending.append((step, dict(terms)))

    def add_norm(self, step: int, norm: Tensor | None) -> None:
        """Record the norm of the gradients with which a step updated the weights."""
        if norm is not None and step <= self._window:
            self._norms[step] = norm.detach()

    def read(self) -> None:
        """Read pending values from the device, write them, and warn. Call it before each checkpoint is saved."""
        if not self._pending:
            return
        tensors = [v for number, terms in self._pending for v in (*terms.values(), *self._norm_of(number))]
        read = torch.stack([tensor.float() for tensor in tensors]).tolist()
        values = iter([float(f"{value:.9g}") for value in read])  # as in the file, so that a resume has the same
        new = [
            Step(number, {name: next(values) for name in terms}, next(values) if number in self._norms else None)
            for number, terms in self._pending
        ]
        self._pending, self._norms = [], {}
        since = len(self._steps)
        self._steps += new
        self._write(new)
        for alarm in detect_anomalies(self._steps, self._window, scaled=self._scaled, since=since):
            if alarm.kind not in self._warned:
                self._warned.add(alarm.kind)
                log.warning("warning: %s", alarm.text)

    def where_not_finite(self) -> str:
        """Describe where the values of ``batch`` stop being finite; pending values are written first."""
        self.read()
        return self._locate_nan(self.batch) if self._locate_nan and self.batch is not None else "its batch is gone"

    def _norm_of(self, number: int) -> list[Tensor]:
        return [self._norms[number]] if number in self._norms else []

    def _write(self, steps: Sequence[Step]) -> None:
        with os.fdopen(open_own(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "a", encoding="utf-8") as file:
            file.write(_lines(steps) if file.tell() else _header(steps) + _lines(steps))


def open_monitor(context: TrainContext, path: Path, step: int, *, scaled: bool) -> Monitor:
    """Create the monitor of a run that has made ``step`` steps, with a gradient scaler or without."""
    detector, device, config = context.detector, context.ranks.device, context.config.train
    window = min(config.monitor_steps, config.epochs * len(context.train_loader))

    def locate_nan(batch: PairedBatch) -> str:
        if not bool(batch.pixels.isfinite().all()):
            return "the images of the batch are not finite"
        with autocast(device, config.precision):
            return where_not_finite(detector, lambda: detector(batch.rgb, batch.ir))

    return Monitor(
        path,
        window,
        step=step,
        scaled=scaled,
        is_main=context.ranks.is_main,
        locate_nan=locate_nan,
    )


def read_steps(path: Path) -> list[Step]:
    """Read the recorded steps in order; a line cut short by a kill ends them."""
    try:
        whole, _, _ = read_regular(path).rpartition("\n")
    except FileNotFoundError:
        return []
    rows = list(csv.DictReader(whole.splitlines()))
    return [
        Step(
            int(row["step"]),
            {name: float(row[name]) for name in row if name not in _NOT_TERMS},
            float(row["grad_norm"]) if row["grad_norm"] else None,
        )
        for row in rows
    ]


def _header(steps: Sequence[Step]) -> str:
    return ",".join(["step", *steps[0].terms, "total", "grad_norm"]) + "\n"


def _lines(steps: Sequence[Step]) -> str:
    lines = []
    for step in steps:
        values = [f"{value:.9g}" for value in (*step.terms.values(), step.total)]  # every digit of a float32
        lines.append([str(step.number), *values, "" if step.grad_norm is None else f"{step.grad_norm:.9g}"])
    return "".join(",".join(line) + "\n" for line in lines)
