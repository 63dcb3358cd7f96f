"""Build small detectors for tests of export, with outputs that are worth comparing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from tests.support.detectors import build
from yolofuse.batch import PairedBatch
from yolofuse.config.load import validate_config
from yolofuse.engine.loaded_detector import LoadedDetector
from yolofuse.exporters.self_check import batch_of
from yolofuse.types import PairFormat

NAMES = ("person", "car", "bus")
SHA = "0" * 64


def loaded_detector(bits: int = 8, imgsz: int = 64, **model: Any) -> LoadedDetector:
    """Return a random detector in eval mode whose statistics are those of random pairs, so that many boxes score."""
    detector = build(len(NAMES), **model)
    torch.manual_seed(0)
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    detector.train()
    with torch.no_grad():
        for _ in range(2):
            detector(torch.rand(2, 3, 128, 128), torch.rand(2, 1, 128, 128))
        for head in detector.heads.values():
            for name, parameter in head.named_parameters():
                if name.endswith("bias") and parameter.shape[0] in {len(NAMES), len(NAMES) * 3 + 15, 24}:
                    parameter.add_(4.0)
    raw = {"data": {"descriptor": "none.yaml"}, "train": {"run": "none", "imgsz": imgsz}, "model": model}
    content = {"epoch": 1, "data_hash": None}
    formats = (PairFormat(bits=16, ir_window=(0.0, 1000.0)) if bits == 16 else PairFormat(),)
    return LoadedDetector(detector.eval(), validate_config(raw, where="test"), NAMES, content, formats)


def random_pairs(number: int, height: int, width: int, bits: int = 8) -> PairedBatch:
    """Return random pairs as they are loaded."""
    generator = torch.Generator().manual_seed(height + width)
    levels = torch.rand(number, 4, height, width, generator=generator) * (65535 if bits == 16 else 255)
    return batch_of(levels.to(torch.int32).to(torch.uint16 if bits == 16 else torch.uint8))


def set_metadata(file: Path, change: Any, to: Path) -> Path:
    """Write an ONNX file again with other metadata: ``change`` turns the old text into the new one."""
    import onnx

    model = onnx.load_model(file)
    entry = next(entry for entry in model.metadata_props if entry.key == "yolofuse")
    entry.value = change(entry.value)
    to.write_bytes(model.SerializeToString())
    return to
