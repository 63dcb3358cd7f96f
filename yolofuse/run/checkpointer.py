"""Checkpoints of a run: written beside training, the last few kept, the newest whole one found again."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import zipfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolofuse.errors import DamagedError, RunError
from yolofuse.run.folder import RunFolder
from yolofuse.weights import check_seal, save_checkpoint

log = logging.getLogger("yolofuse")

_MIB = 1 << 20


class AsyncCheckpointer:
    """Writes a run's checkpoints in a thread of its own, in the order they were given.

    The state is copied before :meth:`last` or :meth:`best` returns, so that training may go on changing it.
    """

    def __init__(self, folder: RunFolder, keep: int) -> None:
        """Start nothing yet.

        Args:
            folder: The run's.
            keep: How many of the newest checkpoints stay.
        """
        self._folder = folder
        self._keep = keep
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="saver")
        self._pending: list[Future[None]] = []

    def require_space(self, content: Mapping[str, Any]) -> None:
        """Check before training that the disk will hold what the run keeps, and at least two checkpoints.

        Raises:
            RunError: If it won't.
        """
        size = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(content))
        there = sum(path.stat().st_size for path in self._folder.checkpoints())
        needed = max((self._keep + 2) * size - there, 2 * size)  # with best.pt, and the one that is being written
        free = shutil.disk_usage(self._folder.path).free
        if free < needed:
            raise RunError(
                f"{self._folder.path}: {free / _MIB:.0f} MiB are free on its disk, but the run's checkpoints will take "
                f"{needed / _MIB:.0f} MiB; make room, choose another train.run, or less train.keep (now {self._keep})"
            )

    def save_last(self, content: Mapping[str, Any], step: int) -> None:
        """Save the state after a step; older checkpoints than the last ``keep`` go when it is on the disk.

        Raises:
            WeightsError: If an earlier one could not be written.
        """
        self._submit(self._write_last, content, step)

    def save_best(self, content: Mapping[str, Any]) -> None:
        """Save what scored best.

        Raises:
            WeightsError: If an earlier one could not be written.
        """
        self._submit(self._write_best, content)

    def raise_if_failed(self) -> None:
        """Tell of a failure, if there was one since the last time.

        Raises:
            WeightsError: If a checkpoint could not be written.
        """
        while self._pending and self._pending[0].done():
            self._pending.pop(0).result()

    def flush(self) -> None:
        """Wait until everything is on the disk.

        Raises:
            WeightsError: If a checkpoint could not be written.
        """
        while self._pending:
            self._pending.pop(0).result()

    def close(self) -> None:
        """End the thread; what was given to it is written first. Failures were told by :meth:`wait`, or never will."""
        self._thread.shutdown(wait=True)

    def _submit(self, write: Any, content: Mapping[str, Any], *args: int) -> None:
        copied = snapshot(content)  # while the one before is still being written
        self.flush()  # so that there are never more than two copies in memory
        self._pending.append(self._thread.submit(write, copied, *args))

    def _write_last(self, content: Mapping[str, Any], step: int) -> None:
        folder = self._folder
        path = folder.checkpoint(step)
        save_checkpoint(path, content)
        _link(path, folder.last)
        for old in folder.checkpoints()[self._keep :]:
            old.unlink()

    def _write_best(self, content: Mapping[str, Any]) -> None:
        save_checkpoint(self._folder.best, content)


def snapshot(content: Mapping[str, Any]) -> dict[str, Any]:
    """A copy on the CPU that later steps do not change; plain values are taken as they are."""
    copied = {key: _copied(value) for key, value in content.items()}
    if any(tensor.is_cuda for tensor in _tensors(content)):
        torch.cuda.synchronize()  # the copies were only ordered so far
    return copied


def newest_checkpoint(folder: RunFolder) -> tuple[Path | None, list[str]]:
    """A run's newest whole checkpoint, None where there is none yet, and what was wrong with newer ones.

    A damaged one is renamed to ``*.damaged``, so that it is neither tried again nor lost. For rank 0 alone.

    Raises:
        DamagedError: If there are checkpoints, but none is whole.
    """
    problems: list[str] = []
    for path in [*folder.checkpoints(), folder.last]:
        if not path.exists():
            continue
        try:
            unsealed = path == folder.last and zipfile.is_zipfile(path)  # yolofuse once wrote it without checksum
            if not check_seal(path) and not unsealed:
                raise DamagedError(f"{path}: damaged: its end is missing")
        except DamagedError as error:
            damaged = path.with_name(f"{path.name}.damaged")
            path.replace(damaged)
            problems.append(f"{error} (kept as {damaged.name})")
            continue
        if problems:
            log.warning("warning: %s; %s is taken instead", "; ".join(problems), path.name)
            _link(path, folder.last)
        return path, problems
    lost = sorted(path.name for path in folder.last.parent.glob("*.pt.damaged"))
    if problems or lost:
        raise DamagedError(
            f"{folder.path}: no checkpoint of the run is whole: {'; '.join(problems or lost)}; begin a new run, or "
            "delete the *.damaged files to train this one from its start"
        )
    return None, []


def _link(path: Path, name: Path) -> None:
    """Let ``name`` be the same file as ``path``; a copy where the file system knows no second names."""
    temporary = name.with_name(f".{name.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)
        if name.exists() and name.samefile(temporary):
            return  # two names of one file: a rename would do nothing
        temporary.replace(name)
    finally:
        temporary.unlink(missing_ok=True)


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True, non_blocking=value.is_cuda)
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(item) for item in value)
    return value


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [tensor for item in value.values() for tensor in _tensors(item)]
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in _tensors(item)]
    return []
