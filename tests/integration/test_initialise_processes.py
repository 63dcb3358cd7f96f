"""Test that initial values are the same in every process, since each rank initialises its own model."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

from tests.support.runs import REPO
from tests.support.weights import initial_state

OVERRIDES = ("model.fusion=gated", "init.rules=[{type: Conv2d, name: 'trunk*', scheme: orthogonal}]")
_PRINT_DIGEST = """
import torch
from tests.integration.test_initialise_processes import digest
torch.rand(1)
print(digest())
"""


def digest() -> str:
    """Return a hash of every bit of the initial weights."""
    state = initial_state(*OVERRIDES)
    return hashlib.sha256(b"".join(tensor.numpy().tobytes() for tensor in state.values())).hexdigest()


def test_initialise__another_process_gives_the_same_bits() -> None:
    """Rank, thread count, hash seed, earlier draws and CPU instructions must not matter."""
    environment = {**os.environ, "RANK": "1", "OMP_NUM_THREADS": "2", "PYTHONHASHSEED": "1"}
    environment["ATEN_CPU_CAPABILITY"] = "default"  # torch selects kernels by it
    done = subprocess.run(
        [sys.executable, "-c", _PRINT_DIGEST], env=environment, cwd=REPO, capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[-1] == digest()
