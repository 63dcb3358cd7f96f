from __future__ import annotations

import pickle
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.support.pairs import Picture, make_pairs, pairs_of, record_calls, write_pair
from yolofuse.config.schema import AugmentConfig
from yolofuse.data.dataloader import EpochSampler, EvalSampler, collate, eval_batches, eval_loader, train_loader
from yolofuse.data.dataset import EvalDataset, SampleKey, TrainDataset
from yolofuse.data.images import lru_reader
from yolofuse.data.index.pair_set import PairSet
from yolofuse.data.sampler import epoch_order, partner_pools
from yolofuse.errors import ConfigError
from yolofuse.types import PairedBatch, PairedSample

_IMGSZ = 64


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> PairSet:
    return pairs_of(make_pairs(tmp_path_factory.mktemp("pairs"), 10, 0, suffixes=(".jpg", ".png")))


def _dataset(pairs: PairSet, pool: int = 0) -> TrainDataset:
    return TrainDataset(pairs, _IMGSZ, AugmentConfig(mosaic_pool=pool), seed=7)


def _same(one: PairedSample, two: PairedSample) -> bool:
    return (
        np.array_equal(one.image, two.image)
        and np.array_equal(one.boxes_xyxy, two.boxes_xyxy)
        and np.array_equal(one.class_ids, two.class_ids)
    )


@pytest.mark.parametrize("pool", [0, 4])
def test_sample__does_not_depend_on_what_was_read_before(pairs: PairSet, pool: int) -> None:
    groups = partner_pools(np.arange(10), pool) if pool else [()] * 10
    keys = [SampleKey(epoch, index, index % 3 > 0, groups[index]) for epoch in (0, 5) for index in range(10)]
    used = _dataset(pairs, pool)
    forwards = [used[key] for key in keys]
    backwards = [used[key] for key in reversed(keys)][::-1]
    alone = [_dataset(pairs, pool)[key] for key in keys]
    for one, two, three in zip(forwards, backwards, alone, strict=True):
        assert _same(one, two)
        assert _same(one, three)


@pytest.mark.parametrize(
    "other", [SampleKey(1, 3, True), SampleKey(0, 4, True), SampleKey(0, 3, False)], ids=["epoch", "index", "mosaic"]
)
def test_sample__depends_on_each_part_of_its_key(pairs: PairSet, other: SampleKey) -> None:
    assert not _same(_dataset(pairs)[SampleKey(0, 3, True)], _dataset(pairs)[other])


def test_sample__depends_on_the_seed(pairs: PairSet) -> None:
    key = SampleKey(0, 3, True)
    assert not _same(_dataset(pairs)[key], TrainDataset(pairs, _IMGSZ, AugmentConfig(), seed=8)[key])


