"""Check names and files of a config before torch is loaded and before any data is read: most mistakes are there."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

from yolofuse.base_models import resolve_base
from yolofuse.config import Config
from yolofuse.config.field_types import part_name, part_options
from yolofuse.config.parts import check_name
from yolofuse.data.augment.extra import AUGMENTATIONS
from yolofuse.data.descriptor.load import configured_descriptor
from yolofuse.data.descriptor.source import DatasetDescriptor
from yolofuse.engine.loggers import check_loggers
from yolofuse.engine.loss_terms import LOSS_TERMS
from yolofuse.errors import ConfigError, WeightsError
from yolofuse.eval.extra_metrics import METRICS
from yolofuse.nn.registries import FUSIONS, HEADS, OWN_HEADS


def check_early(config: Config) -> None:
    """Check a config's names, and that its files are there, before a run is started.

    Raises:
        ConfigError: As of :func:`check_names`, or if the run's folder lies among the images.
        DataError: If the descriptor is wrong, or names folders that are not there.
        WeightsError: As of :func:`check_weights`.
    """
    check_names(config)
    if part_options(config.model.fusion):
        from yolofuse.model import check_fusion  # loads torch: options are those of the block's constructor

        check_fusion(config.model)
    check_weights(config)
    _check_place(config.run_dir.absolute(), configured_descriptor(config.data))


def _check_place(run: Path, descriptor: DatasetDescriptor) -> None:
    """Refuse a run's folder inside a folder of images, among which the run's own would be counted."""
    for source in chain.from_iterable(descriptor.splits.values()):
        inside = [folder for folder in (source.rgb, source.ir, source.labels) if folder and run.is_relative_to(folder)]
        if inside:
            raise ConfigError(f"train.run: {run} lies in {inside[0]}, a folder of the data set; name one elsewhere")


def check_names(config: Config) -> None:
    """Check what a config names of the program.

    Raises:
        ConfigError: If there is no such part, it does not go with another option, or needs a package that is missing.
    """
    train, model = config.train, config.model
    resolve_base(model.base)
    check_name("model.fusion", part_name(model.fusion), FUSIONS)
    check_name("model.head", model.head, [*OWN_HEADS, *HEADS])
    for option, parts, known in (
        ("train.augment.extra", train.augment.extra, AUGMENTATIONS),
        ("train.loss.extra", train.loss.extra, LOSS_TERMS),
        ("val.metrics", config.val.metrics, METRICS),
    ):
        for part in parts:
            check_name(option, part_name(part), known)
    if train.augment_on == "device":
        for name in ("extra", "perspective", "mixup", "cutmix"):
            if getattr(train.augment, name):
                raise ConfigError(f"train.augment.{name}: runs in the loader; use train.augment_on: loader")
    check_loggers(config)


def check_weights(config: Config) -> None:
    """Check that the files of weights that a config names are there.

    Raises:
        WeightsError: If one is not, or its path can't be one.
    """
    weights = config.weights
    files = {"pretrained": weights.pretrained, "name_map": weights.name_map}
    if weights.trunk not in {"rgb", "ir"}:
        files["trunk"] = weights.trunk
    if config.model.streams == "both" and config.model.cut != "input":
        files |= {"rgb": weights.rgb, "ir": weights.ir}  # for other models that option is what is wrong
    for name, file in files.items():
        if file is None:
            continue
        try:
            Path(file).stat()
        except (OSError, ValueError) as error:  # a NUL in a path is a ValueError
            why = "no such weights file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
            raise WeightsError(f"weights.{name}: {str(file)[:300]}: {why}; check the path") from None
