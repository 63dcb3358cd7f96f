from __future__ import annotations

from dataclasses import fields

import pytest
import torch

from tests.support.gpu_batches import IMGSZ, Decode, keys_of, tiles_of
from tests.support.pairs import record_calls
from yolofuse.config.schema import AugmentConfig
from yolofuse.data.dataloader import batch_loader
from yolofuse.data.dataset import SampleKey, TrainDataset
from yolofuse.data.gpu.tile_batch import TileBatch, TileDataset
from yolofuse.data.images.lru_reader import LruReader
from yolofuse.data.index.pair_set import PairSet
from yolofuse.data.sampler import EpochSampler


def _assert_identical(one: TileBatch, other: TileBatch) -> None:
    for field in fields(TileBatch):
        mine, theirs = getattr(one, field.name), getattr(other, field.name)
        if isinstance(mine, torch.Tensor):
            assert torch.equal(mine, theirs), field.name
        else:
            assert repr(mine) == repr(theirs), field.name  # == is not defined for arrays in dataclasses


def test_tile_dataset__read_each_pair_once(png_pairs: PairSet, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = record_calls(monkeypatch, LruReader, "read")
    dataset = TrainDataset(png_pairs, IMGSZ, AugmentConfig(), seed=1)
    batch = tiles_of(dataset, keys_of(mosaic=True))
    assert sorted(index for _, index in calls) == list(range(5))
    assert batch.images.shape[0] == 5
    assert batch.image_index.shape == (4, 10)


def test_tile_batch__holds_the_plan_of_its_samples(png_pairs: PairSet) -> None:
    dataset = TrainDataset(png_pairs, IMGSZ, AugmentConfig(), seed=1)
    keys = [SampleKey(0, 3, False), SampleKey(0, 1, True)]
    batch, plans = tiles_of(dataset, keys), [dataset.plan(key) for key in keys]
    assert len(batch) == len(batch.photometry) == 2
    for sample, plan in enumerate(plans):
        assert repr(batch.photometry[sample]) == repr(plan.photometry)
        assert torch.equal(batch.boxes_xyxy[batch.batch_index == sample], torch.from_numpy(plan.boxes_xyxy))
        has_tile = batch.crop_xyxy[:, sample, 2] > batch.crop_xyxy[:, sample, 0]
        assert has_tile.tolist() == [slot < len(plan.tiles) for slot in range(len(has_tile))]


@pytest.mark.parametrize("decode", ["cpu", "nvjpeg"])
def test_tile_dataset__worker_count_changes_no_byte(jpeg_pairs: PairSet, decode: Decode) -> None:
    batches: dict[int, list[TileBatch]] = {}
    for workers in (0, 2):
        sampler = EpochSampler(len(jpeg_pairs), 4, seed=7)
        tiles = TileDataset(TrainDataset(jpeg_pairs, 64, AugmentConfig(degrees=5.0), seed=7), decode)
        loader = batch_loader(tiles, sampler, workers)
        batches[workers] = []
        for epoch in (0, 1):
            sampler.set_epoch(epoch, mosaic=epoch == 0)
            batches[workers] += list(loader)
    assert len(batches[0]) == len(batches[2]) == 4
    for one, two in zip(batches[0], batches[2], strict=True):
        _assert_identical(one, two)
    assert batches[0][0].image_ids.tolist() != batches[0][1].image_ids.tolist()
