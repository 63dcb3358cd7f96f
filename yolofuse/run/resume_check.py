"""What a run was made of, so that it does not go on as another one unnoticed."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

import yolofuse
from yolofuse import upstream
from yolofuse.config import Config
from yolofuse.config.load import plain_config, validate_config
from yolofuse.errors import RunError, listing

_FREE = (
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
    "train.tensorboard",
    "val.backend",
)
"""Options that say where and how a run is computed, not what: they may change on the way."""


@lru_cache(maxsize=1)
def code_fingerprint() -> dict[str, str]:
    """Versions, and a hash over this package's source."""
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


def check_resumable(
    path: Path, content: Mapping[str, Any], config: Config, data_hash: str, *, force: bool = False
) -> list[str]:
    """Compare a checkpoint with what would go on from it; returns what differs, with ``force`` only.

    Args:
        path: The checkpoint, for messages.
        content: What it holds.
        config: The run as it would go on.
        data_hash: Fingerprint of the training data as it is now.
        force: Whether to go on all the same.

    Raises:
        RunError: If config, data or code changed.
    """
    changes = _config_changes(validate_config(content["config"], where=str(path)), config)
    if content["data_hash"] != data_hash:
        changes.append("the training data changed: other images, labels or classes than when the run began")
    known, now = content.get("code", {}), code_fingerprint()
    changes += [
        f"{name}: {known[name]} when it was saved, {now[name]} now"
        for name in now
        if name in known and known[name] != now[name]
    ]
    if changes and not force:
        advice = "put it back, begin a new run, or go on as another one with --resume RUN --force"
        raise RunError(f"{listing(f'{path}: the run cannot go on exactly', changes, 'change')}\n  {advice}")
    return changes


def _config_changes(before: Config, after: Config) -> list[str]:
    a, b = (_flat(plain_config(config)) for config in (before, after))
    return [
        f"{key}: {a.get(key)} when it was saved, {b.get(key)} now"
        for key in sorted(a.keys() | b.keys())
        if a.get(key) != b.get(key) and key not in _FREE
    ]


def _flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in section.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return flat
