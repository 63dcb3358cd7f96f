from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.support.gpu_batches import PHOTOMETRY, augmentation
from yolofuse.data.augment.photometry import (
    Photometry,
    apply_photometry,
    apply_photometry_batch,
    color_matrix,
    draw_photometry,
)
from yolofuse.types import ByteArray, PixelArray


def _flat_image() -> ByteArray:
    return np.full((32, 32, 4), (200, 100, 50, 90), np.uint8)


def _apply_to_batch(images: list[PixelArray], photometry: list[Photometry]) -> torch.Tensor:
    """Apply the torch version to images (H, W, 4); return levels (n, H, W, 4)."""
    full_scale = float(np.iinfo(images[0].dtype).max)
    pixels = torch.from_numpy(np.stack(images).astype(np.float32)).permute(0, 3, 1, 2)
    apply_photometry_batch(pixels, photometry, full_scale)
    return pixels.permute(0, 2, 3, 1)


@pytest.mark.parametrize(
    ("options", "rgb_changes", "ir_changes"),
    [
        ({}, False, False),
        ({"hsv_h": 0.1}, True, False),
        ({"hsv_s": 0.5}, True, False),
        ({"hsv_v": 0.5}, True, False),
        ({"ir_gain": 0.5}, False, True),
        ({"ir_bias": 0.5}, False, True),
        ({"ir_noise": 0.2}, False, True),
    ],
)
def test_photometry__is_per_modality(options: dict[str, float], rgb_changes: bool, ir_changes: bool) -> None:
    image = _flat_image()
    apply_photometry(image, draw_photometry(augmentation(**options), np.random.default_rng(0)))
    assert bool((image[..., :3] != _flat_image()[..., :3]).any()) == rgb_changes
    assert bool((image[..., 3] != _flat_image()[..., 3]).any()) == ir_changes


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("name", [*PHOTOMETRY, "all"])
def test_photometry__torch_agrees_with_numpy(name: str, bits: int) -> None:
    augment = augmentation(**dict.fromkeys(PHOTOMETRY if name == "all" else [name], 0.4))
    rng = np.random.default_rng(0)
    images: list[PixelArray] = [
        rng.integers(0, 256, (24, 24, 4), np.uint8) if bits == 8 else rng.integers(0, 65536, (24, 24, 4), np.uint16)
        for _ in range(4)
    ]
    photometry = [draw_photometry(augment, np.random.default_rng(seed)) for seed in range(4)]
    in_torch = _apply_to_batch(images, photometry)
    for image, one in zip(images, photometry, strict=True):
        apply_photometry(image, one)
    apart = (in_torch - torch.from_numpy(np.stack(images).astype(np.float32))).abs()
    assert apart.max() <= 1  # level
    assert (apart > 0).float().mean() < 0.04  # OpenCV's 8-bit matrices are in fixed point


def test_photometry__torch_leaves_an_unchanged_sample_as_it_is() -> None:
    nothing = draw_photometry(augmentation(), np.random.default_rng(0))
    assert nothing.color is None
    assert not nothing.changes_ir
    assert torch.equal(_apply_to_batch([_flat_image()], [nothing])[0], torch.from_numpy(_flat_image()).float())


def test_draw_photometry__one_option_does_not_move_the_draws_of_others() -> None:
    alone = draw_photometry(augmentation(ir_gain=0.5), np.random.default_rng(3))
    among = draw_photometry(augmentation(ir_gain=0.5, hsv_s=0.4, ir_noise=0.1), np.random.default_rng(3))
    assert (alone.ir_gain, alone.noise_start) == (among.ir_gain, among.noise_start)


def test_photometry__noise_has_the_drawn_std() -> None:
    image = np.full((256, 256, 4), 128, np.uint8)
    augment = augmentation(ir_noise=0.1)
    rng = np.random.default_rng(0)
    rng.uniform(-1, 1, 5)
    std = rng.uniform(0, 0.1) * 255
    apply_photometry(image, draw_photometry(augment, np.random.default_rng(0)))
    assert image[..., 3].std() == pytest.approx(std, rel=0.05)
    assert image[..., 3].mean() == pytest.approx(128, abs=0.5)


@pytest.mark.parametrize("hue", [0.0, 0.1, -0.3])
def test_color_matrix__keeps_grey(hue: float) -> None:
    np.testing.assert_allclose(color_matrix(hue, 1.7, 1.0) @ [100, 100, 100], [100] * 3, rtol=1e-5)


def test_color_matrix__third_of_a_turn_permutes_channels() -> None:
    np.testing.assert_allclose(color_matrix(1 / 3, 1.0, 1.0) @ [9, 0, 0], [0, 9, 0], atol=1e-5)  # red to green


@pytest.mark.parametrize("bits", [8, 16])
def test_drop_camera__blackens_one_modality_alike_on_both_paths(bits: int) -> None:
    options = augmentation(drop_camera=0.6, hsv_v=0.4, ir_gain=0.2, ir_noise=0.02)
    draws = [draw_photometry(options, np.random.default_rng(seed)) for seed in range(200)]
    shares = {which: sum(draw.dropped == which for draw in draws) / len(draws) for which in ("rgb", "ir", None)}
    assert shares == pytest.approx({"rgb": 0.3, "ir": 0.3, None: 0.4}, abs=0.1)
    full_scale = 2**bits - 1
    rng = np.random.default_rng(0)
    for draw in draws[:20]:
        values = rng.integers(1, full_scale, (8, 8, 4))
        image: PixelArray = values.astype(np.uint8) if bits == 8 else values.astype(np.uint16)
        batch = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None].clone()
        apply_photometry(image, draw)
        apply_photometry_batch(batch, [draw], full_scale)
        black = [not image[..., :3].any(), not image[..., 3].any()]
        assert black == [draw.dropped == "rgb", draw.dropped == "ir"]
        assert [not bool(batch[:, :3].any()), not bool(batch[:, 3].any())] == black


def test_drop_camera__moves_no_other_draw() -> None:
    plain, dropping = (
        draw_photometry(augmentation(drop_camera=share, ir_gain=0.2), np.random.default_rng(3)) for share in (0.0, 0.9)
    )
    assert plain.dropped is None
    assert dropping.dropped is not None
    assert plain.ir_gain == dropping.ir_gain
