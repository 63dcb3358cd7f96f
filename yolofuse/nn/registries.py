"""List what a config may name of the model: fusion blocks and heads; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from yolofuse.registry import Registry

if TYPE_CHECKING:
    from torch import nn

FUSIONS: Registry[type[nn.Module]] = Registry(
    add="yolofuse.nn.add:AddFusion",
    concat="yolofuse.nn.concat:ConcatFusion",
    gated="yolofuse.nn.gated:GatedFusion",
    attention="yolofuse.nn.attention:AttentionFusion",
)
"""Fusion blocks, by the names of ``model.fusion``: they turn two feature maps into one of the same shape. A constructor
takes the channel count, then options with annotations and defaults; ``{name: ..., option: value}`` sets them. Add your
own before a config names it."""

OWN_HEADS = ("auto", "dfl", "anchors")
"""Names of ``model.head`` that are built in."""

HEADS: Registry[Callable[[nn.Module, int], nn.Module]] = Registry()
"""Further heads, by the names of ``model.head``: functions from the head of the base, as built, and the number of
classes that it scores to another head, a ``Detect``. Add your own before a config names it."""
