"""The Python API: what the commands do, as functions; torch is loaded when one needs it.

Configs are given as a YAML file, a mapping or a :class:`Config`, and options as sections: ``train={"epochs": 3}`` or
``**{"train.epochs": 3}``. Mistakes raise :class:`yolofuse.errors.YolofuseError` with the texts of the commands.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from yolofuse.config import Config
from yolofuse.config.load import override_words, plain_config, validate_config
from yolofuse.config.safe_yaml import read_yaml
from yolofuse.errors import ConfigError, RunStopped
from yolofuse.log import printed_log

if TYPE_CHECKING:
    from yolofuse.backends.metadata import Inputs, Pixels, Precision
    from yolofuse.engine.callbacks import Callback
    from yolofuse.engine.evaluate_checkpoint import EvalOutcome
    from yolofuse.engine.loaded_detector import LoadedDetector
    from yolofuse.model import Detector
    from yolofuse.predict.model import Model

ConfigSource = Config | Mapping[str, Any] | str | PathLike[str]
Resume = Literal["never", "auto", "always"]


def load_config(config: ConfigSource, **options: Any) -> Config:
    """Load and check the config of a run.

    Args:
        config: A YAML file, its content, or a config.
        options: Sections or dotted keys with other values.

    Raises:
        ConfigError: With every unknown key and wrong value.
    """
    if isinstance(config, Config):
        raw, where = plain_config(config, only_set=True), "config"
    elif isinstance(config, Mapping):
        raw, where = dict(config), "config"
    else:
        raw, where = read_yaml(Path(config)), str(config)
    return validate_config(raw, override_words(options), where=where)


def train(
    config: ConfigSource,
    *,
    resume: Resume = "never",
    force: bool = False,
    callbacks: Sequence[Callback] = (),
    **options: Any,
) -> Path:
    """Train a detector, as ``train_dual.py`` does; return the run's folder.

    Under torchrun each process calls it. Ctrl-C saves the run, then raises KeyboardInterrupt; resume it by
    ``resume="always"``.

    Args:
        config: As of :func:`load_config`.
        resume: Start in an unused folder (``never``), resume a started run (``always``), or whichever fits (``auto``).
        force: Resume though config, data or code changed.
        callbacks: Objects of :class:`Callback`, called on rank 0 while it trains.
        options: As of :func:`load_config`.

    Raises:
        YolofuseError: If config, data, weights or run folder are wrong.
        RunStopped: If SIGTERM or SIGUSR1 ended it; the run is saved.
    """
    loaded = load_config(config, **options)
    from yolofuse.engine.train import train as train_run

    with _logged():
        try:
            return train_run(loaded, resume=resume, force=force, callbacks=callbacks)
        except RunStopped as stopped:
            if stopped.signal == "SIGINT":
                raise KeyboardInterrupt(str(stopped)) from stopped
            raise


def evaluate(
    source: str | PathLike[str],
    *,
    data: str | PathLike[str] | None = None,
    split: str | None = None,
    out: str | PathLike[str] | None = None,
    trust: bool = False,
    **options: Any,
) -> EvalOutcome | None:
    """Evaluate a run (its best weights), a checkpoint or an export, as ``val_dual.py`` does, and write the report.

    Args:
        source: A run's folder, a checkpoint, or a file of :func:`export`.
        data: Descriptor of another data set than the run's.
        split: Name of the split; by default the config's ``data.val_split``.
        out: Folder of the report; by default ``eval-SPLIT`` in the run's folder.
        trust: Load exported files that are programs too; see docs/export.md.
        options: Other values of the run's config, such as ``val={"iou": 0.6}``.

    Returns:
        ``report.result.metrics()`` has AP, AP50 and so on; None on every rank but 0.
    """
    from yolofuse.engine.evaluate_checkpoint import evaluate_checkpoint, evaluate_run

    place = Path(source)
    evaluate_source = evaluate_run if place.is_dir() else partial(evaluate_checkpoint, trust=trust)
    other_data = {} if data is None else {"data.descriptor": str(data), "data.root": None}
    with _logged():
        return evaluate_source(
            place,
            override_words({**other_data, **options}),
            split=split,
            out=None if out is None else Path(out),
        )


def report(
    run: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    data: str | PathLike[str] | None = None,
    split: str | None = None,
    quick: bool = False,
) -> Path:
    """Write the report of a run, one HTML file, as ``yolofuse report`` does; return its path.

    Args:
        run: The run's folder; it is evaluated first if that was not done yet.
        out: The file; by default ``report.html`` in the run's folder.
        data: Descriptor of the data set, where it has moved.
        split: Name of the split; by default the config's ``data.val_split``.
        quick: Leave out what needs the detector: an evaluation, what each camera contributes, heat maps.

    Raises:
        YolofuseError: If there is no run, or the file is somebody else's.
    """
    from yolofuse.reports.run_report import write_run_report

    page, descriptor = (None if file is None else Path(file) for file in (out, data))
    with _logged():
        return write_run_report(Path(run), page, data=descriptor, split=split, quick=quick)


def export(
    source: str | PathLike[str],
    format: str = "onnx",
    *,
    out: str | PathLike[str] | None = None,
    nms: bool = False,
    conf: float = 0.25,
    inputs: Inputs = "pair",
    pixels: Pixels | None = None,
    precision: Precision | None = None,
    size_hw: tuple[int, int] | None = None,
    opset: int | None = None,
    dynamo: bool = False,
    force: bool = False,
    **options: Any,
) -> Path:
    """Write a trained detector as a file of another runtime, as ``yolofuse export`` does; return the file.

    It is kept only if it finds the boxes that torch finds; the largest difference is logged.

    Args:
        source: A run's folder or a checkpoint.
        format: ``onnx``, ``openvino``, ``torchscript``, ``pt2``, ``engine`` (TensorRT) or
            ``ultralytics``.
        out: The file; None: named after the run, beside its weights.
        nms: Do non-maximum suppression inside (onnx, openvino).
        conf: Score that a box must exceed in the NMS inside.
        inputs: ``pair``: two inputs, ``rgb`` and ``ir``; ``stacked``: one, ``images``, of four channels.
        pixels: ``uint8``, ``uint16`` or ``float32`` (0..1); None: uint8, or uint16 where thermal images are deep.
        precision: None: fp32.
        size_hw: Height and width in pixels that the input is fixed to; None: any multiples of the stride.
        opset: Of ONNX; None: 17.
        dynamo: Let torch's newer exporter write the ONNX file; slower.
        force: Replace a file that is there.
        options: Other values of the config, such as ``val={"imgsz": 640}``.
    """
    from yolofuse.exporters import ExportOptions, export_detector

    chosen = ExportOptions(
        format,
        None if out is None else Path(out),
        nms,
        conf,
        inputs,
        pixels,
        precision,
        size_hw,
        opset,
        dynamo,
        force,
    )
    with _logged():
        return export_detector(Path(source), chosen, override_words(options))


def to_ultralytics(source: str | PathLike[str], out: str | PathLike[str] | None = None, *, force: bool = False) -> Path:
    """Write a detector for ``ultralytics.YOLO(file)``; return the file, ``RUN-NAME-ultralytics.pt`` beside the weights.

    It reads (H, W, 4) images, R G B IR, or those of the one camera that the detector has.

    Raises:
        ConfigError: If ultralytics has no layers for a part of it: decisions, anchors, other fusion than concat and
            add.
    """
    return export(source, "ultralytics", out=out, force=force)


def load_detector(
    source: str | PathLike[str], device: str = "auto", *, trust: bool = False, **options: Any
) -> LoadedDetector:
    """Load a trained detector: ``detector.detect(detector.preprocess([(rgb_file, ir_file)]))``.

    Args:
        source: A run's folder, a checkpoint, or a file of :func:`export`.
        device: ``auto``, ``cpu``, ``cuda:0``, ...
        trust: Load exported files that are programs too; see docs/export.md.
        options: Other values of its config, such as ``val={"conf": 0.25}``.
    """
    from yolofuse.engine.loaded_detector import load_detector as load

    return load(Path(source), override_words(options), device, trust=trust)


def load(source: str | PathLike[str], device: str = "auto", *, trust: bool = False, **options: Any) -> Model:
    """Load a detector for use: ``yolofuse.load("runs/mine").predict("rgb.jpg", "ir.jpg")``.

    Args:
        source: A run's folder, a checkpoint, a file of :func:`export`, or weights of a detector for one camera, which
            is then used for two without training.
        device: ``auto``, ``cpu``, ``cuda:0``, ...
        trust: Load exported files that are programs too; see docs/export.md.
        options: Other values of its config.

    Raises:
        ConfigError: If an option is wrong, or the weights do not say what model they are.
        RunError: If the folder is no run, or has no best weights yet.
        WeightsError: If the file is missing, damaged, or can't be used.
    """
    from yolofuse.predict.load import load as load_model

    with _logged():
        return load_model(Path(source), device, override_words(options), trust=trust)


def build_detector(config: ConfigSource, names: Sequence[str] | Mapping[int, str], **options: Any) -> Detector:
    """Build the detector of a config for these classes, with its weights loaded and the others initialised; on the CPU.

    Call it as ``detector(rgb, ir)``: (B, 3, H, W) and (B, 1, H, W) in 0..1, H and W multiples of ``detector.stride``.

    Args:
        config: As of :func:`load_config`.
        names: Of the classes, in the order of their ids, or by id.
        options: As of :func:`load_config`.

    Raises:
        ConfigError: If an option or a name is wrong, or ``model.anchors: fit`` asks for labels.
        WeightsError: If the weights can't be read or do not fit.
    """
    loaded, classes = load_config(config, **options), _class_names(names)
    if loaded.model.anchors == "fit":
        raise ConfigError("model.anchors: fit needs labelled data; give anchors, or null for those of the weights")
    from yolofuse.engine.build import build_start
    from yolofuse.engine.torch_defaults import as_started

    with as_started():
        return build_start(loaded, classes).detector


def _class_names(names: Sequence[str] | Mapping[int, str]) -> tuple[str, ...]:
    """Return class names as a data YAML may give them."""
    from pydantic import TypeAdapter, ValidationError

    from yolofuse.data.descriptor.schema import Names
    from yolofuse.data.problems import short_repr

    given = list(names) if isinstance(names, Sequence) and not isinstance(names, str) else names
    try:
        return tuple(TypeAdapter(Names).validate_python(given, strict=True))
    except ValidationError:
        raise ConfigError(
            f"names: expected a list of class names, each once, or {{0: name, 1: name, ...}} (got {short_repr(names)})"
        ) from None


@contextmanager
def _logged() -> Iterator[None]:
    """Print the log while a function runs, unless the caller has set up logging; torch is ``as_started``."""
    from yolofuse.engine.torch_defaults import as_started

    with nullcontext() if logging.getLogger("yolofuse").hasHandlers() else printed_log(), as_started():
        yield
