"""Our training loop, taking turns; a worker of bench_train.py."""

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
from scripts.benchmarks.turns import Turns, answers_only
from torch.utils.flop_counter import FlopCounterMode

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
from yolofuse.types import PairedBatch


def main() -> None:
    """Train until the parent says that it is enough."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="data set as bench_train.py makes it")
    parser.add_argument("--name", required=True)
    parser.add_argument("--settle", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--threads", type=int, required=True)
    args, overrides = parser.parse_known_args()
    say = answers_only()
    file = args.root / f"{args.name}.yaml"
    file.write_text(yaml.safe_dump({"data": {"descriptor": str(args.root / "ours.yaml")}, "train": {"run": "unset"}}))
    config = load_config(file, [*overrides, f"train.run={args.root / args.name}"])
    device = torch.device(config.train.device)
    if device.type == "cpu":
        torch.set_num_threads(args.threads)
    watch = _Watch(config, Turns(device, args.settle, args.steps, say))
    with watch.attached():
        train(config)


class _Watch:
    """Sees what the loop uses, and is called at the end of each of its steps."""

    def __init__(self, config: Config, turns: Turns) -> None:
        self._config = config
        self._turns = turns
        self._session: TrainContext | None = None
        self._batch: PairedBatch | None = None
        turns.bare = self._bare_step
        turns.about = self._about

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Hook into the loop's own functions, which do their work as before."""
        prepare, next_batch, step, init = build.build_context, DevicePrefetcher._next, Profile.step, Profile.__init__

        def seen_prepare(*args: Any, **kwargs: Any) -> TrainContext:
            self._session = prepare(*args, **kwargs)
            return self._session

        def timed_next(feed: DevicePrefetcher) -> PairedBatch | None:
            started = time.perf_counter()
            batch = next_batch(feed)
            self._turns.data_s += time.perf_counter() - started
            self._batch = batch if batch is not None else self._batch
            return batch

        def last_of_step(profile: Profile) -> None:
            step(profile)
            self._turns.step_done()

        def patient(profile: Profile, folder: Path, steps: int, device: torch.device) -> None:
            init(profile, folder, steps, device, skip=self._turns.settle)

        with ExitStack() as stack:
            stack.enter_context(patch("yolofuse.engine.lifecycle.prepare", seen_prepare))
            stack.enter_context(patch.object(DevicePrefetcher, "_next", timed_next))
            stack.enter_context(patch.object(Profile, "step", last_of_step))
            stack.enter_context(patch.object(Profile, "__init__", patient))
            if self._turns.device.type == "cpu":
                clock = _PartClock(Path(), 0, self._turns.device)
                clock.turns = self._turns
                stack.enter_context(patch.object(profiler, "_open", clock))
            yield

    def _bare_step(self) -> None:
        """Forward, loss and backward of the same module on the batch that the loop just had, and nothing else."""
        assert self._session is not None
        assert self._batch is not None
        session, batch = self._session, self._batch
        with autocast(self._turns.device, self._config.train.precision):
            outputs = session.model(batch.rgb, batch.ir)
        total, _ = session.criterion(outputs, batch, batch.on_host)
        total.backward()  # type: ignore[no-untyped-call]
        session.optimizer.zero_grad(set_to_none=True)

    def _about(self) -> dict[str, Any]:
        assert self._session is not None
        assert self._batch is not None
        detector, batch = self._session.detector, self._batch
        with preserve_state(detector), FlopCounterMode(display=False) as counter:
            outputs = detector(batch.rgb[:1], batch.ir[:1])
            torch.stack([tensor.float().sum() for tensor in _tensors(outputs)]).sum().backward()  # type: ignore[no-untyped-call]
        return {
            "gflops": counter.get_total_flops() / 1e9,
            "parameters": sum(parameter.numel() for parameter in detector.parameters()),
            "profile": str(Path(self._config.train.run) / "profile"),
        }


class _PartClock(Profile):
    """Adds up the host's time by part, which on the CPU is all there is; a profiler would cost more than the parts."""

    turns: Turns

    def part(self, name: Part) -> Any:
        return self._timed(name)

    @contextmanager
    def _timed(self, name: Part) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            parts = self.turns.parts
            parts[name] = parts.get(name, 0.0) + time.perf_counter() - started


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value
    return [tensor for item in items for tensor in _tensors(item)]


if __name__ == "__main__":
    main()
