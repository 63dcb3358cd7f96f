from __future__ import annotations

import pickle
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from tests.support.descriptors import folders, write_counts, write_descriptor
from tests.support.pairs import make_pairs, pairs_of, record_calls
from yolofuse.config.schema import AugmentConfig
from yolofuse.data.dataloader import collate
from yolofuse.data.dataset import EvalDataset, SampleKey, TrainDataset
from yolofuse.data.images import lru_reader
from yolofuse.data.images.lru_reader import LruReader
from yolofuse.data.images.read_pair import PAD
from yolofuse.data.index.pair_set import PairSet
from yolofuse.data.sampler import EpochSampler, partner_pools
from yolofuse.types import PairedSample

_STILL = AugmentConfig(hsv_h=0, hsv_s=0, hsv_v=0, ir_gain=0, ir_bias=0, ir_noise=0, scale=0, translate=0)


def _dataset(pairs: PairSet, pool: int = 0) -> TrainDataset:
    return TrainDataset(pairs, 64, AugmentConfig(mosaic_pool=pool), seed=7)


def _same(one: PairedSample, two: PairedSample) -> bool:
    return (
        np.array_equal(one.image, two.image)
        and np.array_equal(one.boxes_xyxy, two.boxes_xyxy)
        and np.array_equal(one.class_ids, two.class_ids)
    )


@pytest.mark.parametrize("pool", [0, 4])
def test_train_dataset__sample_does_not_depend_on_what_was_read_before(ten_pairs: PairSet, pool: int) -> None:
    groups = partner_pools(np.arange(10), pool) if pool else [()] * 10
    keys = [SampleKey(epoch, index, index % 3 > 0, groups[index]) for epoch in (0, 5) for index in range(10)]
    used = _dataset(ten_pairs, pool)
    forwards = [used[key] for key in keys]
    backwards = [used[key] for key in reversed(keys)][::-1]
    alone = [_dataset(ten_pairs, pool)[key] for key in keys]
    for one, two, three in zip(forwards, backwards, alone, strict=True):
        assert _same(one, two)
        assert _same(one, three)


@pytest.mark.parametrize(
    "other", [SampleKey(1, 3, True), SampleKey(0, 4, True), SampleKey(0, 3, False)], ids=["epoch", "index", "mosaic"]
)
def test_train_dataset__sample_depends_on_each_part_of_its_key(ten_pairs: PairSet, other: SampleKey) -> None:
    assert not _same(_dataset(ten_pairs)[SampleKey(0, 3, True)], _dataset(ten_pairs)[other])


def test_train_dataset__sample_depends_on_the_seed(ten_pairs: PairSet) -> None:
    key = SampleKey(0, 3, True)
    assert not _same(_dataset(ten_pairs)[key], TrainDataset(ten_pairs, 64, AugmentConfig(), seed=8)[key])


def test_train_dataset__pool_decodes_each_pair_once(ten_pairs: PairSet, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = record_calls(monkeypatch, lru_reader, "read_pair")
    dataset = _dataset(ten_pairs, pool=5)
    for batch in EpochSampler(10, 5, seed=7, pool=5):
        for key in batch:
            dataset[key]
    assert sorted(record.image_id for record, _ in calls) == list(range(1, 11))


def test_train_dataset__tile_beside_the_canvas_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 4, 0))
    dataset = TrainDataset(pairs, 128, AugmentConfig(scale=0.99, translate=0.0), seed=0)
    decoded = record_calls(monkeypatch, LruReader, "read")
    for epoch in range(50):
        dataset[SampleKey(epoch, 0, True)]
    assert 50 <= len(decoded) < 4 * 50


def test_train_dataset__can_be_sent_to_a_worker_that_was_not_forked(ten_pairs: PairSet) -> None:
    sent = pickle.loads(pickle.dumps(_dataset(ten_pairs)))
    assert _same(sent[SampleKey(0, 1, True)], _dataset(ten_pairs)[SampleKey(0, 1, True)])


