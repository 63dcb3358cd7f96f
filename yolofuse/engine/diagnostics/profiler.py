"""Profile a few training steps by named spans: data, forward, loss, backward, optimizer, EMA, evaluation."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch.profiler import ProfilerActivity, record_function

from yolofuse.engine.diagnostics.trace_summary import (
    PREFIX,
    SETTLING,
    STEP,
    Part,
    PartTime,
    StepTimes,
    format_times,
    read_step_times,
    times_as_csv,
)
from yolofuse.files import save_text

log = logging.getLogger("yolofuse")

_FREE: AbstractContextManager[None] = nullcontext()

_open: Profile | None = None


def profile_span(name: Part) -> AbstractContextManager[Any]:
    """Mark a block of the loop with a name; does nothing unless a profile is open. Spans are never nested."""
    return _FREE if _open is None else _open.profile_span(name)


class Profile:
    """Profiles ``steps`` training steps once, and the evaluation after them, into a folder.

    Files:
        ``trace.json`` for chrome://tracing or Perfetto, ``parts.csv``, and the same to read in ``parts.txt``. A run
        that is profiled again, for instance after a resume, replaces them.
    """

    def __init__(self, folder: Path, steps: int, device: torch.device, skip: int = 3) -> None:
        """Prepare; nothing is recorded yet.

        Args:
            folder: Where the files go; made when there is something to write.
            steps: How many; 0 makes every method do nothing.
            device: Where the steps compute.
            skip: Steps before the profiler starts: the first ones choose kernels, compile, and fill the allocator.
        """
        self._folder = folder
        self._num_steps = steps
        self._device = device
        self._skip = max(skip, 1)
        self._seen = 0
        self._recorded = 0
        self._profiler: torch.profiler.profile | None = None
        self._mark = ExitStack()
        self._times: StepTimes | None = None
        self._evaluated = False

    def __enter__(self) -> Profile:
        global _open  # profile_span() is called where no profile can be passed in, and must cost nothing
        if self._num_steps:
            _open = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _open
        if _open is self:
            _open = None
            self._finish(write=kind is None)  # nothing is written for a run that fails

    def step(self) -> None:
        """Mark the end of a step. The first steps are only counted."""
        if _open is not self or not self._num_steps or self._times is not None:
            return
        if self._profiler is not None:
            self._recorded += 1
            self._mark.close()
            if self._recorded == self._num_steps + SETTLING:
                self._finish()
                return
            self._mark.enter_context(record_function(STEP))
            return
        self._seen += 1
        if self._seen >= self._skip:
            self._start()

    def profile_span(self, name: Part) -> AbstractContextManager[Any]:
        """Return the context of a span: recorded in profiled steps, timed if it is the first evaluation after them."""
        if name == "evaluation":
            self._finish()  # an evaluation has too many operations for a trace that can be opened
            return _FREE if self._times is None or self._evaluated else self._timed_evaluation(self._times)
        return record_function(PREFIX + name) if self._profiler is not None else _FREE

    @contextmanager
    def _timed_evaluation(self, times: StepTimes) -> Iterator[None]:
        """Add the time of one evaluation to the files. Its end is on the host, so the device is done by then."""
        started = time.perf_counter()
        yield
        self._evaluated = True
        evaluation = PartTime("evaluation", 1000 * (time.perf_counter() - started), None)
        try:
            self._write(replace(times, parts=(*times.parts, evaluation)))
        except OSError as error:
            self._give_up(error)

    def _start(self) -> None:
        activities = [ProfilerActivity.CPU]
        if self._device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
            torch.cuda.synchronize(self._device)  # otherwise kernels of earlier steps would count for the first one
        self._profiler = torch.profiler.profile(activities=activities)
        self._profiler.start()
        self._mark.enter_context(record_function(STEP))

    def _finish(self, *, write: bool = True) -> None:
        """Stop recording; after an epoch too short for one whole step, recording is tried again in the next."""
        profiler, self._profiler = self._profiler, None
        if profiler is None:
            return
        recorded, self._recorded = self._recorded, 0
        self._mark.close()
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        profiler.stop()
        if not write or recorded <= SETTLING:
            return
        try:
            self._times = self._save(profiler, recorded)
        except (OSError, ValueError) as error:
            self._give_up(error)
            return
        log.info("profile: in %s\n%s", self._folder, format_times(self._times))
        if self._device.type == "cuda" and self._times.busy is None:
            log.warning(
                "warning: the profile has no kernels; check that this user may read the GPU's performance counters"
            )

    def _save(self, profiler: torch.profiler.profile, recorded: int) -> StepTimes:
        self._folder.mkdir(parents=True, exist_ok=True)
        trace = self._folder / "trace.json"
        partial = trace.with_suffix(".json.part")
        partial.unlink(missing_ok=True)  # never written through, should it be a link
        profiler.export_chrome_trace(str(partial))
        partial.replace(trace)
        times = read_step_times(json.loads(trace.read_text(encoding="utf-8")), recorded)
        self._write(times)
        return times

    def _give_up(self, error: Exception) -> None:
        """Log why the profile could not be written, and stop profiling: the run continues without it."""
        log.warning("warning: %s: the profile could not be written (%s)", self._folder, error)
        self._num_steps = 0

    def _write(self, times: StepTimes) -> None:
        save_text(self._folder / "parts.csv", times_as_csv(times))
        save_text(self._folder / "parts.txt", format_times(times) + "\n")
