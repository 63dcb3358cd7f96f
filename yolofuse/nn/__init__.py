"""Fusion blocks. Each takes the channel count and turns two feature maps into one of the same shape."""

from torch import nn

from yolofuse.nn.add import AddFusion
from yolofuse.nn.attention import AttentionFusion
from yolofuse.nn.concat import ConcatFusion
from yolofuse.nn.gated import GatedFusion

FUSIONS: dict[str, type[nn.Module]] = {
    "add": AddFusion,
    "concat": ConcatFusion,
    "gated": GatedFusion,
    "attention": AttentionFusion,
}

__all__ = ["FUSIONS", "AddFusion", "AttentionFusion", "ConcatFusion", "GatedFusion"]
