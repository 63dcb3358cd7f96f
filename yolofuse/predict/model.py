"""Load a detector for use, and detect in pairs: files, arrays, folders, sequences, videos."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypedDict

from typing_extensions import Unpack

from yolofuse.config.load import validate_config
from yolofuse.data.dataset import rect_hw
from yolofuse.distributed.ranks import pick_device
from yolofuse.engine.build import build_start
from yolofuse.engine.dataloaders import windows_in
from yolofuse.engine.loaded_detector import LoadedDetector, OpenPair, load_detector
from yolofuse.errors import ConfigError, DataError, did_you_mean
from yolofuse.predict.result import PairDetections
from yolofuse.predict.sources import PairInput, open_inputs
from yolofuse.types import Detections, PairFormat, PairRecord
from yolofuse.weights import has_checksum
from yolofuse.weights.sources import load_source

_log = logging.getLogger(__name__)
CONF = 0.25
"""Score from which on a detection is returned, unless another is given; evaluation goes down to ``val.conf``."""


class Limits(TypedDict, total=False):
    """Limits of detection; those that are not given are the config's.

    Attributes:
        conf: A class of a box is a detection if it scores more than this; 0.25 if it is not given.
        iou: IoU above which NMS drops the lower-scoring box of a class.
        classes: Names or ids of the classes to look for, or one of them; None: all.
        max_det: Number of detections of a pair that are kept, best first.
        imgsz: Longest side that a pair is scaled to, in pixels.
    """

    conf: float
    iou: float | None
    classes: Collection[str | int] | str | int | None
    max_det: int | None
    imgsz: int | None


class Model:
    """A detector with all that it takes to use it: its classes, its preprocessing, its limits.

    Attributes:
        loaded: The detector with its config.
        names: Class names, by class id.
    """

    def __init__(self, loaded: LoadedDetector) -> None:
        self.loaded = loaded
        self.names = loaded.names

    def predict(
        self,
        rgb: Any,
        ir: Any,
        *,
        batch: int = 8,
        pair_format: PairFormat | None = None,
        **limits: Unpack[Limits],
    ) -> PairDetections | list[PairDetections]:
        """Detect objects in one pair or many; boxes are in the pixels of each pair's frame.

        Args:
            rgb: A file, an array, a folder, or a sequence of files and arrays; None: there is no such camera.
            ir: Likewise. Arrays are uint8 (H, W, 3), R G B, and (h, w) in the depth of the training images.
            batch: Pairs that go through the model together, where their shapes are equal.
            pair_format: How the two images lie on each other; by default as in the training data.
            limits: ``conf``, ``iou``, ``classes``, ``max_det``, ``imgsz``, see :class:`Limits`.

        Returns:
            For one pair its detections, else a list of them in the order given.

        Raises:
            ConfigError: If a limit is wrong.
            DataError: If an image can't be read or the two sides do not match.
        """
        inputs, number = open_inputs(rgb, ir)
        found = list(self.stream_inputs(inputs, batch=batch, pair_format=pair_format, **limits))
        is_single = number == 1 and isinstance(inputs, list) and not inputs[0].key
        return found[0] if is_single else found

    def stream(
        self, rgb: Any, ir: Any, *, batch: int = 1, pair_format: PairFormat | None = None, **limits: Unpack[Limits]
    ) -> Iterator[PairDetections]:
        """Yield the detections of each pair; memory stays flat. Arguments are those of :meth:`predict`."""
        inputs, _ = open_inputs(rgb, ir)
        yield from self.stream_inputs(inputs, batch=batch, pair_format=pair_format, **limits)

    def stream_inputs(
        self,
        inputs: Iterable[PairInput],
        *,
        batch: int = 1,
        pair_format: PairFormat | None = None,
        on_error: Callable[[PairInput, DataError], object] | None = None,
        **limits: Unpack[Limits],
    ) -> Iterator[PairDetections]:
        """Yield the detections of each pair.

        Args:
            inputs: The pairs.
            batch: As of :meth:`predict`.
            pair_format: As of :meth:`predict`.
            on_error: Called with a pair that can't be read, which is then left out; None: its error is raised.
            limits: As of :meth:`predict`.
        """
        loaded = self._limited(limits)
        class_ids = self._class_ids(limits.get("classes"))
        warned = False
        for group in _grouped(loaded, inputs, batch, pair_format, on_error):
            if not warned and any(record.missing for (record, _), _, _ in group):
                self._warn_missing(next(record.missing for (record, _), _, _ in group if record.missing))
                warned = True
            started = time.perf_counter()
            try:
                pixels = loaded.collate([opened for opened, _, _ in group])
            except DataError as error:
                if on_error is None:
                    raise
                if len(group) == 1:
                    on_error(group[0][1], error)
                    continue
                ones = [given for _, given, _ in group]
                yield from self.stream_inputs(ones, batch=1, pair_format=pair_format, on_error=on_error, **limits)
                continue
            read = time.perf_counter()
            found = loaded.detect(pixels, class_ids)
            ended = time.perf_counter()
            for ((record, images), given, ms), detections in zip(group, found, strict=True):
                share = 1000 / len(group)
                yield PairDetections(
                    **{field.name: getattr(detections, field.name) for field in fields(Detections)},
                    names=self.names,
                    record=replace(record, key=given.key or record.key),
                    images=images,
                    time_s=given.time_s,
                    ms={"read": ms + (read - started) * share, "detect": (ended - read) * share},
                )

    def _limited(self, limits: Limits) -> LoadedDetector:
        """Return the detector with these limits in its config, checked as options of a config are."""
        known = Limits.__annotations__
        for name in limits:
            if name not in known:
                raise ConfigError(f"{name}: no such limit{did_you_mean(name, known)}; known are {', '.join(known)}")
        val = {"conf": CONF, **limits}
        overrides = [f"val.{name}={value}" for name, value in val.items() if name != "classes" and value is not None]
        config = self.loaded.config.model_dump(mode="json", exclude_unset=True)
        loaded = replace(self.loaded, config=validate_config(config, overrides, where="limits"))
        stride = loaded.detector.stride
        if loaded.config.val_imgsz % stride:
            raise ConfigError(
                f"imgsz: must be a multiple of {stride}, the model's stride (got {loaded.config.val_imgsz})"
            )
        for head in loaded.detector.heads.values():
            head.max_det = loaded.config.val.max_det
        return loaded

    def _class_ids(self, classes: Collection[str | int] | str | int | None) -> list[int] | None:
        if classes is None:
            return None
        if isinstance(classes, str | int):
            classes = (classes,)
        numbers: dict[str | int, int] = {i: i for i in range(len(self.names))}
        numbers |= {name: i for i, name in enumerate(self.names)}
        for name in classes:
            if name not in numbers:
                hint = did_you_mean(str(name), self.names)
                raise ConfigError(f"classes: no class {name!r}{hint} (the model knows {', '.join(self.names)})")
        return [numbers[name] for name in classes]

    def _warn_missing(self, modality: str) -> None:
        config = self.loaded.config
        if config.model.streams == "both" and config.data.missing == "refuse" and not config.train.augment.drop_camera:
            _log.warning(
                "warning: pairs without an %s image: black stands for it, but this model never saw that in training; "
                "it finds less (data.missing: allow or train.augment.drop_camera train for it)",
                modality,
            )


_Opened = tuple[OpenPair, PairInput, float]
"""A pair, what it was given as, and the time in ms that reading its sizes took."""


def _grouped(
    loaded: LoadedDetector,
    inputs: Iterable[PairInput],
    batch: int,
    pair_format: PairFormat | None,
    on_error: Callable[[PairInput, DataError], object] | None,
) -> Iterator[list[_Opened]]:
    """Yield up to ``batch`` consecutive pairs of one shape, as evaluation does: others would be padded more."""
    group: list[_Opened] = []
    shape: tuple[int, int] | None = None
    for number, given in enumerate(inputs, start=1):
        started = time.perf_counter()
        try:
            opened = _open(loaded, number, given, pair_format)
        except DataError as error:
            if on_error is None:
                raise
            on_error(given, error)
            continue
        this = rect_hw(opened[0].size_hw, loaded.config.val_imgsz, loaded.detector.stride)
        if group and (len(group) >= batch or this != shape):
            yield group
            group = []
        shape = this
        group.append((opened, given, 1000 * (time.perf_counter() - started)))
    if group:
        yield group


def _open(loaded: LoadedDetector, number: int, given: PairInput, pair_format: PairFormat | None) -> OpenPair:
    if isinstance(given.pair, PairRecord):
        return given.pair, None
    return loaded.open_pair(number, given.pair, pair_format)


def load(source: Path, device: str = "auto", overrides: Collection[str] = ()) -> Model:
    """Load a detector for use.

    Args:
        source: A run's folder, a checkpoint, or weights of a detector for one camera, which is then used for two
            without training (see docs/pretrained.md).
        device: ``auto``, ``cpu``, ``cuda:0``, ...
        overrides: Other values of the config.

    Raises:
        ConfigError: If an option is wrong, or the weights do not say what model they are.
        RunError: If the folder is no run, or has no best weights yet.
        WeightsError: If the file is missing, damaged, or can't be used.
    """
    if source.is_dir() or has_checksum(source):
        return Model(load_detector(source, [*overrides], device))
    weights = load_source(source)
    if set(weights.parts) != {"trunk"}:
        return Model(load_detector(source, [*overrides], device))
    return Model(_untrained(source, weights.base, weights.names, [*overrides], device))


def _untrained(
    file: Path, base: str | None, names: tuple[str, ...] | None, overrides: list[str], device: str
) -> LoadedDetector:
    """Build the detector that uses the weights of a single camera in both streams."""
    raw = {
        "data": {"descriptor": "none"},
        "train": {"run": "none"},
        "model": {"base": base} if base else {},
        "weights": {"pretrained": str(file)},
    }
    if base is None and not any(word.startswith("model.base=") for word in overrides):
        raise ConfigError(f'{file}: does not say which model it is; give its name: model={{"base": "yolo11n"}}')
    if names is None:
        raise ConfigError(f"{file}: names no classes; give a checkpoint, not a state_dict")
    start = build_start(validate_config(raw, overrides, where=str(file)), names)
    _log.info("%s: not trained on pairs; %s fuses what it knows of one camera", file, start.config.model.cut)
    return LoadedDetector(
        start.detector.eval().to(pick_device(device)), start.config, names, {"epoch": 0, "data_hash": None}
    )


def thermal_windows(model: Model) -> dict[str, tuple[float, float]]:
    """Return the thermal windows that a model was trained with, by name."""
    return dict(windows_in(model.loaded.content))
