"""Load a trained detector and use it as it is evaluated: files of pairs to a batch, a batch to boxes."""

from __future__ import annotations

import functools
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from yolofuse.backends import Backend, is_export, open_export
from yolofuse.batch import PairedBatch
from yolofuse.config import Config
from yolofuse.config.load import validate_config
from yolofuse.data import collate
from yolofuse.data.dataset import read_letterboxed, rect_hw
from yolofuse.data.images.decode import inspect_image, strict_decoding
from yolofuse.data.images.read_pair import PairImages, read_pair, to_bytes
from yolofuse.data.images.stacked import inspect_stacked
from yolofuse.data.index.pair_set import PairSet
from yolofuse.data.pair_formats import Overlay, changes_since_training, is_known_overlay, overlay_of
from yolofuse.distributed.ranks import pick_device
from yolofuse.engine.evaluate_split import AnyDetector, predict_batch
from yolofuse.engine.torch_defaults import as_started
from yolofuse.errors import ConfigError, DataError
from yolofuse.files import composed
from yolofuse.model import Detector, build_detector
from yolofuse.run.best_weights import own_best
from yolofuse.types import PAIR_FORMATS, ByteArray, Detections, Modality, PairFormat, PairRecord
from yolofuse.viz.pairs import draw_detections
from yolofuse.weights import load_checkpoint, load_state

log = logging.getLogger("yolofuse")

Image = str | PathLike[str] | np.ndarray | None
"""A file, an array as it would be read from one, or None: the camera has no image."""
PairFiles = tuple[Image, Image]
"""RGB image and IR image. Arrays are uint8 (H, W, 3), R G B, and (h, w) in the depth of the training images."""
OpenPair = tuple[PairRecord, PairImages | None]
"""A pair whose sizes are known, and those of its images that are arrays."""


@dataclass(frozen=True)
class LoadedDetector:
    """A trained detector with what it was trained with; the pixels and boxes of ``val_dual.py`` are its own.

    Attributes:
        detector: In eval mode; a :class:`Backend` if it is an exported one.
        config: Of the run; ``val`` has the limits of detection: ``conf``, ``iou``, ``max_det``, ``imgsz``.
        names: Class names, by class id.
        content: What the checkpoint or the export holds besides.
        formats: Rules by which the training pairs became arrays; one unless the data set has several sources, none if
            an older run with deep thermal images did not save them.
    """

    detector: AnyDetector
    config: Config
    names: tuple[str, ...]
    content: dict[str, Any]
    formats: tuple[PairFormat, ...] = (PairFormat(),)

    @property
    def model(self) -> Detector:
        """Return the detector as a model of torch.

        Raises:
            ConfigError: If it is an exported one.
        """
        if isinstance(self.detector, Backend):
            raise ConfigError(f"{self.detector.path}: is an exported file; give the run or a checkpoint")
        return self.detector

    def preprocess(self, pairs: Sequence[PairFiles], pair_format: PairFormat | None = None) -> PairedBatch:
        """Read pairs of image files as validation does: the model's input, on the CPU.

        Each pair is brought into the pixels of its frame, scaled so that the longest side is ``val.imgsz``, and padded
        with grey. Pairs that need canvases of unequal shape are padded to the square.

        Args:
            pairs: RGB and IR image of each, files or arrays; None for a camera that has none, which is black then.
            pair_format: Which image is the frame, how the other lies on it, thermal window and depth; by default
                that of the training data.

        Shapes:
            -> ``pixels``: uint8 or uint16 (B, 4, H, W), R G B IR; ``PairedBatch.to`` scales them to 0..1.

        Raises:
            ConfigError: If the training data had several formats and none is given.
            DataError: If there is no pair, a file can't be read or is damaged, or a pair has no image.
        """
        return self.collate([self.open_pair(number, pair, pair_format) for number, pair in enumerate(pairs, start=1)])

    @as_started()
    def collate(self, pairs: Sequence[OpenPair]) -> PairedBatch:
        """Read opened pairs into a batch, as :meth:`preprocess` does."""
        if not pairs:
            raise DataError("no pairs: give at least one (RGB, IR)")
        imgsz = self.config.val_imgsz
        shapes = {rect_hw(record.size_hw, imgsz, self.detector.stride) for record, _ in pairs}
        is_square = self.config.val.letterbox == "square" or len(shapes) > 1
        canvas_hw = (imgsz, imgsz) if is_square else shapes.pop()
        return collate([read_letterboxed(record, canvas_hw, images) for record, images in pairs])

    @as_started()
    def detect(self, batch: PairedBatch, classes: Collection[int] | None = None) -> list[Detections]:
        """Detect objects in a batch of :meth:`preprocess`; boxes are in the pixels of each pair's frame.

        Args:
            batch: The pairs.
            classes: Class ids to look for; None: all.
        """
        return predict_batch(self.detector, batch.to(self.detector.device), self.config, classes=classes)

    def draw(
        self,
        pair: PairFiles,
        detections: Detections,
        *,
        min_score: float = 0.25,
        pair_format: PairFormat | None = None,
    ) -> ByteArray:
        """Draw the detections of a pair, RGB beside IR, from a score on.

        Shapes:
            -> uint8 (h, w, 3), R G B, as ``PIL.Image.fromarray`` takes it.
        """
        record, images = self.open_pair(1, pair, pair_format)
        image = to_bytes(read_pair(record, images=images))
        return draw_detections(image, detections, self.names, min_score=min_score)[..., ::-1].copy()

    def open_pair(self, number: int, pair: PairFiles, pair_format: PairFormat | None = None) -> OpenPair:
        """Read the sizes of a pair's images and check them; arguments and errors as of :meth:`preprocess`."""
        is_given = pair_format is not None
        if pair_format is None:
            if len(self.formats) != 1:
                had = f"{len(self.formats)} formats" if self.formats else "a format that an older run did not save"
                raise ConfigError(f"the training pairs had {had}; give pair_format")
            (pair_format,) = self.formats
        try:
            rgb, ir = (image if image is None or isinstance(image, np.ndarray) else Path(image) for image in pair)
        except (TypeError, ValueError):
            raise DataError(
                f"pair {number}: a pair is (RGB, IR), each a path, an array or None, and preprocess takes a list of "
                "pairs"
            ) from None
        if rgb is None and ir is None:
            raise DataError(f"pair {number}: has neither an RGB nor an IR image")
        needs = self.config.model.streams
        if (needs == "rgb" and rgb is None) or (needs == "ir" and ir is None):
            raise DataError(f"pair {number}: the detector sees {needs.upper()} images alone; give {needs}")
        files = [None if isinstance(image, np.ndarray) else image for image in (rgb, ir)]
        is_one = needs != "both" and (rgb is None or ir is None)
        if pair_format.stacked and files[0] != files[1] and not is_one:
            advice = "give the same file as rgb and ir, or a pair_format"
            raise DataError(f"pair {number}: each training file held both images; {advice}")
        rgb_hw = None if rgb is None else _size_hw(rgb, "rgb", pair_format, f"pair {number}")
        ir_hw = None if ir is None else _size_hw(ir, "ir", pair_format, f"pair {number}")
        if files[0] and files[1] and not pair_format.stacked and files[0].samefile(files[1]):
            raise DataError(f"pair {number}: rgb and ir are one file, {files[0]}; each camera needs its own")
        if rgb_hw and ir_hw:
            known = None if is_given else tuple(map(tuple, self.content.get("overlays", ())))
            _check_overlay(rgb_hw, ir_hw, pair_format, known)
        either = files[0] or files[1]
        record = PairRecord(
            image_id=number,
            key=str(number) if either is None else either.stem,
            rgb=files[0] or either or Path(),
            ir=files[1] or either or Path(),
            label=None,
            rgb_hw=rgb_hw or ir_hw or (0, 0),
            ir_hw=ir_hw or rgb_hw or (0, 0),
            format=pair_format,
            tags={},
            missing="rgb" if rgb is None else "ir" if ir is None else None,
        )
        arrays = [image if isinstance(image, np.ndarray) else None for image in (rgb, ir)]
        return record, None if all(array is None for array in arrays) else PairImages(*arrays)


