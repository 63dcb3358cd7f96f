"""Check that a run resumes with the config, data, code and machine that it was started with."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

import yolofuse
from yolofuse import upstream
from yolofuse.config import Config
from yolofuse.config.load import flat_options, validate_config
from yolofuse.data import PairSet
from yolofuse.data.pair_formats import compare_formats
from yolofuse.errors import ConfigError, RunError, listing
from yolofuse.types import PAIR_FORMATS

log = logging.getLogger("yolofuse")

DATA_CHANGED = "the training data changed: other images, labels or classes than when the run started"

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


def data_record(train: PairSet, val: PairSet) -> dict[str, Any]:
    """Return what a checkpoint records about its data; the hash of images that were not verified is empty."""
    others = {
        "training images": train.content_hash,
        "validation split": val.fingerprint,
        "validation images": val.content_hash,
    }
    return {
        "data_hash": train.fingerprint,
        "data_hashes": others,
        "names": list(train.names),
        "overlays": [[*overlay] for overlay in train.overlays],
        "formats": [asdict(pair_format) for pair_format in train.formats],
        "val_formats": [asdict(pair_format) for pair_format in val.formats],
    }


def machine_record(device: torch.device) -> dict[str, Any]:
    """Return what a checkpoint records about the process: all that the last digits depend on beside the code."""
    on_cuda = device.type == "cuda"
    versions = {
        "torchvision": metadata.version("torchvision"),
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "device": torch.cuda.get_device_name(device) if on_cuda else torch.backends.cpu.get_cpu_capability(),
    }
    return {"threads": torch.get_num_threads(), "versions": versions}


def restore_threads(content: Mapping[str, Any]) -> None:
    """Let torch compute with as many threads as when a checkpoint was saved: sums depend on it in the last digits."""
    before, saved = torch.get_num_threads(), content.get("machine", {}).get("threads")
    if saved is None or saved == before:
        return
    torch.set_num_threads(saved)
    if torch.get_num_threads() == saved:
        log.info("resume: torch computes with %d threads, as when the run was saved (here: %d)", saved, before)
    else:
        log.warning(
            "warning: saved with %d threads of torch and resumed with %d: the result will differ in the last digits",
            saved,
            torch.get_num_threads(),
        )


def check_resumable(
    path: Path, content: Mapping[str, Any], config: Config, data: Mapping[str, Any], *, force: bool = False
) -> list[str]:
    """Compare config, data and code with those of the checkpoint ``path``; return the differences.

    Args:
        path: The checkpoint, for messages.
        content: Its content.
        config: The run's config now.
        data: Its data now, as of :func:`data_record`.
        force: Return differences instead of raising.

    Raises:
        RunError: If config, data or code changed, without ``force``.
    """
    changes = config_changes(validate_config(content["config"], where=str(path)), config)
    changes += data_changes(path, content, data)
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


def data_changes(path: Path, content: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[str]:
    """Yield how the data differs from that of the checkpoint ``path``; log what can't be compared."""
    if content["data_hash"] != data["data_hash"]:
        yield DATA_CHANGED
    if (names := content.get("names", data["names"])) != data["names"]:
        yield f"names: {', '.join(names)} when it was saved, {', '.join(data['names'])} now"
    yield from _format_changes(path, content, data)
    before, now = content.get("data_hashes"), data["data_hashes"]
    if before is None:
        log.warning(
            "warning: %s is of an older version and does not record the validation split and the content of images, "
            "so they can't be compared; make sure that they are still the same",
            path,
        )
        return
    for name in now:
        if not before.get(name) or not now[name]:
            log.warning("warning: the %s can't be compared with those of the run, since data.verify is off", name)
        elif before[name] != now[name]:
            yield f"the {name} changed: other content than when the run started"


def _format_changes(path: Path, content: Mapping[str, Any], data: Mapping[str, Any]) -> Iterator[str]:
    """Yield how images are read otherwise than when the checkpoint was saved; log if it does not say how."""
    for key, what in (("formats", "training"), ("val_formats", "validation")):
        if key not in content:
            log.warning(
                "warning: %s is of an older version and does not record how the %s images were read (ir_window, "
                "resize, frame, orientation), so that can't be compared; make sure that it is still the same",
                path,
                what,
            )
            continue
        before, now = PAIR_FORMATS.validate_python(content[key]), PAIR_FORMATS.validate_python(data[key])
        for change in compare_formats(before, now, "when it was saved", "now"):
            yield f"{what} images are read otherwise: {change}"


def report_versions(content: Mapping[str, Any], device: torch.device) -> None:
    """Log in one line which libraries and device differ from those of a checkpoint."""
    before, now = content.get("machine", {}).get("versions", {}), machine_record(device)["versions"]
    changes = [f"{name} {before[name]}, now {now[name]}" for name in now if before.get(name, now[name]) != now[name]]
    if changes:
        log.warning("warning: saved with %s: the result may differ in the last digits", "; ".join(changes))
