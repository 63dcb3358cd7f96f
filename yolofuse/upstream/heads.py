"""Describe ultralytics' blocks and heads: initial values, class rows, and the loss of a head."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Literal, TypeVar

from torch import nn
from ultralytics.nn.modules import block
from ultralytics.nn.modules.head import Detect
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss

from yolofuse.param_init import ZERO_GAMMA_OFF, InitOptions, InitSpec, constant, fixed, normal

_RESIDUAL_ENDS: dict[type[nn.Module], tuple[str, ...]] = {
    block.Bottleneck: ("cv2.bn",),
    block.CIB: ("cv1.4.bn",),
    block.PSABlock: ("attn.proj.bn", "ffn.1.bn"),
    block.PSA: ("attn.proj.bn", "ffn.1.bn"),
    block.ABlock: ("attn.proj.bn", "mlp.1.bn"),
    block.SPPF: ("cv2.bn",),
    block.GhostBottleneck: ("conv.2.cv1.bn", "conv.2.cv2.bn"),
}
"""Last norms of each residual branch, for blocks that add their input (always, or where their ``add`` is true)."""

_TWINS = ("", "one2one_")  # prefixes of a head's branches; the second exists in end-to-end heads alone


def upstream_init_specs(module: nn.Module, options: InitOptions) -> dict[str, InitSpec]:
    """Return the initial values that ultralytics' constructors give a module's own parameters, as declarations.

    They go by the parameter's name below ``module``; its children have to be passed on their own.
    """
    if isinstance(module, Detect):
        return _head_init_specs(module, options)
    if isinstance(module, block.DFL):
        return {"conv.weight": fixed("DFL's 0 .. reg_max-1")}
    specs: dict[str, InitSpec] = {}
    if isinstance(module, block.ABlock):
        convolutions = [(name, m) for name, m in module.named_modules() if isinstance(m, nn.Conv2d)]
        specs |= {f"{name}.weight": normal(0.02, "area attention's N(0, 0.02)") for name, _ in convolutions}
        specs |= {f"{name}.bias": constant(0.0, "zero") for name, m in convolutions if m.bias is not None}
    if isinstance(module, block.A2C2f) and module.gamma is not None:
        specs["gamma"] = constant(0.01, "residual scale 0.01")
    if options.zero_gamma and getattr(module, "add", True):
        ends = next((ends for kind, ends in _RESIDUAL_ENDS.items() if isinstance(module, kind)), ())
        norms = [end for end in ends if isinstance(module.get_submodule(end), nn.BatchNorm2d)]  # none with norm: none
        specs |= {f"{end}.weight": constant(0.0, "zero gamma", ZERO_GAMMA_OFF) for end in norms}
    return specs


def _head_init_specs(head: Any, options: InitOptions) -> dict[str, InitSpec]:
    """Declare small last weights, and biases that expect few objects: ``-log`` of cells per object and class, box 2."""
    specs: dict[str, InitSpec] = {}
    for twin in _TWINS:
        boxes, classes = getattr(head, f"{twin}cv2", None) or (), getattr(head, f"{twin}cv3", None) or ()
        for i, (box, cls) in enumerate(zip(boxes, classes, strict=True)):
            box_end, cls_end = f"{twin}cv2.{i}.{len(box) - 1}", f"{twin}cv3.{i}.{len(cls) - 1}"
            cells = (options.prior_imgsz / float(head.stride[i])) ** 2
            prior = math.log(options.prior_objects / head.nc / cells)
            specs[f"{box_end}.bias"] = constant(2.0, "prior of the boxes")
            specs[f"{cls_end}.bias"] = constant(prior, f"prior: {options.prior_objects:g} objects per image")
            if options.head_std is not None:
                for end in (box_end, cls_end):
                    description = f"head output N(0, {options.head_std:g})"
                    specs[f"{end}.weight"] = normal(options.head_std, description, "init.head_std: rules")
    return specs


def set_num_classes(head: Any, num_classes: int) -> None:
    """Give a head's class branches another number of outputs, with fresh weights; their width stays."""
    for twin in _TWINS:
        for branch in getattr(head, f"{twin}cv3", None) or ():
            last = branch[-1]
            branch[-1] = nn.Conv2d(last.in_channels, num_classes, last.kernel_size)
    head.nc = num_classes
    head.no = num_classes + head.reg_max * 4
    head.bias_init()


ClassBranch = Literal["rows", "inner"]
"""``rows``: a tensor with a row per class. ``inner``: one whose width follows the number of classes."""


def list_class_branch_tensors(model: nn.Module) -> Iterator[tuple[str, ClassBranch]]:
    """Yield the name and the kind of every parameter and buffer in the class branches of a model's heads."""
    for head_name, head in model.named_modules():
        if not isinstance(head, Detect):
            continue
        for twin in _TWINS:
            for i, branch in enumerate(getattr(head, f"{twin}cv3", None) or ()):
                for name in branch.state_dict():
                    is_last = name.split(".")[0] == str(len(branch) - 1)
                    yield f"{head_name}.{twin}cv3.{i}.{name}", "rows" if is_last else "inner"


def shared_init_name(name: str) -> str:
    """Return the name whose initial values a parameter shares.

    An end-to-end head's one-to-one branch starts as a copy of its one-to-many branch; any other name is its own.
    """
    return name.replace(".one2one_cv", ".cv")


Branch = TypeVar("Branch", bound=v8DetectionLoss)


def detection_loss(head: nn.Module, gains: Mapping[str, float], epochs: int, kind: type[Branch]) -> Branch | E2ELoss:
    """Build the loss of ``head``: one branch, or ultralytics' pair where the head has a one-to-one branch.

    Args:
        head: On its final device.
        gains: Weights of the terms.
        epochs: Length of the run, over which the pair moves its balance.
        kind: Class of a branch.
    """
    shim = nn.Module()
    shim.add_module("head", head)
    shim.args = SimpleNamespace(**gains, epochs=epochs)  # type: ignore[assignment]
    shim.model = [head]  # type: ignore[assignment]
    if getattr(head, "one2one_cv2", None) is not None:
        return E2ELoss(shim, loss_fn=kind)
    return kind(shim)