@functools.lru_cache(256)  # each combination is told once
def _check_overlay(
    rgb_hw: tuple[int, int], ir_hw: tuple[int, int], pair_format: PairFormat, known: tuple[Overlay, ...] | None
) -> None:
    """Warn if one image is laid over the other as in no pair of training; ``known`` are those, None if it is wanted.

    Raises:
        DataError: If an affine map can't be inverted, or is for images of other sizes.
    """
    sizes = f"rgb is {rgb_hw[1]}x{rgb_hw[0]}, ir {ir_hw[1]}x{ir_hw[0]}"
    overlay = overlay_of(rgb_hw, ir_hw, pair_format)
    if pair_format.affine is not None:
        a, b, _, d, e, _ = pair_format.affine
        if a * e == b * d:
            raise DataError(f"pair_format.affine: {pair_format.affine} can't be inverted")
        if known and not is_known_overlay(overlay, known):
            rgb_h, rgb_w, ir_h, ir_w = map(int, known[0])
            text = f"{sizes}, but the affine map of training is for {rgb_w}x{rgb_h} and {ir_w}x{ir_h}"
            raise DataError(f"{text}; describe these pairs in a data set's YAML, or give pair_format")
    elif known is not None and not is_known_overlay(overlay, known or ((overlay[1], overlay[1]),)):
        stretched, frame = ("ir", "rgb") if pair_format.frame == "rgb" else ("rgb", "ir")
        in_training = "as in no pair of training" if known else "was it so in training?"
        log.warning("warning: %s: %s is stretched over %s; %s", sizes, stretched, frame, in_training)


