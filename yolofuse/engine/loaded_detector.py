"""Load a trained detector and use it as it is evaluated: files of pairs to a batch, a batch to boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from yolofuse.backends import Backend, is_export, open_export
from yolofuse.batch import PairedBatch
from yolofuse.config import Config
from yolofuse.config.load import validate_config
from yolofuse.data import collate
from yolofuse.data.dataset import read_letterboxed, rect_hw
from yolofuse.data.images.decode import inspect_image
from yolofuse.data.images.read_pair import read_pair, to_bytes
from yolofuse.data.images.stacked import inspect_stacked
from yolofuse.distributed.ranks import pick_device
from yolofuse.engine.evaluate_split import AnyDetector, predict_batch
from yolofuse.errors import ConfigError, DataError, WeightsError
from yolofuse.model import Detector, build_detector
from yolofuse.run.folder import RunFolder
from yolofuse.types import ByteArray, Detections, Modality, PairFormat, PairRecord
from yolofuse.viz.pairs import draw_detections
from yolofuse.weights import load_checkpoint, load_state

PairFiles = tuple[str | PathLike[str] | None, str | PathLike[str] | None]
"""RGB file and IR file; None for a camera without an image."""
_FORMATS = TypeAdapter(tuple[PairFormat, ...])


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
            pairs: RGB file and IR file of each; None for the image of a camera that has none, which is black then.
            pair_format: Which image is the frame, how the other lies on it, thermal window and depth; by default
                that of the training data.

        Shapes:
            -> ``pixels``: uint8 or uint16 (B, 4, H, W), R G B IR; ``PairedBatch.to`` scales them to 0..1.

        Raises:
            ConfigError: If the training data had several formats and none is given.
            DataError: If a file can't be read, or a pair has no image.
        """
        records = [self._record(number, pair, pair_format) for number, pair in enumerate(pairs, start=1)]
        imgsz = self.config.val_imgsz
        shapes = {rect_hw(record.size_hw, imgsz, self.detector.stride) for record in records}
        is_square = self.config.val.letterbox == "square" or len(shapes) > 1
        canvas_hw = (imgsz, imgsz) if is_square else shapes.pop()
        return collate([read_letterboxed(record, canvas_hw) for record in records])

    def detect(self, batch: PairedBatch) -> list[Detections]:
        """Detect objects in a batch of :meth:`preprocess`; boxes are in the pixels of each pair's frame."""
        return predict_batch(self.detector, batch.to(self.detector.device), self.config)

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
        image = to_bytes(read_pair(self._record(1, pair, pair_format)))
        return draw_detections(image, detections, self.names, min_score=min_score)[..., ::-1].copy()

    def _record(self, number: int, pair: PairFiles, pair_format: PairFormat | None) -> PairRecord:
        if pair_format is None:
            if len(self.formats) != 1:
                had = f"{len(self.formats)} formats" if self.formats else "a format that an older run did not save"
                raise ConfigError(f"the training pairs had {had}; give pair_format")
            (pair_format,) = self.formats
        try:
            rgb, ir = (None if file is None else Path(file) for file in pair)
        except (TypeError, ValueError):
            raise DataError(
                f"pair {number}: a pair is (RGB file, IR file), paths or None, and preprocess takes a list of pairs"
            ) from None
        known = rgb or ir
        if known is None:
            raise DataError(f"pair {number}: has neither an RGB nor an IR file")
        if pair_format.stacked and None not in (rgb, ir) and rgb != ir:
            raise DataError(f"pair {number}: each training file held both images; give (file, file), or a pair_format")
        return PairRecord(
            image_id=number,
            key=known.stem,
            rgb=rgb or known,
            ir=ir or known,
            label=None,
            rgb_hw=_size_hw(rgb or known, "rgb" if rgb else "ir", pair_format),
            ir_hw=_size_hw(ir or known, "ir" if ir else "rgb", pair_format),
            format=pair_format,
            tags={},
            missing="rgb" if rgb is None else "ir" if ir is None else None,
        )


def _size_hw(file: Path, modality: Modality, pair_format: PairFormat) -> tuple[int, int]:
    """Return height and width of an image, if it has the depth that the format expects."""
    if not file.is_file():  # a pipe would be waited for
        raise DataError(f"{file}: no such file")
    if pair_format.stacked:
        info = inspect_stacked(file)
    else:
        info = inspect_image(file, verify=False, orientation=pair_format.orientation)
    is_deep = modality == "ir" and pair_format.bits > 8
    if (info.bits > 8) != is_deep:
        expected = "16 or more" if is_deep else "8"
        raise DataError(
            f"{file}: has {info.bits} bits per channel where the training images had {expected}; convert it, or give "
            "another pair_format"
        )
    return info.height, info.width


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
    weights = RunFolder(source).find_best() if source.is_dir() else source
    _refuse_other_model(overrides)
    if not source.is_dir() and is_export(weights):
        return _load_export(open_export(weights, trust=trust), overrides)
    content = load_checkpoint(weights, needs=("config", "names", "ema", "epoch", "data_hash"))
    config = validate_config(content["config"], overrides, where=str(weights))
    names = tuple(content["names"])
    detector = build_detector(config.model, num_classes=len(names), seed=config.train.seed)
    load_state(detector, content["ema"], weights)
    try:
        formats = _FORMATS.validate_python(content.get("formats") or ([] if content.get("ir_windows") else [{}]))
    except ValidationError as error:
        raise WeightsError(f"{weights}: the formats of its pairs can't be read ({error.errors()[0]['msg']})") from None
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
    }
    return LoadedDetector(backend, config, metadata.names, content, metadata.formats)
