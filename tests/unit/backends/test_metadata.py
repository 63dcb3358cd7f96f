"""Metadata of an exported file: what yolofuse writes is read as it was, and nothing else is believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.exports import SHA, loaded_detector
from yolofuse.backends.metadata import MAX_BYTES, ExportMetadata, parse_metadata
from yolofuse.errors import WeightsError
from yolofuse.exporters.export import describe_export
from yolofuse.exporters.options import ExportOptions

WHERE = Path("model.onnx")


def _metadata(**options: Any) -> ExportMetadata:
    _, metadata = describe_export(loaded_detector(base="yolov8n", cut="mid"), ExportOptions(**options), SHA)
    return metadata


def test_metadata__are_read_as_they_were_written() -> None:
    metadata = _metadata(nms=True, conf=0.4)
    assert parse_metadata(metadata.model_dump_json(), WHERE) == metadata
    assert metadata.nms is not None
    assert (metadata.nms.conf, metadata.nms.iou, metadata.nms.max_det) == (0.4, 0.7, 300)
    assert metadata.names == ("person", "car", "bus")
    assert metadata.input_names == ("rgb", "ir")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"names": []}, "names"),
        ({"names": ["a\x1b[31m", "b", "c"]}, "printable"),
        ({"names": ["x" * 201]}, "names.0"),
        ({"names": ["x"] * 10_001}, "names"),
        ({"names": "person"}, "names"),
        ({"stride": 0}, "stride"),
        ({"stride": 32.5}, "stride"),
        ({"stride": "32"}, "stride"),
        ({"imgsz": 1 << 40}, "imgsz"),
        ({"imgsz": 63}, "multiples of the stride"),
        ({"size_hw": [64, -32]}, "size_hw.1"),
        ({"max_det": 10**9}, "max_det"),
        ({"nms": {"conf": -1, "iou": 0.5, "max_det": 300}}, "nms.conf"),
        ({"nms": {"conf": 0.1, "iou": 0.5}}, "nms.max_det"),
        ({"heads": ["rgb"]}, "heads"),
        ({"heads": ["trunk", "trunk"]}, "heads"),
        ({"inputs": "rgb; rm"}, "inputs"),
        ({"pixels": "complex64"}, "pixels"),
        ({"formats": [{"affine": [1, 2, 3]}]}, "six finite numbers"),
        ({"formats": [{"ir_window": [5, 5]}]}, "two rising numbers"),
        ({"formats": [{"bits": 16}]}, "uint8 for thermal images of 16 bits"),
        ({"formats": [{"frame": "/etc"}]}, "formats.0.frame"),
        ({"weights_sha256": "0"}, "weights_sha256"),
        ({"epoch": -1}, "epoch"),
        ({"format_version": 2}, "format_version"),
        ({"surprise": 1}, "surprise"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_metadata__that_yolofuse_does_not_write_are_refused(change: dict[str, Any], message: str) -> None:
    content = json.loads(_metadata().model_dump_json()) | change
    with pytest.raises(WeightsError, match="not written by yolofuse") as raised:
        parse_metadata(json.dumps(content), WHERE)
    assert message in str(raised.value)
    assert "\x1b" not in str(raised.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "NaN", '{"stride": NaN}', "[" * 100_000, '{"epoch": ' + "9" * 5000 + "}", "\ud800"]
)
def test_metadata__that_are_no_json_object_are_refused(text: str) -> None:
    with pytest.raises(WeightsError):
        parse_metadata(text.encode("utf-8", "surrogatepass"), WHERE)


def test_metadata__of_megabytes_are_refused() -> None:
    with pytest.raises(WeightsError, match="more than yolofuse writes"):
        parse_metadata(" " * (MAX_BYTES + 1), WHERE)
