"""Export a trained detector: choose a name, write the file, compare it with torch, keep it."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yolofuse
from yolofuse.backends import Backend, ExportMetadata, NmsLimits, open_export
from yolofuse.backends.metadata import Inputs, Pixels
from yolofuse.config import Config
from yolofuse.config.load import plain_config, validate_config
from yolofuse.engine.dataloaders import windows_in
from yolofuse.engine.loaded_detector import LoadedDetector, load_detector
from yolofuse.errors import ConfigError
from yolofuse.eval.provenance import git_commit
from yolofuse.exporters.module import ExportModule, export_module
from yolofuse.exporters.options import FORMATS, ExportOptions
from yolofuse.exporters.self_check import calibration_pairs, check_export
from yolofuse.files import file_sha256
from yolofuse.run.best_weights import own_best
from yolofuse.weights import has_checksum

log = logging.getLogger("yolofuse")


def export_detector(source: Path, options: ExportOptions, overrides: Sequence[str] = ()) -> Path:
    """Write the detector of a run or a checkpoint as a file of another runtime; return the file.

    It is loaded again and compared with the detector, and kept only if it finds the same boxes.

    Args:
        source: A run's folder, whose best weights are taken, or a checkpoint.
        options: What the file is like.
        overrides: Changes of the config, such as ``val.imgsz=640`` or ``val.iou=0.6``, which the file then has.

    Raises:
        ConfigError: If options do not go together, or a package is missing.
        WeightsError: If the weights can't be read, or the file differs from torch.
    """
    weights = own_best(source) if source.is_dir() else source
    file = options.out or weights.with_name(f"{_name(source, weights)}{_ending(options)}{options.suffix}")
    if file.suffix != options.suffix:
        raise ConfigError(f"--out: {file}: a file of format {options.format} ends with {options.suffix}")
    files = [file, file.with_suffix(".bin")] if options.format == "openvino" else [file]
    if file.suffix == ".pt" and file.is_file() and has_checksum(file):
        raise ConfigError(f"{file}: is a checkpoint, which an export does not replace; name another file")
    for path in files:
        if os.path.lexists(path) and not options.force:
            raise ConfigError(f"{path}: is there already, and is not overwritten; name another file, or use --force")
    if not file.parent.is_dir():
        raise ConfigError(f"--out: {file.parent}: no such folder")
    loaded = load_detector(weights, overrides)
    loaded, metadata = describe_export(loaded, options, file_sha256(weights))
    module = export_module(loaded.model, metadata)
    with tempfile.TemporaryDirectory(prefix=f".{file.stem}-", dir=file.parent) as folder:
        partial = Path(folder) / file.name
        backend = write_file(module, loaded, metadata, options, partial) or open_export(partial, trust=True)
        difference = check_export(loaded, backend)
        for path in reversed(files):  # the weights first: a file without them is of no use
            (Path(folder) / path.name).replace(path)
    size = sum(path.stat().st_size for path in files)
    log.info("%s: %.1f MB, %s; %s", file, size / 1e6, backend.precision, difference)
    return file


def describe_export(
    loaded: LoadedDetector, options: ExportOptions, weights_sha256: str
) -> tuple[LoadedDetector, ExportMetadata]:
    """Return a file's metadata, and the detector with a config that fits a fixed size.

    Raises:
        ConfigError: If the options do not fit the detector.
    """
    config = _config_for(loaded, options)
    detector = loaded.model
    is_deep = any(rule.bits == 16 for rule in loaded.formats) or not loaded.formats
    default: Pixels = "float32" if options.format == "ultralytics" else "uint16" if is_deep else "uint8"
    pixels = options.pixels or default
    if pixels == "uint8" and is_deep:
        raise ConfigError("pixels: the thermal images of the training data are deep; use uint16 or float32")
    heads = tuple(detector.heads)
    is_decision = len(heads) == 2
    if options.nms and is_decision and config.model.merge != "nms":
        raise ConfigError(f"nms: fusion of decisions by {config.model.merge} can't be inside; leave nms out")
    streams = config.model.streams
    inputs: Inputs = "stacked" if options.format == "ultralytics" else options.inputs
    inputs = streams if streams != "both" and options.inputs == "pair" else inputs
    needs_nms = options.nms and (is_decision or not detector.end2end)
    if options.nms and not needs_nms:
        log.info("the head is end-to-end: its boxes are final, and there is no NMS to put inside")
    limits = NmsLimits(conf=options.conf, iou=config.val.iou, max_det=config.val.max_det)
    metadata = ExportMetadata(
        version=yolofuse.__version__,
        commit=git_commit(),
        names=loaded.names,
        stride=detector.stride,
        imgsz=config.val_imgsz,
        letterbox=config.val.letterbox,
        size_hw=options.size_hw,
        formats=loaded.formats,
        overlays=tuple(map(tuple, loaded.content.get("overlays", ()))),
        ir_windows=dict(windows_in(loaded.content)),
        config=plain_config(config),
        heads=("merged",) if needs_nms and is_decision else heads,  # type: ignore[arg-type]
        end2end=detector.end2end and not needs_nms,
        max_det=config.val.max_det,
        inputs=inputs,
        pixels=pixels,
        nms=limits if needs_nms else None,
        precision=options.precision or FORMATS[options.format].precisions[0],
        weights_sha256=weights_sha256,
        epoch=loaded.content["epoch"],
        data_hash=loaded.content["data_hash"],
    )
    return LoadedDetector(detector, config, loaded.names, loaded.content, loaded.formats), metadata


def _config_for(loaded: LoadedDetector, options: ExportOptions) -> Config:
    """Return the config of the file; of a fixed size, validation scales and pads to just that."""
    config, stride = loaded.config, loaded.detector.stride
    words = []
    if options.size_hw is not None:
        height, width = options.size_hw
        if height % stride or width % stride:
            raise ConfigError(f"--size: {height} x {width}: both must be multiples of {stride}, the model's stride")
        words = [f"val.imgsz={max(height, width)}"] + ["val.letterbox=square"] * (height == width)
    fitting = validate_config(plain_config(config), words, where="config of the export")
    if fitting.val_imgsz % stride:
        raise ConfigError(f"val.imgsz: must be a multiple of {stride}, the model's stride (got {fitting.val_imgsz})")
    return fitting


def write_file(
    module: ExportModule, loaded: LoadedDetector, metadata: ExportMetadata, options: ExportOptions, path: Path
) -> Backend | None:
    """Write a file without a check of what it finds; return what is in it where it can't be opened from there."""
    match options.format:
        case "onnx":
            from yolofuse.exporters.onnx_file import write_onnx

            write_onnx(module, metadata, options, path)
        case "openvino":
            from yolofuse.exporters.openvino_file import write_openvino

            pairs = calibration_pairs(loaded) if metadata.precision == "int8" else []
            write_openvino(module, metadata, options, path, pairs)
        case "engine":
            from yolofuse.exporters.tensorrt_file import write_engine

            write_engine(module, metadata, options, path)
        case "ultralytics":
            from yolofuse.exporters.ultralytics_file import write_ultralytics

            return write_ultralytics(loaded, metadata, path)
        case _:
            from yolofuse.exporters.torch_file import write_torch

            write_torch(module, metadata, path)
    return None


def _name(source: Path, weights: Path) -> str:
    """Return the name of the run, or of a file that lies outside of one."""
    if source.is_dir():
        return source.resolve().name
    if weights.parent.name != "weights":
        return weights.stem
    run = weights.resolve().parent.parent.name
    return run if weights.stem == "best" else f"{run}-{weights.stem}"


def _ending(options: ExportOptions) -> str:
    if options.format == "ultralytics":
        return "-ultralytics"
    return "" if options.precision in {None, "fp32"} else f"-{options.precision}"
