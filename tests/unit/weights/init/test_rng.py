"""The generator of a tensor depends on version, seed and name alone."""

from __future__ import annotations

import hashlib

import torch

from yolofuse.weights.init.rng import POLICY_VERSION, generator_for


def test_generator_for__seed_is_the_documented_hash() -> None:
    digest = hashlib.sha256(b"1\n7\nrgb.layers.0.conv.weight").digest()
    assert POLICY_VERSION == 1
    assert generator_for(7, "rgb.layers.0.conv.weight").initial_seed() == int.from_bytes(digest[:4], "big")


def test_generator_for__every_call_starts_again_and_leaves_the_global_one() -> None:
    before = torch.get_rng_state()
    first, second = (torch.rand(3, generator=generator_for(0, "w")) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
