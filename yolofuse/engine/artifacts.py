"""Draw what a run shows before its first step."""

from __future__ import annotations

from pathlib import Path

from yolofuse.engine.build import TrainContext, first_batches
from yolofuse.viz.axes import drawing
from yolofuse.viz.pairs import save_batch_image

_DRAWN_BATCHES = 2


def save_first_batches(context: TrainContext, folder: Path) -> None:
    """Draw the first batches of epoch 0, RGB and IR side by side, as the model will read them."""
    for number, batch in enumerate(first_batches(context, _DRAWN_BATCHES)):
        path = folder / f"train_batch{number}.jpg"
        with drawing(path):
            save_batch_image(batch, context.train_pairs.names, path)
