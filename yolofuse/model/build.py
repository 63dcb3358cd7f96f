"""Build a detector from a model config."""

from __future__ import annotations

import torch
from torch import nn

from yolofuse.config.schema import ModelConfig
from yolofuse.model.cut import plan_cut
from yolofuse.model.detectors import (
    DecisionDetector,
    Detector,
    DualStreamDetector,
    LayerRun,
    SingleStreamDetector,
    select_ir,
    select_rgb,
    stack_channels,
)
from yolofuse.model.fusion import fusion_factory
from yolofuse.model.heads import set_head
from yolofuse.upstream import Base, build_layers, resolve_base


def build_detector(config: ModelConfig, *, num_classes: int, seed: int = 0, bn_momentum: float = 0.03) -> Detector:
    """Build a detector with fresh weights; the same config and seed give the same weights.

    Args:
        config: The model section.
        num_classes: Number of classes of the data set; the head scores ``config.kept_classes`` after them.
        seed: Seed of the random weights; the state of the global generator is restored.
        bn_momentum: Momentum of every BatchNorm.

    Raises:
        ConfigError: If the base, its size, the cut or the fusion block does not exist, or a block's option is wrong.
    """
    base = resolve_base(config.base)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        detector = _assemble(config, base, num_classes)
    if config.norm == "none":
        _drop_norms(detector)
    for module in detector.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = bn_momentum
    return detector


def _assemble(config: ModelConfig, base: Base, num_classes: int) -> Detector:
    def layers_for(channels: int) -> list[nn.Module]:
        outputs = num_classes + len(config.kept_classes)
        layers = build_layers(base, channels=channels, num_classes=config.branch_classes or outputs)
        set_head(layers, config, num_classes)
        return layers

    if config.streams == "rgb":
        return SingleStreamDetector(LayerRun(layers_for(3)), select_rgb)
    if config.streams == "ir":
        return SingleStreamDetector(LayerRun(layers_for(1)), select_ir)
    if config.cut == "input":
        return SingleStreamDetector(LayerRun(layers_for(4)), stack_channels)
    layers = layers_for(3)
    plan = plan_cut(layers, config.cut, base.num_backbone_layers)
    twin = None if config.share else layers_for(1)
    if plan.cut == plan.num_layers:
        return DecisionDetector(LayerRun(layers), LayerRun(twin) if twin else None)
    return DualStreamDetector(
        plan,
        rgb=LayerRun(layers[: plan.cut], keep=plan.taps),
        ir=LayerRun(twin[: plan.cut], keep=plan.taps) if twin else None,
        fusion=fusion_factory(config),
        trunk=LayerRun(layers[plan.cut :]),
    )


def part_names(config: ModelConfig) -> tuple[str, ...]:
    """Return the names of a model's parts, as :attr:`Detector.parts` does, without building it.

    Raises:
        ConfigError: If the base does not exist.
    """
    if config.streams != "both" or config.cut == "input":
        return ("trunk",)
    streams = ("rgb",) if config.share else ("rgb", "ir")
    is_decision = config.cut == "decision" or config.cut == resolve_base(config.base).num_layers
    return streams if is_decision else (*streams, "fusion", "trunk")


def _drop_norms(module: nn.Module) -> None:
    """Replace every BatchNorm by the identity. Convolutions before one have no bias, and get none."""
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            setattr(module, name, nn.Identity())
        else:
            _drop_norms(child)
