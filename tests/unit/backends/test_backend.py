"""What every backend checks: pixels, sizes, limits, and rows of the NMS inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.exports import SHA, loaded_detector
from yolofuse.backends import Backend
from yolofuse.errors import ConfigError, DataError, WeightsError
from yolofuse.exporters.export import describe_export
from yolofuse.exporters.options import ExportOptions


class _Fixed(Backend):
    """Returns given outputs, and keeps its inputs."""

    runtime = "fixed"
    outputs: Sequence[np.ndarray] = ()
    inputs: Sequence[np.ndarray] = ()

    def _infer(self, inputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        self.inputs = inputs
        return self.outputs


def _backend(outputs: Sequence[np.ndarray], **options: Any) -> _Fixed:
    _, metadata = describe_export(loaded_detector(base="yolov8n", cut="mid"), ExportOptions(**options), SHA)
    backend = _Fixed(Path("model.onnx"), metadata)
    backend.outputs = outputs
    return backend


def _call(backend: Backend, side: int = 64, levels: int = 255) -> Any:
    pixels = torch.arange(2 * 4 * side * side).reshape(2, 4, side, side) % (levels + 1) / levels
    return backend(pixels[:, :3], pixels[:, 3:])


def test_inputs__are_the_levels_that_were_read() -> None:
    backend = _backend([np.zeros((2, 7, 84), np.float32)])
    _call(backend)
    rgb, ir = backend.inputs
    expected = (np.arange(2 * 4 * 64 * 64) % 256).reshape(2, 4, 64, 64)
    assert rgb.dtype == np.uint8
    assert np.array_equal(rgb, expected[:, :3])
    assert np.array_equal(ir, expected[:, 3:])


def test_inputs__of_more_than_8_bits_are_refused_by_an_8_bit_file() -> None:
    with pytest.raises(DataError, match="takes images of 8 bits"):
        _call(_backend([np.zeros((2, 7, 84), np.float32)]), levels=65535)


def test_rows_of_nms__are_sorted_per_image_and_filled_up() -> None:
    rows = np.array(
        [[1, 0, 0, 5, 5, 0.5, 2], [0, 1, 1, 9, 9, 0.3, 0], [1, 2, 2, 6, 6, 0.9, 1]], np.float32
    )  # image, x1, y1, x2, y2, score, class
    ((found, _),) = _call(_backend([rows], nms=True)).values()
    assert found.shape == (2, 2, 6)
    assert found[0].tolist() == [pytest.approx([1, 1, 9, 9, 0.3, 0]), [0.0] * 6]
    assert found[1, :, 4].tolist() == pytest.approx([0.9, 0.5])


@pytest.mark.parametrize(
    "outputs",
    [
        [np.zeros((2, 8, 84), np.float32)],
        [np.zeros((1, 7, 84), np.float32)],
        [np.zeros(7, np.float32)],
        [np.zeros((2, 7, 84), np.float32)] * 2,
        [],
    ],
    ids=["classes", "batch", "vector", "two", "none"],
)
def test_outputs__that_are_not_announced_are_told(outputs: list[np.ndarray]) -> None:
    with pytest.raises(WeightsError, match="damaged"):
        _call(_backend(outputs))


def test_outputs__with_an_unknown_class_are_told() -> None:
    with pytest.raises(WeightsError, match="names a class"):
        _call(_backend([np.array([[0, 0, 0, 5, 5, 0.5, 3]], np.float32)], nms=True))


def test_size__that_is_fixed_is_kept_to() -> None:
    backend = _backend([np.zeros((2, 7, 84), np.float32)], size_hw=(64, 64))
    _call(backend)
    with pytest.raises(ConfigError, match="takes images of"):
        _call(backend, side=96)


def test_limits__that_are_fixed_inside_are_kept_to() -> None:
    backend = _backend([], nms=True, conf=0.3)
    backend.check_limits(0.3, 0.7, 300)
    backend.check_limits(0.5, 0.7, 100)
    for limits in ((0.2, 0.7, 300), (0.3, 0.6, 300), (0.3, 0.7, 301)):
        with pytest.raises(ConfigError, match=r"inside|its NMS has"):
            backend.check_limits(*limits)
    _backend([]).check_limits(0.001, 0.1, 5000)
