"""Check that a run resumes with the config, data and code that it was started with."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

import yolofuse
from yolofuse import upstream
from yolofuse.config import Config
from yolofuse.config.load import flat_options, validate_config
from yolofuse.errors import ConfigError, RunError, listing

_MAY_CHANGE = (
    "data.descriptor",
    "data.root",
    "data.workers",
    "data.cache_dir",
    "data.verify",
    "train.run",
    "train.device",
    "train.cache",
    "train.save_every",
    "train.save_minutes",
    "train.keep",
    "train.nan_rollbacks",
    "train.watchdog_minutes",
    "train.check_ranks_every",
    "train.profile_steps",
    "train.monitor_steps",
    "train.loggers",
    "train.tensorboard",
    "val.backend",
)
"""Options that say where and how a run is computed, not what: they may differ when it resumes."""


@lru_cache(maxsize=1)
def code_fingerprint() -> dict[str, str]:
    """Return the versions of the libraries and a hash of this package's source."""
    digest = hashlib.sha256()
    package = Path(yolofuse.__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return {
        "yolofuse source": digest.hexdigest()[:16],
        "torch": str(torch.__version__),
        "ultralytics": upstream.version,
        "python": ".".join(platform.python_version_tuple()[:2]),
    }


def config_changes(saved: Config, config: Config) -> list[str]:
    """Return the options that differ and change what a run computes, each with both values."""
    before, after = flat_options(saved), flat_options(config)
    return [
        f"{key}: {before.get(key)} when it was saved, {after.get(key)} now"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and key not in _MAY_CHANGE
    ]


def data_changes(content: Mapping[str, Any], data_hash: str) -> list[str]:
    """Return a line if the training data is other than that of a checkpoint."""
    if content["data_hash"] == data_hash:
        return []
    return ["the training data changed: other images, labels or classes than when the run started"]


def check_resumable(
    path: Path, content: Mapping[str, Any], config: Config, data_hash: str, *, force: bool = False
) -> list[str]:
    """Compare config, data and code with those of the checkpoint ``path``; return the differences.

    Raises:
        RunError: If config, data or code changed, without ``force``.
    """
    changes = config_changes(validate_config(content["config"], where=str(path)), config)
    changes += data_changes(content, data_hash)
    known, now = content.get("code", {}), code_fingerprint()
    changes += [
        f"{name}: {known[name]} when it was saved, {now[name]} now"
        for name in now
        if name in known and known[name] != now[name]
    ]
    if changes and not force:
        advice = "undo the change, start a new run, or accept it with --resume RUN --force, which makes it another run"
        raise RunError(f"{listing(f'{path}: the run cannot resume exactly', changes, 'change')}\n  {advice}")
    return changes


def difference_of_run(saved: dict[str, Any], own: Config, folder: Path) -> str:
    """Return a difference between a checkpoint's config and a run's own if another run saved it; else "".

    With ``--force`` a run's own options may change, but neither its model and seed nor its folder.

    Args:
        saved: The config in the checkpoint.
        own: That in the run's ``config.yaml``.
        folder: Where the run is now, which may have been moved.
    """
    try:
        config = validate_config(saved, where="its config")
    except ConfigError as error:
        return str(error)
    changes = config_changes(config, own)
    own_folders = {os.path.realpath(path) for path in (own.run_dir, folder)}
    is_elsewhere = os.path.realpath(config.run_dir) not in own_folders
    return next((change for change in changes if is_elsewhere or change.startswith(("model.", "train.seed:"))), "")
