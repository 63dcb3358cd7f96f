"""Find the layer of a detector in which values stop being finite."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from yolofuse.engine.diagnostics.hooks import layer_hooks, preserve_state
from yolofuse.model import Detector


def count_not_finite(tensor: Tensor) -> int:
    """Count the values that are NaN or infinite; waits for the device."""
    return int(tensor.numel() - tensor.isfinite().sum())


def where_not_finite(detector: Detector, run: Callable[[], object]) -> str:
    """Describe in which layer values stop being finite, or which parameter is not finite.

    Args:
        detector: The model, in the mode in which it happened.
        run: Runs the forward pass again.
    """
    found: list[str] = []

    def before(name: str, module: nn.Module, inputs: Tensor) -> None:
        if not found and count_not_finite(inputs):
            found.append(f"it began in the operations right before {name} ({type(module).__name__})")

    def after(name: str, module: nn.Module, output: Tensor) -> None:
        if found or not (count := count_not_finite(output)):
            return
        broken = [leaf for leaf, p in module.named_parameters(recurse=False) if count_not_finite(p)]
        what = f"{count} of {output.numel()} outputs are not finite, though its input is"
        if broken:
            what = f"its {' and '.join(broken)} is not finite any more"
        found.append(f"it began in {name} ({type(module).__name__}): {what}")

    with preserve_state(detector), torch.no_grad(), layer_hooks(detector, before, after):
        for module in detector.modules():
            if isinstance(module, nn.SyncBatchNorm):
                module.eval()  # in training mode it would wait for the other ranks
        run()
    if found:
        return found[0]
    broken = next((name for name, parameter in detector.named_parameters() if count_not_finite(parameter)), None)
    if broken is not None:
        return f"the parameter {broken} is not finite any more"
    return "every layer's output is finite, so it began in the loss itself"
