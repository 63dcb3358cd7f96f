"""Seed a random generator per tensor, so that a draw depends on nothing but the seed and the tensor's name."""

from __future__ import annotations

import hashlib

import torch

POLICY_VERSION = 1
"""Part of every seed. Raise it when a scheme draws other values than before, and note it in the changelog."""


def generator_for(seed: int, name: str) -> torch.Generator:
    """Return a new CPU generator, seeded by the SHA-256 of policy version, seed and parameter name.

    The order of the modules, the device, the rank and the global generator (which stays untouched) have no influence.
    A renamed parameter gets other values; two names of one tied tensor would too, so draw it under one of them.
    """
    digest = hashlib.sha256(f"{POLICY_VERSION}\n{seed}\n{name}".encode()).digest()
    # torch's CPU generator keeps the low 32 bits of a seed: using no more makes that visible. Two of 1,000 tensors
    # share a stream with a chance of 1 in 8,600.
    return torch.Generator(device="cpu").manual_seed(int.from_bytes(digest[:4], "big"))
