"""Write a run's images and scalars: first batches, TensorBoard scalars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from yolofuse.engine.build import TrainContext, first_batches
from yolofuse.errors import ConfigError
from yolofuse.viz.pairs import save_batch_image

_DRAWN_BATCHES = 2

LogScalars = Callable[[Mapping[str, float | None], int], None]


def save_first_batches(context: TrainContext, folder: Path) -> None:
    """Draw the first batches of epoch 0, RGB and IR side by side, as the model will read them."""
    for number, batch in enumerate(first_batches(context, _DRAWN_BATCHES)):
        save_batch_image(batch, context.train_pairs.names, folder / f"train_batch{number}.jpg")


def open_tensorboard(is_enabled: bool, folder: Path) -> LogScalars:
    """Return a function that logs a row of results to TensorBoard; it does nothing unless ``is_enabled``.

    Raises:
        ConfigError: If it is enabled but not installed.
    """
    if not is_enabled:
        return lambda row, epoch: None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError("train.tensorboard: not installed; pip install tensorboard, or set it to false") from error
    writer = SummaryWriter(str(folder / "tensorboard"))

    def log_row(row: Mapping[str, float | None], epoch: int) -> None:
        for name, value in row.items():
            if value is not None:
                writer.add_scalar(name, value, epoch)
        writer.flush()

    return log_row
