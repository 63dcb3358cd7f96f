from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.support.pairs import LabelledPair, make_pairs, pairs_of, record_calls
from yolofuse.batch import PairedBatch
from yolofuse.config.schema import AugmentConfig
from yolofuse.data.dataloader import _init_worker, batch_loader, collate
from yolofuse.data.dataset import EvalDataset, SampleKey, TrainDataset
from yolofuse.data.index.pair_set import PairSet
from yolofuse.data.sampler import EpochSampler, EvalSampler
from yolofuse.types import PairedSample

_IMGSZ = 64


def _dataset(pairs: PairSet, pool: int = 0) -> TrainDataset:
    return TrainDataset(pairs, _IMGSZ, AugmentConfig(mosaic_pool=pool), seed=7)


@pytest.mark.parametrize("pool", [0, 4])
def test_train_loader__worker_count_changes_no_byte(ten_pairs: PairSet, pool: int) -> None:
    batches: dict[int, list[PairedBatch]] = {}
    for workers in (0, 2):
        sampler = EpochSampler(10, 4, seed=7, pool=pool)
        loader = batch_loader(_dataset(ten_pairs, pool), sampler, workers)
        batches[workers] = []
        for epoch in (0, 1):  # the workers live on from one epoch to the next
            sampler.set_epoch(epoch, mosaic=epoch == 0)
            batches[workers] += list(loader)
    assert len(batches[0]) == len(batches[2]) == 6
    for one, two in zip(batches[0], batches[2], strict=True):
        for name in ("pixels", "boxes_xyxy", "class_ids", "batch_index", "image_ids", "sizes_hw", "letterboxes"):
            assert torch.equal(getattr(one, name), getattr(two, name)), name


def test_train_loader__workers_start_after_opencv_used_its_threads(ten_pairs: PairSet) -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        cv2.warpAffine(np.zeros((1000, 1000, 4), np.uint8), np.eye(2, 3), (1000, 1000))
        loader = batch_loader(_dataset(ten_pairs), EpochSampler(10, 4, seed=7), workers=2)
        loader.timeout = 20  # s; a worker that inherits a dead pool never answers
        assert len(list(loader)) == 3
    finally:
        cv2.setNumThreads(before)


def test_train_loader__resumes_in_mid_epoch_without_reading_what_was_seen(
    ten_pairs: PairSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = EpochSampler(10, 4, seed=7)
    sampler.set_epoch(3)
    whole = list(batch_loader(_dataset(ten_pairs), sampler))
    seen = record_calls(monkeypatch, TrainDataset, "__getitem__")
    sampler.set_epoch(3)
    sampler.seek(2)
    (last,) = batch_loader(_dataset(ten_pairs), sampler)
    assert torch.equal(last.pixels, whole[2].pixels)
    assert len(seen) == 4


def test_eval_loader__yields_every_pair_once(two_shapes: EvalDataset) -> None:
    batches = list(batch_loader(two_shapes, EvalSampler(two_shapes, 2)))
    assert sorted(torch.cat([batch.image_ids for batch in batches]).tolist()) == list(range(1, 10))
    assert {tuple(batch.pixels.shape[2:]) for batch in batches} == {(64, 64), (32, 64)}


def _constant(index: int) -> LabelledPair:
    return np.full((_IMGSZ, _IMGSZ, 3), (30, 20, 10), np.uint8), np.full((_IMGSZ, _IMGSZ), 40, np.uint8), []


def test_collate__rgb_and_ir_cannot_be_exchanged_between_file_and_tensor(tmp_path: Path) -> None:
    still = AugmentConfig(hsv_h=0, hsv_s=0, hsv_v=0, ir_gain=0, ir_bias=0, ir_noise=0, scale=0, translate=0)
    pairs = pairs_of(make_pairs(tmp_path, 2, 0, pair_at=_constant))
    samples = {
        "train": TrainDataset(pairs, _IMGSZ, still, seed=0)[SampleKey(0, 0, False)],
        "val": EvalDataset(pairs, _IMGSZ)[0],
    }
    for name, sample in samples.items():
        batch = collate([sample, sample])
        for channel, level in enumerate((10, 20, 30)):
            assert (batch.rgb[:, channel] == level).all(), name
        assert (batch.ir == 40).all(), name


def test_collate__pixels_are_views_of_one_channels_last_array(ten_pairs: PairSet) -> None:
    dataset = _dataset(ten_pairs)
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


def _send_what_cannot_be_sent() -> None:
    _init_worker(0)
    queue = multiprocessing.get_context("fork").Queue()
    queue.put(lambda: None)  # can't be pickled; without shared memory it is the same error of the sending thread
    time.sleep(30)


def test_worker__exits_if_it_cannot_send_a_batch(capfd: pytest.CaptureFixture[str]) -> None:
    worker = multiprocessing.get_context("fork").Process(target=_send_what_cannot_be_sent)
    worker.start()
    worker.join(20)
    assert worker.exitcode == 1
    assert "can't send a batch (Can't " in capfd.readouterr().err
