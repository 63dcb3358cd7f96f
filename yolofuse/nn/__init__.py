"""Provide the fusion blocks: modules that turn two feature maps into one of the same shape.

A new block needs its own file and a line in ``FUSIONS``. Its constructor takes the channel count, then options with
annotations and defaults; ``model.fusion: {name: ..., option: value}`` sets them.
"""

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
