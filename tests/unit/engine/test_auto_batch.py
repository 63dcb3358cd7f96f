"""Batch sizes by memory, on a pretended one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.pairs import make_pairs, pairs_of
from tests.support.runs import write_config
from yolofuse.config import Config, ModelConfig, load_config
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine.auto_batch import StepProbe, automatic_batch, fit_batch, max_boxes_per_image
from yolofuse.errors import ConfigError
from yolofuse.model import build_detector

_MIB = 2**20
_CPU = torch.device("cpu")


class PretendedMemory:
    """A device whose steps take what a formula says, and run out of memory beyond its size."""

    def __init__(self, total: int, needs: Callable[[int], float]) -> None:
        self.total = total
        self._needs = needs
        self._peak = 0
        self.tried: list[int] = []

    def step(self, num: int) -> None:
        self.tried.append(num)
        self._peak = max(self._peak, min(int(self._needs(num)), self.total))
        if self._needs(num) > self.total:
            raise torch.OutOfMemoryError("pretended")

    def reset(self) -> None:
        self._peak = 0

    def peak(self) -> int:
        return self._peak


def _largest(memory: PretendedMemory, needs: Callable[[int], float], num_pairs: int) -> int:
    fitting = [num for num in range(2, num_pairs + 1, 2) if needs(num) <= 0.8 * memory.total]
    return max(fitting, default=1)


_NEEDS: dict[str, Callable[[int], float]] = {
    "straight": lambda num: (500 + 37 * num) * _MIB,
    "workspace hides small sizes": lambda num: max(900, 300 + 41 * num) * _MIB,
    "dearer when large": lambda num: (500 + 30 * num + 0.15 * num**2) * _MIB,
    "in blocks": lambda num: (400 + 200 * -(-num * 37 // 200)) * _MIB,
    "hardly one fits": lambda num: (1000 + 2000 * num) * _MIB,
}


@pytest.mark.parametrize("needs", _NEEDS.values(), ids=_NEEDS.keys())
@pytest.mark.parametrize("total_mib", [4_000, 24_000, 80_000])
def test_fit__is_near_the_largest_that_fits(needs: Callable[[int], float], total_mib: int) -> None:
    memory = PretendedMemory(total_mib * _MIB, needs)
    found = fit_batch(memory.step, memory, memory.total, num_pairs=10_000)
    wanted = _largest(memory, needs, 10_000)
    assert needs(found) <= 0.8 * memory.total
    assert wanted * 0.9 - 2 <= found <= wanted
    assert found in memory.tried  # never only promised
    assert found == 1 or found % 2 == 0
    assert len(memory.tried) < 10


def test_fit__knows_the_straight_line(caplog: pytest.LogCaptureFixture) -> None:
    memory = PretendedMemory(10_000 * _MIB, _NEEDS["straight"])
    with caplog.at_level(logging.INFO, "yolofuse"):
        assert fit_batch(memory.step, memory, memory.total, num_pairs=10_000) == 202  # (8000 - 500) / 37 = 202.7
    assert memory.tried == [2, 4, 8, 202]
    assert "train.batch: 202, 202 on each rank; a step uses 7.8 of 7.8 GiB allowed" in caplog.text


def test_fit__share_is_an_option() -> None:
    memory = PretendedMemory(10_000 * _MIB, _NEEDS["straight"])
    assert fit_batch(memory.step, memory, memory.total, num_pairs=10_000, share=0.5) == 120  # 4500 / 37 = 121.6


@pytest.mark.parametrize(("num_pairs", "wanted"), [(1, 1), (2, 2), (7, 6), (31, 30), (100, 100)])
def test_fit__never_exceeds_the_data_set(num_pairs: int, wanted: int) -> None:
    memory = PretendedMemory(80_000 * _MIB, _NEEDS["straight"])
    assert fit_batch(memory.step, memory, memory.total, num_pairs=num_pairs) == wanted
    assert max(memory.tried) == wanted


def test_fit__out_of_memory_while_probing_is_an_answer() -> None:
    memory = PretendedMemory(1000 * _MIB, lambda num: (100 + 200 * num) * _MIB)  # 2 fit, 4 run out: 900 of 1000
    assert fit_batch(memory.step, memory, 1000 * _MIB, num_pairs=100) == 2
    assert memory.tried[:2] == [2, 4]


def test_fit__not_even_one_pair() -> None:
    memory = PretendedMemory(1000 * _MIB, lambda num: 2000.0 * _MIB)
    with pytest.raises(ConfigError, match=r"train\.batch: not even one pair fits into 80% of the memory \(0\.8 GiB\)"):
        fit_batch(memory.step, memory, memory.total, num_pairs=100)
    assert memory.tried == [2, 1]


def test_fit__other_errors_are_not_taken_for_a_full_memory() -> None:
    memory = PretendedMemory(1000 * _MIB, _NEEDS["straight"])

    def broken(num: int) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        fit_batch(broken, memory, memory.total, num_pairs=100)


@pytest.mark.parametrize("other", [(40_000, 1.0), (80_000, 2.0), (9_000, 1.0)], ids=lambda o: f"{o[0]} MiB, x{o[1]}")
def test_fit__ranks_take_the_smallest(other: tuple[int, float]) -> None:
    """Every rank hears every peak, so both walk the same way; here the other rank's are computed."""
    needs = _NEEDS["straight"]
    mine = PretendedMemory(80_000 * _MIB, needs)
    theirs = PretendedMemory(other[0] * _MIB, lambda num: other[1] * needs(num))
    totals: list[int | None] = [mine.total, theirs.total]
    said: list[int | None] = []

    def gather(value: int | None) -> list[int | None]:
        if not said:
            said.append(value)
            return totals
        theirs.reset()
        try:
            theirs.step(mine.tried[-1])
        except torch.OutOfMemoryError:
            return [value, None]
        return [value, theirs.peak()]

    found = fit_batch(mine.step, mine, mine.total, 2, num_pairs=10_000, gather=gather)
    limit = 0.8 * min(mine.total, theirs.total)
    fitting = [num for num in range(2, 5000, 2) if max(1.0, other[1]) * needs(num) <= limit]
    assert max(fitting) * 0.9 * 2 <= found <= max(fitting) * 2
    assert found % 4 == 0