def _size_hw(image: Path | np.ndarray, modality: Modality, pair_format: PairFormat, where: str) -> tuple[int, int]:
    """Return height and width of an image, if it has the depth that the format expects."""
    if isinstance(image, np.ndarray):
        height, width, bits = _inspect_array(image, modality, where)
        name = f"{where}: the {modality} array"
    else:
        if not image.is_file():  # a pipe would be waited for
            raise DataError(f"{image}: no such file")
        read = inspect_stacked(image) if pair_format.stacked else None
        with strict_decoding():  # of a damaged PNG, decoding itself tells
            is_silent = image.suffix.lower() != ".png"
            read = read or inspect_image(image, verify=is_silent, orientation=pair_format.orientation)
        height, width, bits, _ = read
        name = str(image)
    is_deep = modality == "ir" and pair_format.bits > 8
    if (bits > 8) != is_deep:
        expected = "16 or more" if is_deep else "8"
        raise DataError(
            f"{name}: has {bits} bits per channel where the training images had {expected}; convert it, or give "
            "another pair_format"
        )
    return height, width


def _inspect_array(image: np.ndarray, modality: Modality, where: str) -> tuple[int, int, int]:
    """Return height, width and bits per channel of an image in memory.

    Raises:
        DataError: If it is of another shape or type than such an image.
    """
    expected = "uint8 (H, W, 3), R G B" if modality == "rgb" else "uint8, uint16 or float32 (H, W)"
    types = (np.uint8,) if modality == "rgb" else (np.uint8, np.uint16, np.float32)
    has_shape = image.ndim == 2 if modality == "ir" else image.ndim == 3 and image.shape[2] == 3
    if not has_shape or image.dtype not in types or not image.size:
        raise DataError(f"{where}: the {modality} array must be {expected} (found {image.dtype} {image.shape})")
    return image.shape[0], image.shape[1], 8 * image.dtype.itemsize


def load_detector(
    source: Path, overrides: Sequence[str] = (), device: str = "cpu", *, trust: bool = False
) -> LoadedDetector:
    """Load the detector of a run (its best weights), a checkpoint or an export, with its EMA weights, in eval mode.

    Args:
        source: A run's folder, a checkpoint of yolofuse, or a file that ``yolofuse export`` has written.
        overrides: Changes of its config, such as ``val.conf=0.25``.
        device: ``cpu``, ``cuda:0``, ... or ``auto``; an exported detector runs where its runtime does.
        trust: Load exported files that are programs too; see :func:`open_export`.

    Raises:
        ConfigError: If an override changes the model.
        RunError: If the folder is no run, or has no best weights yet.
        WeightsError: If the checkpoint is missing, damaged or not one of yolofuse.
    """
    weights = own_best(source) if source.is_dir() else source
    _refuse_other_model(overrides)
    if not source.is_dir() and is_export(weights):
        return _load_export(open_export(weights, trust=trust), overrides)
    content = load_checkpoint(weights, needs=("config", "names", "ema", "epoch", "data_hash"))
    config = validate_config(content["config"], overrides, where=str(weights))
    names = tuple(map(composed, content["names"]))
    detector = build_detector(config.model, num_classes=len(names), seed=config.train.seed)
    load_state(detector, content["ema"], weights)
    formats = PAIR_FORMATS.validate_python(content.get("formats") or ([] if content.get("ir_windows") else [{}]))
    return LoadedDetector(detector.eval().to(pick_device(device)), config, names, content, formats)


def _refuse_other_model(overrides: Sequence[str]) -> None:
    fixed = {"model", "weights", "init"}
    touched = [word for word in overrides if word.split(".")[0] in fixed and not word.startswith("model.merge=")]
    if touched:
        raise ConfigError(
            f"{' '.join(touched)}: the model is fixed by the checkpoint; only model.merge can be changed here"
        )


def _load_export(backend: Backend, overrides: Sequence[str]) -> LoadedDetector:
    """Combine an exported detector with the config inside the file, whose limits are those of the NMS inside."""
    metadata = backend.metadata
    raw = dict(metadata.config)
    if metadata.nms is not None:
        raw["val"] = {**raw.get("val", {}), **metadata.nms.model_dump()}
    config = validate_config(raw, [*overrides, f"train.device={backend.device}"], where=f"config inside {backend.path}")
    if config.val_imgsz % backend.stride:
        raise ConfigError(f"val.imgsz: must be a multiple of {backend.stride} (got {config.val_imgsz})")
    content = {
        "config": metadata.config,
        "epoch": metadata.epoch,
        "data_hash": metadata.data_hash,
        "ir_windows": metadata.ir_windows,
        "overlays": metadata.overlays,
        "formats": metadata.formats,
    }
    return LoadedDetector(backend, config, metadata.names, content, metadata.formats)


def warn_of_other_reading(loaded: LoadedDetector, pairs: PairSet, where: str) -> None:
    """Warn if pairs become pixels by other rules than those of training, as after an edit of ``ir_window``."""
    trained = loaded.formats if loaded.content.get("formats") else pairs.formats  # an older run did not save them
    if changes := [*changes_since_training(trained, pairs.formats)]:
        log.warning("warning: %s: read otherwise than the training images: %s", where, "; ".join(changes))
