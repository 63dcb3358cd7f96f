"""Read and write files of weights, load them into a model, and initialise the rest."""

from yolofuse.weights.checkpoint import (
    has_checksum,
    load_checkpoint,
    load_state,
    save_checkpoint,
    verify_checksum,
)
from yolofuse.weights.load import load_and_initialise, policy_of
from yolofuse.weights.report import WeightsReport
from yolofuse.weights.sources import Source, load_source

__all__ = [
    "Source",
    "WeightsReport",
    "has_checksum",
    "load_and_initialise",
    "load_checkpoint",
    "load_source",
    "load_state",
    "policy_of",
    "save_checkpoint",
    "verify_checksum",
]
