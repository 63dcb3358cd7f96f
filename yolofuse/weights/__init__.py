"""Checkpoints, and what of them reaches a dual model."""

from yolofuse.weights.checkpoint import (
    SingleStreamWeights,
    file_sha256,
    load_checkpoint,
    load_single_stream,
    save_checkpoint,
)
from yolofuse.weights.transfer import TransferReport, transfer

__all__ = [
    "SingleStreamWeights",
    "TransferReport",
    "file_sha256",
    "load_checkpoint",
    "load_single_stream",
    "save_checkpoint",
    "transfer",
]