def test_fit__fewer_pairs_than_ranks() -> None:
    memory = PretendedMemory(1000 * _MIB, _NEEDS["straight"])
    with pytest.raises(ConfigError, match="a pair for each of 4 ranks"):
        fit_batch(memory.step, memory, memory.total, 4, num_pairs=3)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return load_config(write_config(tmp_path_factory.mktemp("config")))


def test_automatic_batch__is_refused_on_the_cpu(config: Config) -> None:
    detector = build_detector(config.model, num_classes=1)
    pairs = pairs_of(Path(config.data.descriptor))
    with pytest.raises(
        ConfigError, match=r"train\.batch: -1 needs a GPU, whose memory it depends on, but the device is cpu"
    ):
        automatic_batch(detector, config, "fp32", pairs, Ranks(0, 1, _CPU))


@pytest.mark.parametrize("base", ["yolo11n", "yolo26n"])
def test_step_probe__leaves_the_detector_as_it_is(config: Config, base: str) -> None:
    detector = build_detector(ModelConfig(base=base), num_classes=2).eval()
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    state = torch.get_rng_state()
    probe = StepProbe(detector, config, "fp32", num_boxes=3, device=_CPU)
    probe(2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in detector.state_dict().items())
    assert all(parameter.grad is None for parameter in detector.parameters())
    assert not detector.training
    assert torch.equal(torch.get_rng_state(), state)
    moved = probe._detector.state_dict()
    assert sum(not torch.equal(moved[name], before[name]) for name in before) > len(before) / 2  # it did make a step
    assert all(parameter.grad is None for parameter in probe._detector.parameters())


def test_step_probe__shows_as_many_boxes_as_asked_for(config: Config) -> None:
    batch = StepProbe(build_detector(config.model, num_classes=1), config, "fp32", 5, _CPU)._batch(3)
    assert np.bincount(batch.batch_index.numpy()).tolist() == [5, 5, 5]
    assert batch.boxes_xyxy.shape == (15, 4)
    assert batch.pixels.shape == (3, 4, 64, 64)


def test_crowded__counts_mosaics_where_there_are_any(tmp_path: Path, config: Config) -> None:
    pairs = pairs_of(make_pairs(tmp_path, num_train=5, num_val=0))  # a box in each
    assert max_boxes_per_image(pairs, config) == 4
    augment = config.train.augment.model_copy(update={"mosaic": 0.0})
    plain = config.model_copy(update={"train": config.train.model_copy(update={"augment": augment})})
    assert max_boxes_per_image(pairs, plain) == 1