@pytest.mark.parametrize("letterbox", ["rect", "square"])
@pytest.mark.parametrize("size_hw", [(160, 240), (97, 64), (300, 300), (31, 200)])
def test_eval_dataset__letterbox_can_be_inverted(
    tmp_path: Path, letterbox: Literal["rect", "square"], size_hw: tuple[int, int]
) -> None:
    pairs = pairs_of(make_pairs(tmp_path, 1, 0, size_hw))
    sample = EvalDataset(pairs, 128, letterbox)[0]
    height, width = sample.image.shape[:2]
    assert height % 32 == width % 32 == 0
    assert max(height, width) == 128
    assert letterbox == "rect" or height == width
    gain, pad_left, pad_top = sample.letterbox
    back = (sample.boxes_xyxy - [pad_left, pad_top, pad_left, pad_top]) / gain
    x, y, w, h = pairs.labels(0)[0][0] * [size_hw[1], size_hw[0], size_hw[1], size_hw[0]]
    np.testing.assert_allclose(back[0], [x - w / 2, y - h / 2, x + w / 2, y + h / 2], atol=1e-3)
    # The bright rectangle lies in its box, and the rest of the canvas is padding in all four channels.
    (x0, y0, x1, y1) = sample.boxes_xyxy[0].round().astype(int)
    assert np.median(sample.image[y0:y1, x0:x1, 3]) > 200
    if round(size_hw[0] * gain) < height - 2:
        assert (sample.image[-1] == PAD).all() or (sample.image[0] == PAD).all()


@pytest.mark.parametrize("stride", [32, 64])
def test_eval_dataset__shape_is_known_without_reading(tmp_path: Path, stride: int) -> None:
    dataset = EvalDataset(pairs_of(make_pairs(tmp_path, 1, 0, (50, 120))), 128, stride=stride)
    assert dataset.shape_hw(0) == dataset[0].image.shape[:2] == (64, 128)


def test_deep_batches__carry_the_levels_to_the_tensor(tmp_path: Path) -> None:
    counts = np.linspace(7000, 8000, 64 * 96).reshape(64, 96).astype(np.uint16)
    write_counts(tmp_path, "pair", counts)
    pairs = pairs_of(write_descriptor(tmp_path, {"train": folders()}, ir_window=[7000, 8000]))
    for sample in (EvalDataset(pairs, 96)[0], TrainDataset(pairs, 96, _STILL, 0)[SampleKey(0, 0, False)]):
        batch = collate([sample]).to(torch.device("cpu"))
        assert len(np.unique(batch.ir.numpy())) > 512
        assert batch.pixels.min() >= 0
        assert batch.pixels.max() <= 1
    surrounding = batch.pixels[0, :, 0, 0]  # of the square training sample
    np.testing.assert_allclose(surrounding, [PAD / 255] * 4, atol=1e-6)


def test_deep_photometry__is_that_of_8_bits(tmp_path: Path) -> None:
    """The same image in 8 and in 16 bits goes through the same changes, to a level or two."""
    for bits in (8, 16):
        counts = np.linspace(0, 250, 64 * 96).reshape(64, 96).astype(np.uint8)
        deep = counts if bits == 8 else counts.astype(np.uint16) * 257
        write_counts(tmp_path / str(bits), "pair", deep)
    samples = []
    for bits, window in ((8, [0, 255]), (16, [0, 65535])):
        pairs = pairs_of(write_descriptor(tmp_path / str(bits), {"train": folders()}, ir_window=window))
        samples.append(TrainDataset(pairs, 64, AugmentConfig(), seed=3)[SampleKey(2, 0, True)])
    levels = samples[1].image.astype(np.float64) / 257
    assert np.abs(levels - samples[0].image).max() < 2.1
    np.testing.assert_allclose(samples[0].boxes_xyxy, samples[1].boxes_xyxy, atol=1e-4)
