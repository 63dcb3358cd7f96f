"""Run our training loop in turns; a worker of benchmarks/train.py."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from scripts.benchmarks.measure import flatten_tensors
from scripts.benchmarks.turns import Turns, take_stdout
from yolofuse.batch import PairedBatch
from yolofuse.config import Config, load_config
from yolofuse.engine import build
from yolofuse.engine.build import TrainContext
from yolofuse.engine.diagnostics import profiler
from yolofuse.engine.diagnostics.hooks import preserve_state
from yolofuse.engine.diagnostics.profiler import Profile
from yolofuse.engine.diagnostics.trace_summary import Part
from yolofuse.engine.precision import autocast
from yolofuse.engine.prefetcher import DevicePrefetcher
from yolofuse.engine.train import train


def main() -> None:
    """Train until the parent process sends ``quit``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="data set written by benchmarks/train.py")
    parser.add_argument("--name", required=True)
    parser.add_argument("--settle", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    args, overrides = parser.parse_known_args()
    answers = take_stdout()
    file = args.root / f"{args.name}.yaml"
    file.write_text(yaml.safe_dump({"data": {"descriptor": str(args.root / "ours.yaml")}, "train": {"run": "unset"}}))
    config = load_config(file, [*overrides, f"train.run={args.root / args.name}"])
    device = torch.device(config.train.device)
    if device.type == "cpu":
        torch.set_num_threads(args.threads)
    hooks = _LoopHooks(config, Turns(device, args.settle, args.steps, answers))
    with hooks.installed():
        train(config)


class _LoopHooks:
    """Record the loop's context and batches, time its data, and report the end of each step."""

    def __init__(self, config: Config, turns: Turns) -> None:
        self._config = config
        self._turns = turns
        self._context: TrainContext | None = None
        self._batch: PairedBatch | None = None
        turns.bare_step = self._bare_step
        turns.facts = self._facts

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Wrap functions of the loop, which work as before."""
        build_context, next_batch, step, init = (
            build.build_context,
            DevicePrefetcher._next,
            Profile.step,
            Profile.__init__,
        )

        def recorded_build(*args: Any, **kwargs: Any) -> TrainContext:
            self._context = build_context(*args, **kwargs)
            return self._context

        def timed_next(feed: DevicePrefetcher) -> PairedBatch | None:
            started = time.perf_counter()
            batch = next_batch(feed)
            self._turns.data_s += time.perf_counter() - started
            self._batch = batch if batch is not None else self._batch
            return batch

        def step_done(profile: Profile) -> None:
            step(profile)
            self._turns.step_done()

        def init_after_settling(profile: Profile, folder: Path, steps: int, device: torch.device) -> None:
            init(profile, folder, steps, device, skip=self._turns.settle)

        with ExitStack() as stack:
            stack.enter_context(patch("yolofuse.engine.lifecycle.build_context", recorded_build))
            stack.enter_context(patch.object(DevicePrefetcher, "_next", timed_next))
            stack.enter_context(patch.object(Profile, "step", step_done))
            stack.enter_context(patch.object(Profile, "__init__", init_after_settling))
            if self._turns.device.type == "cpu":
                clock = _PartClock(Path(), 0, self._turns.device)
                clock.turns = self._turns
                stack.enter_context(patch.object(profiler, "_open", clock))
            yield

    def _bare_step(self) -> None:
        """Compute only forward, loss and backward of the same module on the batch that the loop just used."""
        assert self._context is not None
        assert self._batch is not None
        context, batch = self._context, self._batch
        with autocast(self._turns.device, self._config.train.precision):
            outputs = context.detector(batch.rgb, batch.ir)
        context.criterion(outputs, batch).total.backward()  # type: ignore[no-untyped-call]
        context.optimizer.zero_grad(set_to_none=True)

    def _facts(self) -> dict[str, Any]:
        assert self._context is not None
        assert self._batch is not None
        detector, batch = self._context.detector, self._batch
        with preserve_state(detector), FlopCounterMode(display=False) as counter:
            outputs = detector(batch.rgb[:1], batch.ir[:1])
            torch.stack([tensor.float().sum() for tensor in flatten_tensors(outputs)]).sum().backward()  # type: ignore[no-untyped-call]
        return {
            "gflops": counter.get_total_flops() / 1e9,
            "parameters": sum(parameter.numel() for parameter in detector.parameters()),
            "profile": str(Path(self._config.train.run) / "profile"),
        }


class _PartClock(Profile):
    """Sum the host's time by part, which on the CPU is the whole time; a profiler would cost more than the parts."""

    turns: Turns

    def profile_span(self, name: Part) -> Any:
        return self._timed(name)

    @contextmanager
    def _timed(self, name: Part) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            parts = self.turns.parts
            parts[name] = parts.get(name, 0.0) + time.perf_counter() - started


if __name__ == "__main__":
    main()
