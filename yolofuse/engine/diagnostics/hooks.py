"""Watch the layers of a detector while it computes, and leave it as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from yolofuse.model import Detector

Before = Callable[[str, nn.Module, Tensor], None]
"""Called with a layer's name, the layer and its first input."""
After = Callable[[str, nn.Module, Tensor], None]
"""Called with a layer's name, the layer and its output."""


@contextmanager
def preserve_state(detector: Detector) -> Iterator[None]:
    """Restore buffers, modes, gradients and the global random state at the end of the block."""
    buffers = [(buffer, buffer.detach().clone()) for buffer in detector.buffers()]
    modes = [(module, module.training) for module in detector.modules()]
    gradients = [(parameter, parameter.grad) for parameter in detector.parameters()]
    device = next(detector.parameters()).device
    for parameter, _ in gradients:
        parameter.grad = None
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, values in buffers:
                    buffer.copy_(values)
            for module, training in modes:
                module.training = training
            for parameter, gradient in gradients:
                parameter.grad = gradient


@contextmanager
def layer_hooks(detector: Detector, before: Before, after: After) -> Iterator[None]:
    """Call ``before`` and ``after`` around each layer (a module without children) in the order they are computed.

    One activation module may serve many blocks, so a layer is named by where it is called, not by where it was first
    registered.
    """
    registered: dict[nn.Module, str] = {module: name for name, module in detector.named_modules()}
    calls: list[tuple[str, nn.Module]] = []

    def name_of(module: nn.Module) -> str:
        if calls:
            owner_name, owner = calls[-1]
            for key, child in owner.named_children():
                if child is module and owner_name:
                    return f"{owner_name}.{key}"
        return registered[module]

    def enter(module: nn.Module, args: tuple[Any, ...]) -> None:
        calls.append((name_of(module), module))
        if _is_layer(module) and args and isinstance(args[0], Tensor):
            before(calls[-1][0], module, args[0])

    def leave(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        name, _ = calls.pop()
        if _is_layer(module) and isinstance(output, Tensor):
            after(name, module, output)

    hooks = [module.register_forward_pre_hook(enter) for module in registered]
    hooks += [module.register_forward_hook(leave) for module in registered]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _is_layer(module: nn.Module) -> bool:
    return not any(True for _ in module.children())
