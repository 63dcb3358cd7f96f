"""Fill in the training options that depend on whether the head of the weights came along."""

from __future__ import annotations

import math
from typing import Any, Literal

from yolofuse.config.schema import Config
from yolofuse.config.train_parts_schema import MAX_POOL

RecipeName = Literal["finetune", "scratch"]

FINETUNE: dict[str, Any] = {
    "lr0": 0.002,
    "nominal_batch": 16,
    "warmup_epochs": 1.0,
    "warmup_bias_lr": 0.0,
    "ema_decay": 0.99,
    "ema_tau": 1.0,
    "keep_start": 0.3,
    "close_mosaic": 2,
    "freeze_bn": True,
}
"""Options of ``train.recipe: finetune``; those of ``scratch`` are the schema's defaults."""


_LONG = 10_000  # updates
_OF_OPTIMIZER = {"lr0", "momentum", "warmup_bias_lr"}  # what ``train.optimizer: auto`` sets besides


def adopt_resolved(config: Config, saved: Config) -> Config:
    """Return a config in which what a run resolved when it started stands for ``auto``, -1 and None.

    Args:
        config: As the user gives it on a resume.
        saved: The run's own.
    """
    train, model = config.train, config.model
    adopted: dict[str, Any] = {}
    if train.batch < 0:
        adopted["batch"] = saved.train.batch
    if train.recipe == "auto":
        unset = set(FINETUNE) - train.model_fields_set if saved.train.recipe == "finetune" else set()
        adopted |= {name: getattr(saved.train, name) for name in ("recipe", *sorted(unset))}
    if train.score_start == "auto":
        adopted["score_start"] = saved.train.score_start
    if train.optimizer == "auto":
        names = ("optimizer", *sorted(_OF_OPTIMIZER - train.model_fields_set))
        adopted |= {name: getattr(saved.train, name) for name in names}
    if train.cache == "auto" and "mosaic_pool" not in train.augment.model_fields_set:
        pool = saved.train.augment.mosaic_pool
        adopted["augment"] = train.augment.model_copy(update={"mosaic_pool": pool})
    if train.loss.box is None:
        adopted["loss"] = train.loss.model_copy(update={"box": saved.train.loss.box})
    of_head = ("head", "anchors", "branch_classes", "kept_classes") if model.head == "auto" else ()
    head = {name: getattr(saved.model, name) for name in of_head if name not in model.model_fields_set - {"head"}}
    if model.anchors == "fit":
        head["anchors"] = saved.model.anchors
    return config.model_copy(update={"train": train.model_copy(update=adopted), "model": model.model_copy(update=head)})


def resolve_recipe(config: Config, *, knows_classes: bool) -> Config:
    """Return the config with its recipe, and the recipe's value for every option that the user did not set.

    Args:
        config: The run.
        knows_classes: Whether the weights' head scores a class of the data set.
    """
    train = config.train
    automatic: RecipeName = "finetune" if knows_classes else "scratch"
    name = automatic if train.recipe == "auto" else train.recipe
    values: dict[str, Any] = {"recipe": name}
    if name == "finetune":
        values |= {key: value for key, value in FINETUNE.items() if key not in train.model_fields_set}
    if train.score_start == "auto":
        values["score_start"] = knows_classes
    return config.model_copy(update={"train": train.model_copy(update=values)})


def resolve_pool(config: Config, world: int) -> Config:
    """Return the config of a run of ``world`` processes without a cache, with a mosaic pool unless the user set one."""
    augment = config.train.augment
    if "mosaic_pool" in augment.model_fields_set or not augment.mosaic or config.train.decode == "nvjpeg":
        return config
    augment = augment.model_copy(update={"mosaic_pool": min(config.train.batch // world, MAX_POOL)})
    return config.model_copy(update={"train": config.train.model_copy(update={"augment": augment})})


def resolve_optimizer(config: Config, *, num_classes: int, num_pairs: int) -> Config:
    """Return the config with an optimizer where it is ``auto``, and its values for options that the user did not set.

    Args:
        config: The run, with its recipe resolved.
        num_classes: Number of classes of the data set.
        num_pairs: Number of training pairs.

    Reference:
        The rule is that of ultralytics' ``optimizer=auto``; from the weights' head our recipe has its own values.
    """
    train = config.train
    if train.optimizer != "auto":
        return config
    values: dict[str, Any] = {"optimizer": "sgd"}
    if train.recipe == "scratch":
        is_long = math.ceil(num_pairs / max(train.batch, train.nominal_batch)) * train.epochs > _LONG
        rate = 0.01 if is_long else round(0.01 / (4 + num_classes), 6)
        values = {"lr0": rate, "momentum": 0.9, "warmup_bias_lr": 0.0}
        values = {name: value for name, value in values.items() if name not in train.model_fields_set}
        values["optimizer"] = "musgd" if is_long else "adamw"
    return config.model_copy(update={"train": train.model_copy(update=values)})
