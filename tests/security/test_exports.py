"""Attacks in exported files: none runs code, reads another file, or is believed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support.exports import SHA, loaded_detector, random_pairs, set_metadata
from yolofuse.backends import open_export
from yolofuse.errors import WeightsError
from yolofuse.exporters.export import describe_export
from yolofuse.exporters.module import export_module
from yolofuse.exporters.options import ExportOptions

onnx = pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")


def _write(folder: Path, **options: Any) -> Path:
    from yolofuse.exporters.onnx_file import write_onnx
    from yolofuse.exporters.openvino_file import write_openvino
    from yolofuse.exporters.torch_file import write_torch

    chosen = ExportOptions(**options)
    loaded, metadata = describe_export(loaded_detector(base="yolov8n", cut="mid"), chosen, SHA)
    module, file = export_module(loaded.model, metadata), folder / f"good{chosen.suffix}"
    if chosen.format == "onnx":
        write_onnx(module, metadata, chosen, file)
    elif chosen.format == "openvino":
        write_openvino(module, metadata, chosen, file)
    else:
        write_torch(module, metadata, file)
    return file


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write(tmp_path_factory.mktemp("exports"))


def _changed(good: Path, folder: Path, change: Callable[[Any], object]) -> Path:
    model = onnx.load_model(good)
    change(model)
    (folder / "bad.onnx").write_bytes(model.SerializeToString())
    return folder / "bad.onnx"


def _foreign_domain(model: Any) -> None:
    model.opset_import.add(domain="evil.ops", version=1)
    model.graph.node.insert(0, onnx.helper.make_node("Run", ["rgb"], ["ran"], domain="evil.ops"))


def _microsoft_domain(model: Any) -> None:
    model.graph.node.insert(0, onnx.helper.make_node("Tokenizer", ["rgb"], ["ran"], domain="com.microsoft"))


def _external(location: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    return change


def _external_in_constant(model: Any) -> None:
    node = next(node for node in model.graph.node if node.op_type == "Constant")
    tensor = node.attribute[0].t
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def _branch(model: Any) -> None:
    body = onnx.helper.make_graph([], "body", [], [])
    model.graph.node.insert(0, onnx.helper.make_node("If", ["x"], ["y"], then_branch=body, else_branch=body))


def _function(model: Any) -> None:
    model.functions.append(onnx.helper.make_function("f", "F", ["a"], ["a"], [], []))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_foreign_domain, "not ONNX's own"),
        (_microsoft_domain, "not ONNX's own"),
        (_external("/etc/passwd"), "another file"),
        (_external("../secret.bin"), "another file"),
        (_external("beside.bin"), "another file"),
        (_external_in_constant, "another file"),
        (_branch, "loop or a branch"),
        (_function, "functions of its own"),
        (lambda model: model.metadata_props.pop(), "no metadata of yolofuse"),
        (lambda model: model.metadata_props.add(key="yolofuse", value="{}"), "no metadata of yolofuse"),
        (lambda model: model.graph.node.pop(), "damaged"),
        (lambda model: model.graph.output.add(name="more"), "damaged"),
    ],
    ids=["domain", "microsoft", "absolute", "outside", "beside", "constant", "if", "function", "bare", "two", "cut",
         "outputs"],
)  # fmt: skip
def test_onnx__that_is_more_than_a_graph_is_refused(
    good: Path, tmp_path: Path, change: Callable[[Any], object], message: str
) -> None:
    with pytest.raises(WeightsError) as raised:
        open_export(_changed(good, tmp_path, change))
    assert message in str(raised.value)


def test_onnx__of_random_or_cut_bytes_is_told(good: Path, tmp_path: Path) -> None:
    content = good.read_bytes()
    generator = np.random.default_rng(0)
    for number, bad in enumerate((b"", b"\0" * 99, content[:1000], content[: len(content) // 2], generator.bytes(999))):
        file = tmp_path / f"bad{number}.onnx"
        file.write_bytes(bad)
        with pytest.raises(WeightsError):
            open_export(file)


def test_onnx__whose_metadata_lie_about_its_output_is_told(good: Path, tmp_path: Path) -> None:
    def two_classes(text: str) -> str:
        return json.dumps(json.loads(text) | {"names": ["a", "b"]})

    backend = open_export(set_metadata(good, two_classes, tmp_path / "lies.onnx"))
    pair = random_pairs(1, 64, 64).to(torch.device("cpu"))
    with pytest.raises(WeightsError, match="an output of shape"):
        backend(pair.rgb, pair.ir)
    with pytest.raises(WeightsError, match="its inputs are"):
        open_export(
            set_metadata(good, lambda text: text.replace('"pixels":"uint8"', '"pixels":"float32"'), tmp_path / "b.onnx")
        )


@pytest.mark.parametrize("kind", ["folder", "pipe", "missing"])
def test_onnx__that_is_no_plain_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "model.onnx"
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    with pytest.raises(WeightsError):
        open_export(file)


@pytest.mark.parametrize("suffix", [".torchscript", ".pt2", ".engine"])
def test_program__is_loaded_only_where_it_is_trusted(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"model{suffix}"
    file.write_bytes(b"anything")
    with pytest.raises(WeightsError, match="a program that runs when it is loaded"):
        open_export(file)


def test_torchscript__control_its_program_runs_where_it_is_trusted(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Marker(torch.nn.Module):
        def forward(self, rgb: torch.Tensor, ir: torch.Tensor) -> torch.Tensor:
            print("the program ran")
            return rgb

    good = _write(tmp_path, format="torchscript")
    scripted = torch.jit.script(Marker())
    from yolofuse.backends.torch_program import read_metadata

    text = read_metadata(good).model_dump_json()
    scripted.save(str(tmp_path / "bad.torchscript"), _extra_files={"yolofuse": text})  # type: ignore[no-untyped-call]
    pair = random_pairs(1, 64, 64).to(torch.device("cpu"))
    with pytest.raises(WeightsError, match="an output of shape"):
        open_export(tmp_path / "bad.torchscript", trust=True)(pair.rgb, pair.ir)
    assert "the program ran" in capfd.readouterr().out


def test_openvino__with_other_weights_operators_or_entities_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="the extra 'openvino' is not installed")
    good = _write(tmp_path, format="openvino")
    text, weights = good.read_text(), good.with_suffix(".bin").read_bytes()
    entity = '<?xml version="1.0"?><!DOCTYPE net [<!ENTITY x SYSTEM "file:///etc/passwd">]><net>&x;</net>'
    cases = {
        "not the weights": (text, weights[:-4] + b"\1\2\3\4"),
        "an operator of its own": (text.replace('version="opset1"', 'version="evil"', 1), weights),
        "a loop or a branch": (text.replace('type="Convolution"', 'type="Loop"', 1), weights),
        "no model of OpenVINO": (entity, weights),
        "damaged": (text[: len(text) // 2], weights),
        "no metadata": (text.replace("<yolofuse ", "<other "), weights),
    }
    for number, (message, (xml, binary)) in enumerate(cases.items()):
        bad = tmp_path / f"bad{number}.xml"
        bad.write_text(xml)
        bad.with_suffix(".bin").write_bytes(binary)
        with pytest.raises(WeightsError, match=message):
            open_export(bad)
    shutil.copy(good, tmp_path / "alone.xml")
    with pytest.raises(WeightsError, match="cannot be read"):
        open_export(tmp_path / "alone.xml")
    assert open_export(good).metadata.bin_sha256 is not None
