"""Detect in pairs: files, arrays, folders, sequences, videos, cameras."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import fields, replace
from numbers import Integral
from typing import Any, TypedDict

from typing_extensions import Unpack

from yolofuse.config.load import validate_config
from yolofuse.data.dataset import rect_hw
from yolofuse.data.images.read_pair import read_pair
from yolofuse.engine.loaded_detector import LoadedDetector, OpenPair, PairFiles
from yolofuse.errors import ConfigError, DataError, did_you_mean
from yolofuse.predict.input_warnings import warn_missing, warn_outside_window
from yolofuse.predict.result import PairDetections
from yolofuse.predict.sources import PairInput, open_inputs
from yolofuse.predict.tiles import detect_in_tiles
from yolofuse.predict.tracking import WEAK, Tracker
from yolofuse.types import Detections, PairFormat, PairRecord

OnError = Callable[[PairInput, DataError], object]
BATCH = 8
"""Pairs that go through the model together, unless another number is given."""
_OVERLAP = 100
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


class Reading(TypedDict, total=False):
    """How pairs are read and go through the model.

    Attributes:
        batch: Pairs that go through the model together, where their shapes are equal.
        pair_format: How the two images lie on each other; by default as in the training data.
        tile: Side of the tiles that a large frame is cut into, in pixels; None: whole.
        overlap: Pixels that neighbouring tiles share; by default 100, at most half a tile.
        offset_s: What is added to the times of a thermal video, in seconds.
    """

    batch: int
    pair_format: PairFormat | None
    tile: int | None
    overlap: int | None
    offset_s: float


class Options(Limits, Reading, total=False):
    """Everything that can be chosen for a prediction."""


class Model:
    """A detector with all that it takes to use it: its classes, its preprocessing, its limits.

    Attributes:
        loaded: The detector with its config.
        names: Class names, by class id.
    """

    def __init__(self, loaded: LoadedDetector) -> None:
        self.loaded = loaded
        self.names = loaded.names
        self._has_told_of_window = False

    def predict(self, rgb: Any, ir: Any, **options: Unpack[Options]) -> PairDetections | list[PairDetections]:
        """Detect objects in one pair or many; boxes are in the pixels of each pair's frame.

        Args:
            rgb: A file, an array, a folder, a video, a camera (its address such as ``rtsp://HOST/PATH``, its device or
                number), or a sequence of files and arrays; None: there is no such camera.
            ir: Likewise. Arrays are uint8 (H, W, 3), R G B, and (h, w) in the depth of the training images.
            options: See :class:`Limits` and :class:`Reading`.

        Returns:
            For one pair its detections, else a list of them in the order given.

        Raises:
            ConfigError: If an option is wrong.
            DataError: If an image can't be read or the two sides do not match.
        """
        inputs = open_inputs(rgb, ir, options.get("offset_s", 0.0))
        found = list(self.stream_inputs(inputs, **options))
        return found[0] if inputs.kind == "image" else found

    def stream(self, rgb: Any, ir: Any, **options: Unpack[Options]) -> Iterator[PairDetections]:
        """Yield the detections of one pair after the other, flat in memory. Arguments are those of :meth:`predict`."""
        singly: Options = {"batch": 1, **options}
        return self.stream_inputs(open_inputs(rgb, ir, options.get("offset_s", 0.0)), **singly)

    def track(self, rgb: Any, ir: Any, **options: Unpack[Options]) -> Iterator[PairDetections]:
        """Yield the detections of each frame, with ``track_ids``. Arguments are those of :meth:`predict`."""
        return self.track_inputs(open_inputs(rgb, ir, options.get("offset_s", 0.0)), **options)

    def track_inputs(
        self, inputs: Iterable[PairInput], on_error: OnError | None = None, **options: Unpack[Options]
    ) -> Iterator[PairDetections]:
        """Yield the detections of consecutive frames with numbers of objects; arguments as of :meth:`stream_inputs`."""
        conf = self._limited(options).config.val.conf
        weak: Options = {"batch": 1, **options, "conf": WEAK * conf}
        found = self.stream_inputs(inputs, on_error, **weak)  # which checks the options, whatever is installed
        return map(Tracker(conf).update, found)

    def stream_inputs(
        self,
        inputs: Iterable[PairInput],
        on_error: OnError | None = None,
        **options: Unpack[Options],
    ) -> Iterator[PairDetections]:
        """Yield the detections of each pair; wrong options are told by the call, before the first.

        Args:
            inputs: The pairs.
            on_error: Called with a pair that can't be read, which is then left out; None: its error is raised.
            options: As of :meth:`predict`.
        """
        return self._stream(self._limited(options), self._class_ids(options.get("classes")), inputs, options, on_error)

    def _stream(
        self,
        loaded: LoadedDetector,
        class_ids: list[int] | None,
        inputs: Iterable[PairInput],
        options: Options,
        on_error: OnError | None,
    ) -> Iterator[PairDetections]:
        """Yield the detections of each pair, with options that have been checked."""
        has_warned = False
        for group in _grouped(loaded, inputs, options, on_error):
            missing = next((record.missing for (record, _), _, _ in group if record.missing), None)
            if missing and not has_warned:
                warn_missing(missing, self.loaded.config)
                has_warned = True
            yield from self._results(loaded, class_ids, group, options, on_error)

    def _results(
        self,
        loaded: LoadedDetector,
        class_ids: list[int] | None,
        group: list[_Opened],
        options: Options,
        on_error: OnError | None = None,
    ) -> Iterator[PairDetections]:
        """Yield the detections of pairs that go through the model together."""
        started = time.perf_counter()
        try:
            pixels, found = self._detect_group(loaded, group, class_ids, options)
        except DataError as error:
            if on_error is None:
                raise
            if len(group) == 1:
                on_error(group[0][1], error)
                return
            for alone in group:
                yield from self._results(loaded, class_ids, [alone], options, on_error)
            return
        share = 1000 / len(group)
        read, spent = (pixels - started) * share, (time.perf_counter() - pixels) * share
        for ((record, images), given, ms), detections in zip(group, found, strict=True):
            yield PairDetections(
                **{field.name: getattr(detections, field.name) for field in fields(Detections)},
                names=self.names,
                record=replace(record, key=given.key or record.key),
                images=images,
                time_s=given.time_s,
                ms={"read": ms + read, "detect": spent},
            )

    def _detect_group(
        self, loaded: LoadedDetector, group: list[_Opened], class_ids: list[int] | None, options: Options
    ) -> tuple[float, list[Detections]]:
        """Return when the pixels of a group had been read, and its detections."""
        tile = options.get("tile")
        if tile is None:
            pixels = loaded.collate([opened for opened, _, _ in group])
            if not self._has_told_of_window:
                records = [record for (record, _), _, _ in group]
                self._has_told_of_window = warn_outside_window(records, pixels.pixels.numpy())
            return time.perf_counter(), loaded.detect(pixels, class_ids)

        def detect(pairs: list[PairFiles], pair_format: PairFormat) -> list[PairDetections]:
            inner: Options = {**options, "tile": None, "batch": len(pairs), "pair_format": pair_format}
            groups = _grouped(loaded, map(PairInput, pairs), inner, None)
            return [found for tiles in groups for found in self._results(loaded, class_ids, tiles, inner)]

        (((record, images), _, _),) = group
        whole = read_pair(record, images=images)
        read = time.perf_counter()
        overlap = options.get("overlap")
        overlap = min(_OVERLAP, tile // 2) if overlap is None else overlap
        found = detect_in_tiles(record, whole, detect, tile, overlap, loaded.config.val)
        return read, [found]

    def _limited(self, options: Options) -> LoadedDetector:
        """Return the detector with the limits in its config, checked as options of a config are."""
        known = [*Limits.__annotations__, *Reading.__annotations__]
        for name in options:
            if name not in known:
                raise ConfigError(f"{name}: no such option{did_you_mean(name, known)}; known are {', '.join(known)}")
        for name, lowest in (("batch", 1), ("tile", 1), ("overlap", 0)):
            value: Any = options.get(name)
            if value is not None and (not isinstance(value, Integral) or int(value) < lowest):
                raise ConfigError(f"{name}: must be a whole number, at least {lowest} (got {value!r})")
        given = {"conf": CONF, **options}
        val = {name: given.get(name) for name in ("conf", "iou", "max_det", "imgsz")}
        overrides = [f"val.{name}={value}" for name, value in val.items() if value is not None]
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
        if isinstance(classes, str | Integral):
            classes = (classes,)
        if not isinstance(classes, Iterable):
            raise ConfigError(f"classes: must be names or numbers of classes (got {classes!r})")
        numbers: dict[str | int, int] = {i: i for i in range(len(self.names))}
        numbers |= {name: i for i, name in enumerate(self.names)}
        for name in classes:
            if not isinstance(name, str | Integral) or name not in numbers:
                hint = did_you_mean(str(name), self.names)
                raise ConfigError(f"classes: no class {name!r}{hint} (the model knows {', '.join(self.names)})")
        return [numbers[name] for name in classes]


_Opened = tuple[OpenPair, PairInput, float]
"""A pair, what it was given as, and the time in ms that reading its sizes took."""


def _grouped(
    loaded: LoadedDetector, inputs: Iterable[PairInput], options: Options, on_error: OnError | None
) -> Iterator[list[_Opened]]:
    """Yield up to ``batch`` consecutive pairs of one shape, as evaluation does: others would be padded more."""
    batch = 1 if options.get("tile") else options.get("batch") or BATCH
    group: list[_Opened] = []
    shape: tuple[int, int] | None = None
    for opened in _opened(loaded, inputs, options, on_error):
        if isinstance(opened, DataError):
            if group:
                yield group  # what was before damage stays
            raise opened
        this = rect_hw(opened[0][0].size_hw, loaded.config.val_imgsz, loaded.detector.stride)
        if group and this != shape:
            yield group
            group = []
        shape = this
        group.append(opened)
        if len(group) >= batch:  # before the next pair is asked for: it may be a while, or in the same memory
            yield group
            group = []
    if group:
        yield group


def _opened(
    loaded: LoadedDetector, inputs: Iterable[PairInput], options: Options, on_error: OnError | None
) -> Iterator[_Opened | DataError]:
    """Yield the pairs that can be opened, and at last the error that ends them, if one does."""
    try:
        for number, given in enumerate(inputs, start=1):
            started = time.perf_counter()
            try:
                opened = _open(loaded, number, given, options.get("pair_format"))
            except DataError as error:
                if on_error is None:
                    raise
                on_error(given, error)
                continue
            yield opened, given, 1000 * (time.perf_counter() - started)
    except DataError as error:
        yield error


def _open(loaded: LoadedDetector, number: int, given: PairInput, pair_format: PairFormat | None) -> OpenPair:
    if isinstance(given.pair, PairRecord):
        return given.pair, None
    return loaded.open_pair(number, given.pair, pair_format)
