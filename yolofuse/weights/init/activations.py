"""Find the activation that follows each layer, by tracing one forward pass."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from yolofuse.model import Detector

_SIDE = 64  # pixels; nothing is computed, only shapes
_NOT_ELEMENTWISE = (nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin, nn.GLU, nn.MultiheadAttention)


def activations_after(detector: Detector) -> dict[str, nn.Module]:
    """Return the activation that reads each layer's output, through norms and identities, by the layer's name.

    A layer without an entry has none: its output is added, concatenated, split, or an output of the model. An
    activation that a block calls as a function is not found. The traced model is a copy on the meta device.
    """
    meta = copy.deepcopy(detector).to("meta").eval()
    for head in meta.heads.values():
        head.training = True  # decoding boxes reads values, and the meta device has none
    names = {module: name for name, module in meta.named_modules()}
    origins: dict[int, str] = {}
    alive: list[Tensor] = []  # so that no id is used twice
    found: dict[str, str] = {}

    def trace(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        given = args[0] if args else None
        layer = origins.get(id(given))
        alive.extend(t for t in (given, output) if isinstance(t, Tensor))
        if layer is not None and is_activation(module):
            found.setdefault(layer, names[module])
            origins.pop(id(output), None)  # in place, it is the tensor that came in
        elif layer is not None and _is_transparent(module):
            origins[id(output)] = layer
        elif any(True for _ in module.parameters(recurse=False)):
            origins[id(output)] = names[module]

    hooks = [m.register_forward_hook(trace) for m in meta.modules() if not any(True for _ in m.children())]
    kind = next(meta.parameters()).dtype
    rgb, ir = (torch.zeros(1, channels, _SIDE, _SIDE, device="meta", dtype=kind) for channels in (3, 1))
    with torch.no_grad():
        meta(rgb, ir)
    for hook in hooks:
        hook.remove()
    return {layer: detector.get_submodule(activation) for layer, activation in found.items()}


def is_norm(module: nn.Module) -> bool:
    """Return whether a module is a norm: torch's and everybody else's have an ``eps``."""
    return hasattr(module, "eps")


def _is_transparent(module: nn.Module) -> bool:
    return is_norm(module) or isinstance(module, nn.Identity | nn.Dropout)


def is_activation(module: nn.Module) -> bool:
    """Return whether a module is one of torch's elementwise activations."""
    return type(module).__module__ == nn.ReLU.__module__ and not isinstance(module, _NOT_ELEMENTWISE)
