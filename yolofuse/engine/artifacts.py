"""What a run leaves to look at: pictures of the first batches, curves, TensorBoard scalars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from yolofuse.engine.build import TrainContext, first_batches
from yolofuse.errors import ConfigError
from yolofuse.run.folder import RunFolder
from yolofuse.viz.curves import save_curves
from yolofuse.viz.pairs import save_batch_image

_PICTURED_BATCHES = 2

LogScalars = Callable[[Mapping[str, float | None], int], None]


def save_first_batches(context: TrainContext, folder: Path) -> None:
    """Draw the first batches of epoch 0, RGB and IR side by side, as the model will see them."""
    for number, batch in enumerate(first_batches(context, _PICTURED_BATCHES)):
        save_batch_image(batch, context.train_pairs.names, folder / f"train_batch{number}.jpg")


def save_run_curves(folder: RunFolder) -> None:
    """Draw losses and AP over the epochs."""
    save_curves(folder.results, folder.curves)


def open_tensorboard(wanted: bool, folder: Path) -> LogScalars:
    """A function that logs a row of results; does nothing unless wanted.

    Raises:
        ConfigError: If it is wanted but not installed.
    """
    if not wanted:
        return lambda row, epoch: None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "train.tensorboard: not installed; pip install 'yolofuse[loggers]', or set it to false"
        ) from error
    writer = SummaryWriter(str(folder / "tensorboard"))

    def log_row(row: Mapping[str, float | None], epoch: int) -> None:
        for name, value in row.items():
            if value is not None:
                writer.add_scalar(name, value, epoch)
        writer.flush()

    return log_row
