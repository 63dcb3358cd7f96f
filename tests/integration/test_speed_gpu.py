"""Test speed on CUDA: steps never synchronise, profiles record kernels, the automatic batch fits, benchmarks run."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support.pairs import make_pairs
from tests.support.runs import run_module, write_config
from yolofuse.config import Config, load_config
from yolofuse.distributed.ranks import join_ranks
from yolofuse.engine.auto_batch import CudaMemory, StepProbe, automatic_batch
from yolofuse.engine.build import TrainContext, build_context
from yolofuse.engine.nan_guard import NanGuard
from yolofuse.engine.step import StepState, new_scaler, new_step_state, train_step
from yolofuse.engine.train import train

pytestmark = pytest.mark.gpu


def _config(folder: Path, num_train: int = 16, **train_options: object) -> Config:
    descriptor = make_pairs(folder / "set", num_train=num_train, num_val=2)
    options = {"device": "cuda", "batch": 4, "nominal_batch": 4, **train_options}
    return load_config(write_config(folder, descriptor, data={"workers": 2}, train=options))


@pytest.fixture
def context(tmp_path: Path) -> Iterator[TrainContext]:
    with join_ranks("cuda") as ranks:
        yield build_context(_config(tmp_path), ranks)


def _new_state(context: TrainContext, folder: Path) -> StepState:
    state = new_step_state(context, new_scaler(context), folder / "first_steps.csv", 0, micro_batches=1)
    state.model.train()
    context.train_loader.start(0, 0)
    return state


def test_step__never_synchronises(context: TrainContext, tmp_path: Path) -> None:
    """After the first step, which makes anchors and fills caches, no step or update synchronises with the device."""
    state = _new_state(context, tmp_path)
    num_steps = 0
    for step, batch in enumerate(context.train_loader):
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error" if step else "default")
        try:
            train_step(context, state, batch, step + 1, range(step, step + 1))
            state.guard = NanGuard()  # checking the previous update waits, for its event only
        finally:
            torch.cuda.set_sync_debug_mode("default")
        num_steps += 1
    assert num_steps == 4


def test_profile__records_kernels(tmp_path: Path) -> None:
    run = train(_config(tmp_path, num_train=40, epochs=1, close_mosaic=0, profile_steps=4))
    with (run / "profile" / "parts.csv").open(newline="") as stream:
        rows = {row["part"]: row for row in csv.DictReader(stream)}
    assert 0 < float(rows["step"]["gpu_busy"]) <= 1
    assert {"forward", "loss", "backward", "optimizer", "ema"} <= rows.keys()
    assert float(rows["backward"]["device_ms"]) > float(rows["loss"]["device_ms"]) > 0
    shares = [float(row["device_share"]) for row in rows.values() if row["device_share"]]
    assert sum(shares) == pytest.approx(1, abs=1e-3)


@pytest.fixture
def _little_memory() -> Iterator[None]:
    torch.cuda.set_per_process_memory_fraction(min(4 * 2**30 / torch.cuda.mem_get_info()[1], 1.0))
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("_little_memory")
def test_automatic_batch__handles_real_out_of_memory(tmp_path: Path) -> None:
    """The allocator's limit is far below 80% of any GPU, so that allocations fail, which must be handled."""
    config = _config(tmp_path, imgsz=640)
    with join_ranks("cuda") as ranks:
        context = build_context(config, ranks)
        pairs = context.train_pairs
        found = automatic_batch(context.detector, config, "fp32", pairs, ranks)
        StepProbe(context.detector, config, "fp32", 4, ranks.device)(found)
    assert 1 <= found <= len(pairs)


def test_automatic_batch__a_run_trains_with_it(tmp_path: Path) -> None:
    run = train(_config(tmp_path, batch=-1, nominal_batch=16))
    assert load_config(run / "config.yaml").train.batch == 16  # all pairs of the set fit on any GPU


def test_step_probe__needs_the_memory_of_a_step(context: TrainContext, tmp_path: Path) -> None:
    """The probe's peak is that of a real step with as many pairs, or slightly more."""
    memory = CudaMemory(context.ranks.device)
    memory.reset()
    state, step_peak = _new_state(context, tmp_path), 0
    for step, batch in enumerate(context.train_loader):
        train_step(context, state, batch, step + 1, range(step, step + 1))
        step_peak = torch.cuda.max_memory_allocated()
    probe = StepProbe(context.detector, context.config, "fp32", 4, context.ranks.device)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    memory.reset()
    probe(4)
    growth = torch.cuda.max_memory_allocated() - before
    assert growth > 0
    assert torch.cuda.max_memory_allocated() >= 0.8 * step_peak


def test_train_benchmark__runs_on_cuda(tmp_path: Path) -> None:
    data = make_pairs(tmp_path / "set", num_train=4, num_val=1, suffixes=(".jpg", ".jpg"))
    options = ["--imgsz", "64", "--batch", "4", "--steps", "4", "--rounds", "1", "--workers", "1", "--bases", "yolo11n"]
    file = tmp_path / "speed.csv"
    done = run_module("scripts.benchmarks.train", "--data", str(data), *options, "--csv", str(file))
    assert done.returncode == 0, done.stderr
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["loop"] for row in rows] == ["rgb", "mid", "stock rgb"]
    assert all(float(row["gpu_busy"]) > 0 for row in rows)
