"""Check before the first step that every BatchNorm gets more than one value per channel."""

from __future__ import annotations

import copy

import torch

from yolofuse.config import Config
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine.optim import freeze_batchnorm_statistics
from yolofuse.errors import ConfigError, plural
from yolofuse.model import Detector


def check_norms(config: Config, detector: Detector, ranks: Ranks) -> None:
    """Refuse a batch of one pair whose smallest map is one value per channel, of which BatchNorm has no variance.

    Every batch is full, so that it is so in each step or in none; only ``multi_scale`` has smaller images.

    Raises:
        ConfigError: Naming the batch and the image size that do.
    """
    train = config.train
    if train.batch > ranks.world or (train.sync_bn and ranks.world > 1):
        return
    smallest = max(round(train.imgsz * (1 - train.multi_scale) / detector.stride), 1) * detector.stride
    meta = copy.deepcopy(detector).to("meta").train()
    freeze_batchnorm_statistics(meta, everywhere=train.freeze_bn)
    rgb, ir = (torch.zeros(1, channels, smallest, smallest, device="meta") for channels in (3, 1))
    try:
        with torch.no_grad():
            meta(rgb, ir)
    except ValueError as error:
        larger = "no train.multi_scale" if smallest < train.imgsz else f"train.imgsz={2 * train.imgsz}"
        raise ConfigError(
            f"train.batch: with {plural(train.batch, 'pair')} on {plural(ranks.world, 'rank')}, BatchNorm gets a "
            f"single value per channel at {smallest} px ({error}); use train.batch={2 * ranks.world}, or {larger}"
        ) from error
