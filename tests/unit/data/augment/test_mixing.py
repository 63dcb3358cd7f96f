"""Two samples in one: pixels, boxes, draws."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.gpu_batches import augmentation
from tests.support.pairs import LabelledPair, make_pairs, pairs_of
from yolofuse.config.schema import AugmentConfig
from yolofuse.data.augment.geometry import Window, random_affine
from yolofuse.data.augment.mixing import Labels, Mixing, draw_mixing, mix_labels, mix_pixels
from yolofuse.data.dataset import SampleKey, TrainDataset
from yolofuse.data.index.pair_set import PairSet

_IMGSZ = 96


def _labels(*boxes: tuple[float, ...], first_id: int = 0) -> Labels:
    return np.array(boxes, np.float32).reshape(-1, 4), np.arange(first_id, first_id + len(boxes))


def test_mixup__blends_pixels_and_keeps_all_boxes() -> None:
    image, other = np.full((4, 4, 4), 100, np.uint8), np.full((4, 4, 4), 200, np.uint8)
    mix_pixels(image, other, Mixing(0.25))
    assert (image == 175).all()
    boxes, ids = mix_labels(_labels((0, 0, 2, 2)), _labels((1, 1, 3, 3), first_id=5), Mixing(0.25))
    assert boxes.tolist() == [[0, 0, 2, 2], [1, 1, 3, 3]]
    assert ids.tolist() == [0, 5]


def test_cutmix__shows_the_other_in_its_window_alone() -> None:
    image, other = np.full((8, 8, 4), 1, np.uint8), np.full((8, 8, 4), 2, np.uint8)
    mix_pixels(image, other, Mixing(1.0, Window(2, 3, 6, 8)))
    expected = np.full((8, 8, 4), 1, np.uint8)
    expected[3:8, 2:6] = 2
    np.testing.assert_array_equal(image, expected)


def test_cutmix__boxes_by_what_is_visible() -> None:
    mixing = Mixing(1.0, Window(20, 20, 60, 60))
    own = _labels((22, 22, 58, 58), (0, 0, 10, 10), (50, 30, 90, 50))  # hidden, untouched, a quarter hidden
    other = _labels((30, 30, 50, 50), (50, 50, 80, 80), (0, 0, 19, 19), first_id=7)  # inside, cut, outside
    boxes, ids = mix_labels(own, other, mixing)
    assert boxes.tolist() == [[0, 0, 10, 10], [50, 30, 90, 50], [30, 30, 50, 50], [50, 50, 60, 60]]
    assert ids.tolist() == [1, 2, 7, 8]


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.0, 0.0), (0.3, 0.0), (0.2, 0.5)])
def test_draws__occur_as_often_as_asked(mixup: float, cutmix: float) -> None:
    augment = AugmentConfig(mixup=mixup, cutmix=cutmix)
    drawn = [draw_mixing(augment, np.random.default_rng(number), _IMGSZ) for number in range(2000)]
    cut = [one.window for one in drawn if one is not None and one.window is not None]
    blends = [one.share for one in drawn if one is not None and one.window is None]
    assert len(blends) / 2000 == pytest.approx(mixup, abs=0.03)
    assert len(cut) / 2000 == pytest.approx(cutmix, abs=0.03)
    assert all(0.2 < share < 0.8 for share in blends)
    for window in cut:
        assert 0 <= window.x0 < window.x1 <= _IMGSZ
        assert 0 <= window.y0 < window.y1 <= _IMGSZ


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> PairSet:
    return pairs_of(make_pairs(tmp_path_factory.mktemp("mixing"), 6, 0, pair_at=_block))


def _block(index: int) -> LabelledPair:
    """A bright block, labelled, that no augmentation makes darker than the rest."""
    bgr, ir = np.full((96, 96, 3), 20, np.uint8), np.full((96, 96), 20, np.uint8)
    left, top = 8 + 9 * index, 60 - 8 * index
    bgr[top : top + 24, left : left + 30] = 250
    ir[top : top + 24, left : left + 30] = 250
    return bgr, ir, [(0, (left + 15) / 96, (top + 12) / 96, 30 / 96, 24 / 96)]


@pytest.mark.parametrize(
    "augment",
    [augmentation(mosaic=0.0, mixup=1.0), augmentation(mosaic=0.0, cutmix=1.0)],
    ids=["mixup", "cutmix"],
)
def test_samples__boxes_lie_where_bright_pixels_are(pairs: PairSet, augment: AugmentConfig) -> None:
    dataset = TrainDataset(pairs, _IMGSZ, augment, seed=3)
    counts = []
    for epoch in range(8):
        for index in range(len(pairs)):
            sample = dataset[SampleKey(epoch, index, mosaic=True)]
            counts.append(len(sample.class_ids))
            painted = np.zeros((_IMGSZ, _IMGSZ), bool)
            for x0, y0, x1, y1 in sample.boxes_xyxy.round().astype(int):
                painted[max(y0 - 2, 0) : y1 + 2, max(x0 - 2, 0) : x1 + 2] = True
                assert (sample.image[y0:y1, x0:x1, 3] > 60).any()
            hot = sample.image[..., 3] > 125  # above the padding, also where it is blended
            assert (hot & ~painted).sum() < 0.1 * max(hot.sum(), 1) + 40  # at most a sliver that is too small for a box
    assert max(counts) == 2


def test_samples__are_not_mixed_without_mosaic(pairs: PairSet) -> None:
    """As with ``close_mosaic``: the last epochs show real pairs."""
    key = SampleKey(1, 2, mosaic=False)
    plain, mixed = (TrainDataset(pairs, _IMGSZ, augmentation(mixup=value), seed=3)[key] for value in (0.0, 1.0))
    np.testing.assert_array_equal(plain.image, mixed.image)


def test_perspective__leaves_all_other_draws_as_they_are() -> None:
    flat, tilted = (
        random_affine(np.random.default_rng(5), AugmentConfig(degrees=9.0, perspective=value), 128.0, 64)
        for value in (0.0, 0.001)
    )
    assert not flat[2, :2].any()
    assert tilted[2, :2].all()
    centre = np.array([64.0, 64.0, 1.0])
    np.testing.assert_allclose((tilted @ centre)[:2], (flat @ centre)[:2])  # it tilts about the centre
