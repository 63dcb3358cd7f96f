"""The recipe: values for what the user did not give, and what a resumed run takes from the run it resumes."""

from __future__ import annotations

from typing import Any

import pytest

from yolofuse.config import Config
from yolofuse.config.load import plain_config, validate_config
from yolofuse.config.recipe import FINETUNE, adopt_resolved, resolve_optimizer, resolve_pool, resolve_recipe


def _config(train: dict[str, Any] | None = None, model: dict[str, Any] | None = None) -> Config:
    raw = {"data": {"descriptor": "x.yaml"}, "train": {"run": "r", **(train or {})}, "model": model or {}}
    return validate_config(raw, (), where="test")


def test_auto__is_finetune_where_the_head_knows_a_class() -> None:
    known, new = (resolve_recipe(_config(), knows_classes=value).train for value in (True, False))
    assert (known.recipe, known.score_start) == ("finetune", True)
    assert {name: getattr(known, name) for name in FINETUNE} == FINETUNE
    assert (new.recipe, new.score_start) == ("scratch", False)
    assert all(getattr(new, name) == getattr(_config().train, name) for name in FINETUNE)


def test_given__options_are_kept() -> None:
    train = resolve_recipe(_config({"lr0": 0.01, "score_start": False}), knows_classes=True).train
    assert (train.lr0, train.score_start, train.freeze_bn) == (0.01, False, True)
    train = resolve_recipe(_config({"recipe": "scratch"}), knows_classes=True).train
    assert (train.recipe, train.freeze_bn) == ("scratch", False)


def test_resolved__config_stays_as_it_is_when_read_again() -> None:
    resolved = resolve_recipe(_config(), knows_classes=True)
    again = validate_config(plain_config(resolved), (), where="test")
    assert resolve_recipe(again, knows_classes=False) == again


def test_resume__adopts_what_the_run_resolved() -> None:
    resolved = resolve_recipe(_config({"batch": -1}), knows_classes=True)
    head = {"head": "anchors", "anchors": (((8.0, 8.0),),), "branch_classes": None}
    loss = resolved.train.loss.model_copy(update={"box": 0.05})
    saved = resolved.model_copy(
        update={
            "train": resolved.train.model_copy(update={"batch": 24, "loss": loss}),
            "model": resolved.model.model_copy(update=head),
        }
    )
    assert plain_config(adopt_resolved(_config({"batch": -1}), saved)) == plain_config(saved)
    changed = adopt_resolved(_config({"batch": 8, "lr0": 0.5}), saved).train
    assert (changed.batch, changed.lr0, changed.ema_decay) == (8, 0.5, saved.train.ema_decay)


@pytest.mark.parametrize(
    ("train", "num_pairs", "expected"),
    [
        ({"recipe": "scratch", "epochs": 50}, 640, ("adamw", 0.001667, 0.9, 0.0)),
        ({"recipe": "scratch", "epochs": 50, "lr0": 0.003}, 640, ("adamw", 0.003, 0.9, 0.0)),
        ({"recipe": "scratch", "epochs": 1001}, 640, ("musgd", 0.01, 0.9, 0.0)),
        ({"recipe": "scratch", "epochs": 1000}, 640, ("adamw", 0.001667, 0.9, 0.0)),
        ({"recipe": "scratch", "epochs": 1001, "batch": 128}, 640, ("adamw", 0.001667, 0.9, 0.0)),
        ({"recipe": "finetune", "lr0": 0.002}, 640, ("sgd", 0.002, 0.937, 0.1)),
    ],
)
def test_optimizer__auto_follows_recipe_and_length(
    train: dict[str, Any], num_pairs: int, expected: tuple[object, ...]
) -> None:
    config = _config({"optimizer": "auto", **train})
    resolved = resolve_optimizer(config, num_classes=2, num_pairs=num_pairs)
    chosen = resolved.train
    assert (chosen.optimizer, chosen.lr0, chosen.momentum, chosen.warmup_bias_lr) == expected
    assert resolve_optimizer(resolved, num_classes=9, num_pairs=1) == resolved
    assert adopt_resolved(config, resolved).train == chosen


def test_optimizer__that_is_named_stays() -> None:
    config = _config({"recipe": "scratch"})
    assert resolve_optimizer(config, num_classes=2, num_pairs=10) == config


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ({}, 8),
        ({"batch": 10_000}, 1024),
        ({"augment": {"mosaic_pool": 0}}, 0),
        ({"augment": {"mosaic_pool": 3}}, 3),
        ({"augment": {"mosaic": 0.0}}, 0),
        ({"decode": "nvjpeg", "augment_on": "device"}, 0),
    ],
)
def test_pool__is_the_batch_of_a_process_unless_given(train: dict[str, Any], expected: int) -> None:
    config = _config({"batch": 16, **train})
    resolved = resolve_pool(config, 2)
    assert resolved.train.augment.mosaic_pool == expected
    assert adopt_resolved(config, resolved).train == resolved.train
