"""Build an engine of TensorRT from the ONNX graph; it runs on GPUs of the kind that it was built on."""

from __future__ import annotations

from pathlib import Path

from yolofuse.backends.metadata import ExportMetadata
from yolofuse.backends.tensorrt_engine import MAGIC, import_tensorrt
from yolofuse.errors import ConfigError
from yolofuse.exporters.module import ExportModule
from yolofuse.exporters.onnx_file import build_onnx
from yolofuse.exporters.options import ExportOptions

_MAX_BATCH = 16


def write_engine(module: ExportModule, metadata: ExportMetadata, options: ExportOptions, path: Path) -> None:
    """Build the engine for batches up to 16, and images up to ``metadata.imgsz`` unless their size is fixed.

    Raises:
        ConfigError: If TensorRT or a GPU is missing, or it can't build the graph.
    """
    trt = import_tensorrt(path)
    builder = trt.Builder(trt.Logger(trt.Logger.ERROR))
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, trt.Logger(trt.Logger.ERROR))
    if not parser.parse(build_onnx(module, metadata, options).SerializeToString()):
        reasons = "; ".join(str(parser.get_error(number)) for number in range(parser.num_errors))
        raise ConfigError(f"format: TensorRT can't build this detector: {reasons[:500]}")
    profile, config = builder.create_optimization_profile(), builder.create_builder_config()
    least = metadata.size_hw or (2 * metadata.stride,) * 2
    most = metadata.size_hw or (metadata.imgsz,) * 2
    for name, channels in zip(metadata.input_names, metadata.input_channels, strict=True):
        profile.set_shape(name, (1, channels, *least), (1, channels, *most), (_MAX_BATCH, channels, *most))
    config.add_optimization_profile(profile)
    if metadata.precision == "fp16":
        config.set_flag(trt.BuilderFlag.FP16)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ConfigError("format: TensorRT could not build this detector; its log says why")
    text = metadata.model_dump_json().encode()
    path.write_bytes(MAGIC + len(text).to_bytes(4, "little") + text + bytes(engine))
