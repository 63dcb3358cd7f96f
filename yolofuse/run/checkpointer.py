"""Write a run's checkpoints in a background thread, keep the newest few, and find the newest intact one."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolofuse.config import load_config
from yolofuse.config.load import validate_config
from yolofuse.errors import DamagedError, RunError, WeightsError
from yolofuse.files import set_aside
from yolofuse.run.folder import RunFolder, checkpoint_step
from yolofuse.run.resume_check import difference_of_run
from yolofuse.weights import has_checksum, load_checkpoint, save_checkpoint, verify_checksum

log = logging.getLogger("yolofuse")

_MIB = 1 << 20


class AsyncCheckpointer:
    """Writes a run's checkpoints in a background thread, in the order of the calls.

    The state is copied before :meth:`save_last` or :meth:`save_best` returns, so that training may change it at once.
    """

    def __init__(self, folder: RunFolder, keep: int) -> None:
        """Create a checkpointer that keeps the newest ``keep`` checkpoints."""
        self._folder = folder
        self._keep = keep
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpointer")
        self._pending: list[Future[None]] = []

    def require_space(self, content: Mapping[str, Any]) -> None:
        """Check before training that the disk has space for all checkpoints that the run keeps, and for at least two.

        Raises:
            RunError: If it has not.
        """
        size = sum(tensor.numel() * tensor.element_size() for tensor in _tensors(content))
        existing = sum(path.stat().st_size for path in self._folder.checkpoints())
        needed = max((self._keep + 2) * size - existing, 2 * size)  # + best.pt and the one being written
        free = shutil.disk_usage(self._folder.path).free
        if free < needed:
            raise RunError(
                f"{self._folder.path}: {free / _MIB:.0f} MiB are free on its disk, but the run's checkpoints will take "
                f"{needed / _MIB:.0f} MiB; free disk space, choose another train.run, or lower train.keep "
                f"(now {self._keep})"
            )

    def save_last(self, content: Mapping[str, Any], step: int) -> None:
        """Save the state after a step; once it is on the disk, all but the newest ``keep`` checkpoints are deleted.

        Raises:
            WeightsError: If an earlier checkpoint could not be written.
        """
        self._submit(lambda copied: self._write_last(copied, step), content)

    def save_best(self, content: Mapping[str, Any]) -> None:
        """Save the state with the best AP.

        Raises:
            WeightsError: If an earlier checkpoint could not be written.
        """
        self._submit(partial(save_checkpoint, self._folder.best), content)

    def raise_if_failed(self) -> None:
        """Raise the error of a failed write, without waiting for pending ones.

        Raises:
            WeightsError: If a checkpoint could not be written.
        """
        while self._pending and self._pending[0].done():
            self._pending.pop(0).result()

    def flush(self) -> None:
        """Wait until all checkpoints are on the disk.

        Raises:
            WeightsError: If a checkpoint could not be written.
        """
        while self._pending:
            self._pending.pop(0).result()

    def close(self) -> None:
        """Write pending checkpoints and end the thread; call :meth:`flush` first to see errors."""
        self._thread.shutdown(wait=True)

    def _submit(self, write: Callable[[dict[str, Any]], None], content: Mapping[str, Any]) -> None:
        copied = snapshot(content)  # while the previous one is still being written
        self.flush()  # at most two copies in memory
        self._pending.append(self._thread.submit(write, copied))

    def _write_last(self, content: Mapping[str, Any], step: int) -> None:
        path = self._folder.checkpoint(step)
        save_checkpoint(path, content)
        _link(path, self._folder.last)
        earlier = [
            old for old in self._folder.checkpoints() if (checkpoint_step(old) or 0) < step and has_checksum(old)
        ]
        for old in earlier[self._keep - 1 :]:  # those of later steps, and what has no checksum, are not of this run
            old.unlink()


def snapshot(content: Mapping[str, Any]) -> dict[str, Any]:
    """Copy all tensors to the CPU; other values are kept as they are."""
    copied = {key: _copy(value) for key, value in content.items()}
    if any(tensor.is_cuda for tensor in _tensors(content)):
        torch.cuda.synchronize()  # the copies are asynchronous
    return copied


def newest_checkpoint(folder: RunFolder) -> tuple[Path | None, list[str]]:
    """Find a run's newest checkpoint that can be used and describe the newer ones; None if there is none yet.

    Damaged checkpoints are renamed to ``*.damaged`` and those of other runs to ``*.other-run``, so that they are
    neither tried again nor lost; one that cannot be read keeps its name. For rank 0 only.

    Raises:
        DamagedError: If there are checkpoints, or best weights, but no checkpoint can be used.
    """
    problems: list[str] = []
    others: list[tuple[Path, str]] = []
    chosen: Path | None = None
    for path in [*folder.checkpoints(), folder.last]:
        try:
            if not os.path.lexists(path):
                continue
            difference = check_saved(folder, path, may_be_unsealed=path == folder.last)
        except DamagedError as error:
            problems.append(f"{error} (kept as {set_aside(path, 'damaged')})")
        except WeightsError as error:
            problems.append(str(error))
        else:
            if not difference:
                chosen = path
                break
            others.append((path, difference))
    if chosen is None and others:  # the run's own config was changed, which is for check_resumable to report
        chosen = others.pop(0)[0]
        others = []
    problems += [f"{path}: of another run: {why} (kept as {set_aside(path, 'other-run')})" for path, why in others]
    if chosen is None:
        _refuse_to_start_again(folder, problems)
    elif problems:
        log.warning("warning: %s; %s is used instead", "; ".join(problems), chosen.name)
        _link(chosen, folder.last)
    return chosen, problems


def restore_config(folder: RunFolder) -> None:
    """Write a lost or empty ``config.yaml`` again from the newest intact checkpoint, if any: each has a copy."""
    how = "empty" if folder.config.exists() else "missing"
    for path in [*folder.checkpoints(), folder.last]:
        try:
            config = load_checkpoint(path, needs=("config",))["config"]
        except WeightsError:  # an older one may be intact
            continue
        folder.write_config(validate_config(config, where=str(path)))
        log.warning("warning: %s: was %s, and is written again from %s", folder.config, how, path.name)
        return


def check_saved(folder: RunFolder, path: Path, *, may_be_unsealed: bool) -> str:
    """Check that a file of weights is intact; return how its config differs if another run has saved it, else "".

    Args:
        folder: The run.
        path: The file.
        may_be_unsealed: Whether older versions wrote such a file without a checksum.

    Raises:
        DamagedError: If it is damaged.
        WeightsError: If it cannot be read.
    """
    if not verify_checksum(path) and not (may_be_unsealed and zipfile.is_zipfile(path)):
        raise DamagedError(f"{path}: damaged: its end is missing")
    if not folder.has_config:
        return ""
    config = load_checkpoint(path).get("config")
    return "" if config is None else difference_of_run(config, load_config(folder.config), folder.path)


def _refuse_to_start_again(folder: RunFolder, problems: Sequence[str]) -> None:
    """Refuse to train a run from its start over what is left of its weights."""
    left = sorted(path.name for path in folder.last.parent.glob("*.pt*") if path.suffix in {".pt", ".damaged"})
    if problems or left:
        raise DamagedError(
            f"{folder.path}: no checkpoint of the run is intact: {'; '.join(problems or left)}; start a new run, or "
            "move what is in its weights folder elsewhere to train this one from its start"
        )


def _link(path: Path, name: Path) -> None:
    """Make ``name`` a hard link to ``path``, or a copy on a file system without hard links."""
    temporary = name.with_name(f".{name.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            os.link(path, temporary)
        except OSError:
            shutil.copyfile(path, temporary)
        if name.exists() and name.samefile(temporary):
            return  # already linked; a rename would do nothing
        temporary.replace(name)
    finally:
        temporary.unlink(missing_ok=True)


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True, non_blocking=value.is_cuda)
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copy(item) for item in value)
    return value


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [tensor for item in items for tensor in _tensors(item)]
