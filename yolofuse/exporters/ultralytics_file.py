"""Write a detector as a model of ultralytics, for ``ultralytics.YOLO(file)``, without classes of ours in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from yolofuse.backends import Backend, ExportMetadata
from yolofuse.engine.loaded_detector import LoadedDetector
from yolofuse.errors import ConfigError
from yolofuse.model import Detector
from yolofuse.model.detectors import DecisionDetector, DualStreamDetector
from yolofuse.nn.add import AddFusion
from yolofuse.nn.concat import ConcatFusion
from yolofuse.upstream import Detect, build_plain, build_two_stream, resolve_base, save_model, set_mix


class UltralyticsBackend(Backend):
    """A model of ultralytics in memory, as it is written."""

    runtime = "ultralytics"

    def __init__(self, path: Path, metadata: ExportMetadata, model: nn.Module) -> None:
        super().__init__(path, metadata)
        self._model = model.eval()

    def _infer(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        with torch.inference_mode():
            output = self._model(torch.from_numpy(inputs[0]))
        return [(output if isinstance(output, Tensor) else output[0]).numpy()]


def write_ultralytics(loaded: LoadedDetector, metadata: ExportMetadata, path: Path) -> Backend:
    """Write a detector, and return what is in the file.

    Raises:
        ConfigError: If ultralytics has no layers for a part of it.
    """
    detector = loaded.model
    _refuse_foreign_parts(detector)
    config = loaded.config.model
    base = resolve_base(config.base)
    (head,) = detector.heads.values()
    if not isinstance(detector, DualStreamDetector):
        model = build_plain(base, metadata.input_channels[0], head.nc, config.branch_classes)
        state = {name.removeprefix("trunk.layers."): value for name, value in detector.state_dict().items()}
    else:
        channels = {tap: _tap_channels(detector, tap) for tap in detector.taps}
        cut = min(int(name) for name in detector.trunk.layers)
        model, place = build_two_stream(base, cut, channels, head.nc, config.branch_classes)
        state = _renumbered(detector, place)
        for tap in detector.taps:
            number = place[f"fusion.{tap}"]
            set_mix(model.model[number], *_mix(detector, tap, channels[tap]))
            state |= {f"{number}.{name}": value for name, value in model.model[number].state_dict().items()}
    model.model.load_state_dict(state)
    save_model(model, loaded.names, metadata.imgsz, path)
    return UltralyticsBackend(path, metadata, model)


def _refuse_foreign_parts(detector: Detector) -> None:
    problem = ""
    if isinstance(detector, DecisionDetector):
        problem = "fusion of decisions: two detectors are not one model"
    elif any(not isinstance(head, Detect) for head in detector.heads.values()):
        problem = "the anchor head"
    elif any(getattr(head, "num_kept", 0) for head in detector.heads.values()):
        problem = "kept classes"
    elif isinstance(detector, DualStreamDetector):
        blocks = {type(block) for block in detector.fusion.values()}
        foreign = sorted(block.__name__ for block in blocks - {ConcatFusion, AddFusion})
        if foreign:
            problem = f"{foreign[0]} (concat and add can be written)"
        elif -1 in detector.taps:
            problem = "a cut whose trunk reads the image"
    if problem:
        raise ConfigError(f"format: ultralytics has no layers for {problem}; use onnx")


def _tap_channels(detector: DualStreamDetector, tap: int) -> int:
    block = detector.fusion[str(tap)]
    return int(block.conv.out_channels if isinstance(block, ConcatFusion) else block.channels)  # type: ignore[arg-type]


def _mix(detector: DualStreamDetector, tap: int, channels: int) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the 1x1 convolution that is a fusion block."""
    block = detector.fusion[str(tap)]
    if isinstance(block, ConcatFusion):
        assert block.conv.bias is not None
        return block.conv.weight.data, block.conv.bias.data
    half = torch.eye(channels) / 2
    return torch.cat([half, half], 1)[..., None, None], torch.zeros(channels)


def _renumbered(detector: DualStreamDetector, place: dict[str, int]) -> dict[str, Any]:
    """Return the tensors of streams and trunk under their numbers in the new model, first layers for four channels."""
    state: dict[str, Any] = {}
    for stream, part in (("rgb", detector.rgb), ("ir", detector.ir or detector.rgb), ("trunk", detector.trunk)):
        for name, value in part.state_dict().items():
            number, rest = name.removeprefix("layers.").split(".", 1)
            state[f"{place[f'{stream}.{number}']}.{rest}"] = value
    for stream in ("rgb", "ir"):
        prefix = f"{place[f'{stream}.0']}."
        first = next(name for name in state if name.startswith(prefix) and state[name].ndim == 4)
        state[first] = _for_four_channels(state[first], stream)
    return state


def _for_four_channels(weight: Tensor, stream: str) -> Tensor:
    """Widen a first convolution to R, G, B, IR: zeros for the other camera. Shared weights read IR three times."""
    wide = weight.new_zeros(weight.shape[0], 4, *weight.shape[2:])
    if stream == "rgb":
        wide[:, :3] = weight
    else:
        wide[:, 3:] = weight.sum(1, keepdim=True)
    return wide