def test_pool__decodes_each_pair_once(pairs: PairSet, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = record_calls(monkeypatch, lru_reader, "read_pair")
    dataset = _dataset(pairs, pool=5)
    for batch in EpochSampler(10, 5, seed=7, pool=5):
        for key in batch:
            dataset[key]
    assert sorted(record.image_id for record, _ in calls) == list(range(1, 11))


@pytest.mark.parametrize("size", [1, 3, 4, 10, 16])
def test_pools__partition_the_set(size: int) -> None:
    order = epoch_order(7, 2, 10)
    pools = partner_pools(order, size)
    assert sorted(index for pool in set(pools) for index in pool) == list(range(10))
    assert all(index in pool for index, pool in zip(order.tolist(), pools, strict=True))


@pytest.mark.parametrize("pool", [0, 4])
def test_loader__worker_count_changes_no_byte(pairs: PairSet, pool: int) -> None:
    batches: dict[int, list[PairedBatch]] = {}
    for workers in (0, 2):
        sampler = EpochSampler(10, 4, seed=7, pool=pool)
        loader = train_loader(_dataset(pairs, pool), sampler, workers)
        batches[workers] = []
        for epoch in (0, 1):  # the workers live on from one epoch to the next
            sampler.set_epoch(epoch, mosaic=epoch == 0)
            batches[workers] += list(loader)
    assert len(batches[0]) == len(batches[2]) == 6
    for one, two in zip(batches[0], batches[2], strict=True):
        for name in ("pixels", "boxes_xyxy", "class_ids", "batch_index", "image_ids", "sizes_hw", "letterboxes"):
            assert torch.equal(getattr(one, name), getattr(two, name)), name


def test_loader__workers_start_after_opencv_used_its_threads(pairs: PairSet) -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        cv2.warpAffine(np.zeros((2000, 2000, 4), np.uint8), np.eye(2, 3), (2000, 2000))
        loader = train_loader(_dataset(pairs), EpochSampler(10, 4, seed=7), workers=2)
        loader.timeout = 20  # s; a worker that inherits a dead pool never answers
        assert len(list(loader)) == 3
    finally:
        cv2.setNumThreads(before)


def test_loader__resumes_in_mid_epoch_without_reading_what_was_seen(
    pairs: PairSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = EpochSampler(10, 4, seed=7)
    sampler.set_epoch(3)
    whole = list(train_loader(_dataset(pairs), sampler))
    seen = record_calls(monkeypatch, TrainDataset, "__getitem__")
    sampler.set_epoch(3, start_step=2)
    (last,) = train_loader(_dataset(pairs), sampler)
    assert torch.equal(last.pixels, whole[2].pixels)
    assert len(seen) == 4


@pytest.mark.parametrize(("num", "batch"), [(10, 4), (8, 4), (3, 8), (1, 2)])
@pytest.mark.parametrize("world", [1, 2])
def test_sampler__ranks_share_out_each_global_batch(num: int, batch: int, world: int) -> None:
    alone = EpochSampler(num, batch, seed=1)
    ranks = [EpochSampler(num, batch, 1, rank, world) for rank in range(world)]
    for sampler in (alone, *ranks):
        sampler.set_epoch(4, mosaic=False)
    steps = list(alone)
    assert len(steps) == len(alone) == -(-num // batch)
    assert {key.index for step in steps for key in step} == set(range(num))
    assert steps == [list(chain.from_iterable(parts)) for parts in zip(*ranks, strict=True)]
    assert all(key.epoch == 4 and not key.mosaic for step in steps for key in step)


def test_sampler__epochs_and_seeds_differ() -> None:
    sampler = EpochSampler(50, 5, seed=1)
    orders = [sampler.order().tolist()]
    sampler.set_epoch(1)
    orders += [sampler.order().tolist(), EpochSampler(50, 5, seed=2).order().tolist()]
    assert len({str(order) for order in orders}) == 3


def test_sampler__batch_that_ranks_cannot_share_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.batch: must be a multiple of the 3 processes \(got 16\)"):
        EpochSampler(10, 16, 0, 0, 3)


def _constant(index: int) -> Picture:
    return np.full((_IMGSZ, _IMGSZ, 3), (30, 20, 10), np.uint8), np.full((_IMGSZ, _IMGSZ), 40, np.uint8), []


def test_batch__rgb_and_ir_cannot_be_exchanged_between_file_and_tensor(tmp_path: Path) -> None:
    still = AugmentConfig(hsv_h=0, hsv_s=0, hsv_v=0, ir_gain=0, ir_bias=0, ir_noise=0, scale=0, translate=0)
    pairs = pairs_of(make_pairs(tmp_path, 2, 0, picture=_constant))
    samples = {
        "train": TrainDataset(pairs, _IMGSZ, still, seed=0)[SampleKey(0, 0, False)],
        "val": EvalDataset(pairs, _IMGSZ)[0],
    }
    for name, sample in samples.items():
        batch = collate([sample, sample])
        for channel, level in enumerate((10, 20, 30)):
            assert (batch.rgb[:, channel] == level).all(), name
        assert (batch.ir == 40).all(), name


def test_collate__pixels_are_views_of_one_channels_last_array(pairs: PairSet) -> None:
    dataset = _dataset(pairs)
    samples = [dataset[SampleKey(0, index, True)] for index in range(3)]
    batch = collate(samples)
    assert batch.pixels.shape == (3, 4, _IMGSZ, _IMGSZ)
    assert batch.pixels.is_contiguous(memory_format=torch.channels_last)
    assert batch.rgb.data_ptr() == batch.pixels.data_ptr() == batch.ir.data_ptr() - 3
    for index, sample in enumerate(samples):
        mine = batch.batch_index == index
        np.testing.assert_array_equal(batch.boxes_xyxy[mine].numpy(), sample.boxes_xyxy)
        np.testing.assert_array_equal(batch.pixels[index].permute(1, 2, 0).numpy(), sample.image)
    assert batch.image_ids.tolist() == [1, 2, 3]


def test_collate__images_without_boxes_keep_their_place() -> None:
    empty = (np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    image = np.zeros((32, 32, 4), np.uint8)
    one_box = PairedSample(image, np.ones((1, 4), np.float32), np.array([2]), 2, (32, 32))
    batch = collate([PairedSample(image, *empty, 1, (32, 32)), one_box])
    assert batch.batch_index.tolist() == [1]
    assert batch.boxes_xyxy.dtype == torch.float32
    assert collate([PairedSample(image, *empty, 1, (32, 32))]).boxes_xyxy.shape == (0, 4)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> EvalDataset:
    """Nine pairs of two shapes, shuffled together."""
    root = tmp_path_factory.mktemp("mixed")
    descriptor = make_pairs(root, 1, 0)
    for index in range(8):
        bgr, ir, boxes = _constant(index)
        cut = 32 if index % 2 else _IMGSZ
        write_pair(root, "train", f"more_{index}", (bgr[:cut], ir[:cut], boxes))
    return EvalDataset(pairs_of(descriptor), _IMGSZ)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_eval_batches__do_not_depend_on_the_world_size(mixed: EvalDataset, world: int) -> None:
    alone = eval_batches(mixed, 2)
    ranks = [eval_batches(mixed, 2, rank, world) for rank in range(world)]
    assert sorted(batch for batches in ranks for batch in batches) == sorted(alone)
    assert sorted(index for batch in alone for index in batch) == list(range(9))
    assert all(len({mixed.shape_hw(index) for index in batch}) == 1 for batch in alone)


def test_eval_loader__yields_every_pair_once(mixed: EvalDataset) -> None:
    batches = list(eval_loader(mixed, EvalSampler(mixed, 2)))
    assert sorted(torch.cat([batch.image_ids for batch in batches]).tolist()) == list(range(1, 10))
    assert {tuple(batch.pixels.shape[2:]) for batch in batches} == {(64, 64), (32, 64)}


def test_dataset__can_be_sent_to_a_worker_that_was_not_forked(pairs: PairSet) -> None:
    sent = pickle.loads(pickle.dumps(_dataset(pairs)))
    assert _same(sent[SampleKey(0, 1, True)], _dataset(pairs)[SampleKey(0, 1, True)])
