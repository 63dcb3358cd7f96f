from __future__ import annotations

from itertools import chain

import pytest

from yolofuse.data.dataset import EvalDataset
from yolofuse.data.sampler import EpochSampler, EvalSampler, epoch_order, partner_pools
from yolofuse.errors import ConfigError


def test_epoch_order__is_a_permutation_that_seed_and_epoch_decide() -> None:
    order = epoch_order(7, 2, 50).tolist()
    assert sorted(order) == list(range(50))
    assert epoch_order(7, 2, 50).tolist() == order
    assert epoch_order(7, 3, 50).tolist() != order
    assert epoch_order(8, 2, 50).tolist() != order


@pytest.mark.parametrize("size", [1, 3, 4, 10, 16])
def test_partner_pools__partition_the_set(size: int) -> None:
    order = epoch_order(7, 2, 10)
    pools = partner_pools(order, size)
    assert sorted(index for pool in set(pools) for index in pool) == list(range(10))
    assert all(index in pool for index, pool in zip(order.tolist(), pools, strict=True))


@pytest.mark.parametrize(("num", "batch"), [(10, 4), (8, 4), (3, 8), (1, 2)])
@pytest.mark.parametrize("world", [1, 2])
def test_epoch_sampler__ranks_share_out_each_global_batch(num: int, batch: int, world: int) -> None:
    alone = EpochSampler(num, batch, seed=1)
    ranks = [EpochSampler(num, batch, 1, rank, world) for rank in range(world)]
    for sampler in (alone, *ranks):
        sampler.set_epoch(4, mosaic=False)
    steps = list(alone)
    assert len(steps) == len(alone) == -(-num // batch)
    assert {key.index for step in steps for key in step} == set(range(num))
    assert steps == [list(chain.from_iterable(parts)) for parts in zip(*ranks, strict=True)]
    assert all(key.epoch == 4 and not key.mosaic for step in steps for key in step)


def test_epoch_sampler__epochs_and_seeds_differ() -> None:
    sampler = EpochSampler(50, 5, seed=1)
    orders = [_order(sampler)]
    sampler.set_epoch(1)
    orders += [_order(sampler), _order(EpochSampler(50, 5, seed=2))]
    assert len({str(order) for order in orders}) == 3


def _order(sampler: EpochSampler) -> list[int]:
    return [key.index for step in sampler for key in step]


def test_epoch_sampler__seek_starts_at_a_step_of_the_same_epoch() -> None:
    sampler = EpochSampler(10, 4, seed=1, pool=4)
    sampler.set_epoch(3)
    steps = list(sampler)
    sampler.seek(2)
    assert list(sampler) == steps[2:]
    assert len(sampler) == 3


def test_epoch_sampler__batch_that_ranks_cannot_share_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.batch: must be a multiple of the 3 processes \(got 16\)"):
        EpochSampler(10, 16, 0, 0, 3)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_eval_sampler__batches_do_not_depend_on_the_world_size(two_shapes: EvalDataset, world: int) -> None:
    alone = list(EvalSampler(two_shapes, 2))
    ranks = [list(EvalSampler(two_shapes, 2, rank, world)) for rank in range(world)]
    assert sorted(batch for batches in ranks for batch in batches) == sorted(alone)
    assert sorted(index for batch in alone for index in batch) == list(range(9))
    assert all(len({two_shapes.shape_hw(index) for index in batch}) == 1 for batch in alone)


def test_eval_sampler__seeks_and_counts_the_longest_rank(two_shapes: EvalDataset) -> None:
    samplers = [EvalSampler(two_shapes, 2, rank, 2) for rank in (0, 1)]
    assert [len(sampler) for sampler in samplers] == [3, 2]
    assert {sampler.num_steps for sampler in samplers} == {3}
    whole = list(samplers[0])
    samplers[0].seek(1)
    assert list(samplers[0]) == whole[1:]
