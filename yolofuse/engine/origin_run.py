"""Compare what is evaluated with the run that its weights come from, and name the report by what differs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from yolofuse.backends import Backend
from yolofuse.config import Config
from yolofuse.config.load import validate_config
from yolofuse.config.schema import DataConfig
from yolofuse.data import PairSet
from yolofuse.data.index.pair_set import Windows
from yolofuse.data.pair_formats import changes_since_training
from yolofuse.engine.dataloaders import windows_in
from yolofuse.engine.loaded_detector import LoadedDetector
from yolofuse.run.folder import RunFolder
from yolofuse.types import PAIR_FORMATS
from yolofuse.weights.sources import Source

log = logging.getLogger("yolofuse")

OTHER_DATA = "data set"
"""What :func:`difference_to_run` says of another descriptor or root."""


def _run_dir(weights: Path) -> Path:
    """Return the run's folder, or the folder of a checkpoint that was moved out of its run."""
    return weights.parent.parent if weights.parent.name == "weights" else weights.parent


def name_config(weights: Path) -> str:
    """Name the run's config.yaml; a checkpoint that was moved out of its run holds the config itself."""
    file = RunFolder(_run_dir(weights)).config
    return str(file) if file.is_file() else f"inside {weights}"


def trained_on(loaded: LoadedDetector) -> DataConfig:
    """Return which data a detector was trained on."""
    return validate_config(loaded.content["config"], where="the weights").data


def difference_to_run(loaded: LoadedDetector, split: str, pairs: PairSet) -> str:
    """Return in what a split is not that of the run: its descriptor or root, its labels or its images; else "".

    Images count as other ones if they are read otherwise, for example by another ``ir_window``.
    """
    trained, data = trained_on(loaded), loaded.config.data
    if (data.descriptor, data.root) != (trained.descriptor, trained.root):
        return OTHER_DATA
    content = loaded.content
    hashes = content.get("data_hashes", {})
    train_formats, val_formats = (
        PAIR_FORMATS.validate_python(content.get(key, ())) for key in ("formats", "val_formats")
    )
    known = {
        trained.train_split: (content["data_hash"], hashes.get("training images"), train_formats),
        trained.val_split: (hashes.get("validation split"), hashes.get("validation images"), val_formats),
    }
    before, now = known.get(split, ()), (pairs.fingerprint, pairs.content_hash, pairs.formats)
    if before and before[1] and not pairs.content_hash:
        text = "its images can't be compared with those of the run, since data.verify is off"
        log.warning("warning: %s [%s]: %s", data.descriptor, split, text)
    compared = zip(("pairs or labels", "images", "reading of the images"), before, now, strict=False)
    return ", ".join(what for what, one, other in compared if one and other and one != other)


def trained_windows(loaded: LoadedDetector, descriptor: str | Path) -> Windows:
    """Return the thermal windows used in training, also for its data set at another root; none for another one."""
    is_own = Path(descriptor).resolve() == Path(trained_on(loaded).descriptor).resolve()
    return windows_in(loaded.content) if is_own else {}


def warn_of_other_origin(config: Config, sources: Mapping[str, Source], split: str, pairs: PairSet) -> None:
    """Warn if pairs become pixels by other rules than those on which the weights of a start were trained.

    Args:
        config: Of the run that starts.
        sources: The source of each part of its model.
        split: Name of the pairs that are trained on or evaluated.
        pairs: Those.
    """
    where = f"{config.data.descriptor} [{split}]"
    for source in {source.path: source for source in sources.values()}.values():
        parts = {part for part, each in sources.items() if each.path == source.path}
        sees_ir = config.model.streams != "rgb" and parts != {"rgb"}
        trained, now = (
            [pair_format if sees_ir else replace(pair_format, ir_window=None) for pair_format in formats]
            for formats in (source.formats, pairs.formats)
        )
        if trained and (changes := [*changes_since_training(trained, now)]):
            whose = f"the images that {source.path} was trained on"
            log.warning("warning: %s: read otherwise than %s: %s", where, whose, "; ".join(changes))


def report_folder(weights: Path, split: str, loaded: LoadedDetector, *, is_foreign: bool) -> Path:
    """Return the folder for the report in the run's folder.

    It is named after the data set if that is not the run's own, and after the file if that is not its best weights.
    """
    data, name = loaded.config.data, f"eval-{split}"
    if is_foreign:
        descriptor = Path(data.descriptor)
        name = f"eval-{Path(data.root or descriptor.parent).name}-{descriptor.stem}-{split}"
    run = RunFolder(_run_dir(weights))
    if isinstance(loaded.detector, Backend):
        name += f"-{weights.stem}-{weights.suffix[1:]}"
    elif weights.name != run.best.name:
        name += f"-{weights.stem}"
    return run.path / name
