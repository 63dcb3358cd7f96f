from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.detectors import random_batch
from yolofuse.types import PairFormat, PairRecord


@pytest.mark.parametrize(("frame", "size_hw"), [("rgb", (4, 6)), ("ir", (2, 3))])
def test_record__size_is_that_of_the_frame(frame: str, size_hw: tuple[int, int]) -> None:
    record = PairRecord(1, "a", Path("a"), Path("b"), None, (4, 6), (2, 3), PairFormat(frame=frame))  # type: ignore[arg-type]
    assert record.size_hw == size_hw


def test_batch__views_are_the_modalities() -> None:
    batch = random_batch()
    assert len(batch) == 2
    assert torch.equal(torch.cat([batch.rgb, batch.ir], 1), batch.pixels)
    assert batch.rgb.data_ptr() == batch.pixels.data_ptr()


@pytest.mark.parametrize(("dtype", "full_scale"), [(torch.uint8, 255), (torch.uint16, 65535)])
def test_batch__to_scales_pixels_to_one(dtype: torch.dtype, full_scale: int) -> None:
    batch = random_batch()
    batch.pixels = torch.full((2, 4, 8, 8), full_scale).to(dtype)
    moved = batch.to(torch.device("cpu"))
    assert moved.pixels.dtype == torch.float32
    assert moved.pixels.eq(1).all()
    assert moved.on_host is not None


def test_batch__split_keeps_pairs_whole_and_in_order() -> None:
    batch = random_batch()
    assert batch.split(1) == [batch]
    first, second = batch.split(5)
    assert torch.equal(torch.cat([first.pixels, second.pixels]), batch.pixels)
    assert torch.equal(torch.cat([first.boxes_xyxy, second.boxes_xyxy]), batch.boxes_xyxy)
    assert first.batch_index.tolist() == [0, 0]
    assert second.batch_index.tolist() == [0]
    assert second.image_ids.tolist() == [2]


def test_batch__scaled_moves_boxes_everywhere() -> None:
    batch = random_batch().to(torch.device("cpu"))
    half = batch.scaled(batch.pixels[..., ::2, ::2], 0.5)
    assert torch.equal(half.boxes_xyxy, batch.boxes_xyxy / 2)
    assert half.on_host is not None
    assert torch.equal(half.on_host[0], half.boxes_xyxy)
