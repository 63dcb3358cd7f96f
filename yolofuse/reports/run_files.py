"""Read what a report of a run shows: its files, its evaluation, and, if they are there, its data and its detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from yolofuse.config import Config
from yolofuse.data import PairSet
from yolofuse.data.pair_formats import unusual_rules
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine.dataloaders import load_split
from yolofuse.engine.evaluate_checkpoint import evaluate_run
from yolofuse.engine.loaded_detector import LoadedDetector, load_detector
from yolofuse.errors import DataError, RunError
from yolofuse.eval.operating_point import OperatingPoints, operating_points
from yolofuse.eval.report import (
    DAMAGED,
    EvalReport,
    evaluation_warnings,
    find_evaluation,
    read_predictions,
    read_report,
)
from yolofuse.run.folder import RunFolder
from yolofuse.types import Detections, Modality, PairFormat

_DEFAULT_CONFIDENCE = 0.25
CPU = Ranks(0, 1, torch.device("cpu"))


class RunFiles:
    """What is known of one run; each part is read when it is first asked for, and raises if it is not there.

    Args:
        run: Folder of the run, or of an evaluation in it.
        data: Descriptor of the data set, where it has moved.
        split: Name of the split; by default the config's validation split.
    """

    def __init__(self, run: Path, *, data: Path | None = None, split: str | None = None) -> None:
        is_evaluation = (run / "predictions.json").is_file() and not (run / "config.yaml").exists()
        self.path = run
        self.folder = RunFolder(run.parent if is_evaluation else run)
        self.name = run.resolve().name if not is_evaluation else f"{run.resolve().parent.name}/{run.name}"
        self._given = run if is_evaluation else None
        self._split = split
        self._overrides = [] if data is None else [f"data.descriptor={data}", "data.root=null"]

    @cached_property
    def config(self) -> Config:
        """The run's config."""
        return self.folder.load_config(self._overrides)

    @property
    def split(self) -> str:
        """Name of the evaluated split."""
        if self._split is None and self._given is not None:
            return str(read_report(self._given).settings.get("split") or self.config.data.val_split)
        return self._split or self.config.data.val_split

    @property
    def evaluation(self) -> Path:
        """Folder of the evaluation."""
        return self._given or find_evaluation(self.folder.path, self.split)

    def evaluate_if_needed(self, blank: Sequence[Modality]) -> None:
        """Evaluate the best weights if that was not done yet."""
        try:
            self.evaluation  # noqa: B018 - raises if there is none
        except DataError:
            folder = self.folder.path / f"eval-{self.split}"
            if folder.is_symlink():  # in a run that somebody sent
                raise RunError(f"{folder}: a link out of the run; remove it") from None
            words = [*self._overrides, f"val.blank=[{','.join(blank)}]"]
            evaluate_run(self.folder.path, words, split=self.split, out=folder)

    @cached_property
    def report(self) -> EvalReport:
        """The metrics, as ``report.json`` has them."""
        return read_report(self.evaluation)

    @property
    def evaluation_warnings(self) -> list[str]:
        """Say if the evaluation is not one of the best weights by the run's own config."""
        return evaluation_warnings(self.evaluation)

    @cached_property
    def coco(self) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Labels and predictions."""
        return read_predictions(self.evaluation)

    @cached_property
    def points(self) -> OperatingPoints:
        """Precision and recall over the score, best F1, confusions."""
        try:
            return operating_points(*self.coco)
        except DAMAGED as error:
            raise DataError(f"{self.evaluation}: damaged predictions ({error!r}); write them again") from error

    @property
    def confidence(self) -> float:
        """The score with the best mean F1; 0.25 where nothing was found at all."""
        mean = self.points.mean
        return mean.confidence if mean is not None and mean.f1 > 0 else _DEFAULT_CONFIDENCE

    @cached_property
    def pairs(self) -> PairSet:
        """The evaluated split, with its images: the same labels, read in the same way.

        Raises:
            DataError: If it is gone, or not what was evaluated.
        """
        self.points  # noqa: B018 - raises if labels or predictions are damaged
        images = [(image["id"], image.get("file_name")) for image in self.coco[0]["images"]]
        pairs, settings = self.val_pairs, self.report.settings
        now = {"data_hash": pairs.fingerprint, **asdict(PairFormat()), **unusual_rules(pairs.formats)}
        is_other = any(settings[name] != now[name] for name in settings.keys() & now)
        if is_other or images != [(record.image_id, record.frame_name) for record in pairs.records]:
            raise DataError(
                f"{self.config.data.descriptor} [{self.split}]: not the pairs and labels that were evaluated"
            )
        return pairs

    @cached_property
    def val_pairs(self) -> PairSet:
        """The split as it is now."""
        return load_split(self.config, self.split, CPU, self.train_pairs.ir_windows)

    @cached_property
    def train_pairs(self) -> PairSet:
        """The training split."""
        return load_split(self.config, self.config.data.train_split, CPU)

    @cached_property
    def detections(self) -> dict[int, Detections]:
        """What was found in each pair, by image id."""
        from yolofuse.reports.outcomes import detections_by_image

        return detections_by_image(self.coco[1])

    @cached_property
    def detector(self) -> LoadedDetector:
        """The best weights."""
        if not self.folder.config.exists():
            raise RunError(f"{self.folder.path}: no run here, so no detector")
        return load_detector(self.folder.path, self._overrides)
