"""Name, read and write the files of a run's folder: config.yaml, weights/, results.csv, plots, evaluations."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING

from yolofuse.errors import RunError
from yolofuse.files import read_regular, save_json, save_text
from yolofuse.tables import csv_text

if TYPE_CHECKING:  # ``status`` must start fast
    from yolofuse.config import Config

History = list[dict[str, float | None]]

_CHECKPOINT = re.compile(r"step_(\d{8}|[1-9]\d{8,11})\.pt")  # as RunFolder.checkpoint writes it
_BEFORE_A_RUN = re.compile(
    r"\..*|submitted\.yaml|split_batches\.json|.*\.(log|out|err|sh|sbatch|slurm|pbs|[oe]\d+)|.*(log|stdout|stderr)(\.txt)?"
)
"""Files that may lie in the folder when its run starts: hidden ones such as the lock, and those of job scripts."""
_MAX_NAMED = 3
_MAX_RESULTS_BYTES = 1 << 26


def checkpoint_step(path: Path) -> int | None:
    """Return the step in the name of a numbered checkpoint; None for any other file."""
    match = _CHECKPOINT.fullmatch(path.name)
    return int(match[1]) if match else None


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.last = path / "weights" / "last.pt"
        self.best = path / "weights" / "best.pt"
        self.results = path / "results.csv"
        self.curves = path / "curves.png"
        self.weights_report = path / "weights_report.json"
        self.first_steps = path / "first_steps.csv"
        self.preempted = path / "PREEMPTED"
        self.finished = path / "FINISHED"
        self.split_batches = path / "split_batches.json"

    def checkpoint(self, step: int) -> Path:
        """Return the path of the checkpoint after a step."""
        return self.last.with_name(f"step_{step:08d}.pt")

    def checkpoints(self) -> list[Path]:
        """Return the numbered checkpoints, newest first."""
        found = [path for path in self.last.parent.glob("step_*.pt") if checkpoint_step(path) is not None]
        return sorted(found, key=lambda path: checkpoint_step(path) or 0, reverse=True)

    def stacks(self, rank: int) -> Path:
        """Return the file that the watchdog of a rank writes stack traces to."""
        return self.path / f"stacks-rank{rank}.txt"

    @property
    def has_config(self) -> bool:
        """Whether the config is there; a full disk may have left it empty."""
        return self.config.is_file() and self.config.stat().st_size > 0

    def check_unused(self) -> None:
        """Check that a run may be started in the folder, before minutes are spent on checking data.

        Raises:
            RunError: If a run was started there already, it holds files that are not a run's, or can't be a run's own.
        """
        place = Path(os.path.realpath(self.path))
        shared = {"/": "the whole file system", os.path.realpath(os.path.expanduser("~")): "your home folder"}  # noqa: PTH111
        shared[os.getcwd()] = "the working directory"  # noqa: PTH109
        if str(place) in shared:
            raise RunError(f"train.run: {str(self.path)!r} is {shared[str(place)]}; name a folder of the run's own")
        if self.config.exists():
            raise RunError(
                f"{self.path}: holds a run already; resume it with --resume {self.path}, or choose another train.run: "
                f"{self._free_name()} is free"
            )
        folder = next(path for path in (place, *place.parents) if path.exists())
        if not folder.is_dir():
            raise RunError(f"train.run: {self.path}: {folder} is a file; name a folder")
        if folder == place:
            self._refuse_foreign_files(place)

    def refuse_wrong_folders(self) -> None:
        """Refuse a run, which somebody else may have sent, with a folder that leads elsewhere or is in a file's place.

        Raises:
            RunError: If there is one.
        """
        for path in sorted(self.path.rglob("*")):
            if path.suffix == ".pt" and path.is_dir():
                raise RunError(f"{path}: is a folder, where the run writes a file; move it away")
            if path.is_symlink() and path.is_dir() and not path.resolve().is_relative_to(self.path.resolve()):
                raise RunError(
                    f"{path}: a link to {os.path.realpath(path)}, but a run writes into its own folder only; "
                    "replace it by a folder"
                )

    def _refuse_foreign_files(self, place: Path) -> None:
        """Refuse a folder that is not marked as a run's by its config, and that holds other files than job scripts'."""
        if not os.access(place, os.R_OK | os.X_OK):
            raise RunError(f"train.run: {place}: cannot be listed; check its permissions")
        files = (path for path in place.rglob("*") if path.is_symlink() or not path.is_dir())
        foreign = (str(path.relative_to(place)) for path in files if not _BEFORE_A_RUN.fullmatch(path.name))
        found = list(islice(foreign, _MAX_NAMED + 1))
        if not found:
            return
        advice = f"choose another train.run: {self._free_name()} is free"
        if self.checkpoints() or self.last.exists():
            advice = f"put that file back, write it again from a checkpoint by --resume {self.path}, or {advice}"
        named = ", ".join(sorted(found)[:_MAX_NAMED]) + (" ..." if len(found) > _MAX_NAMED else "")
        raise RunError(f"{self.path}: holds files ({named}), but no config.yaml that marks it as a run's; {advice}")

    def _free_name(self) -> Path:
        """Return the folder's name with the next free number: ``mid``, ``mid-2``, ``mid-3``."""
        path = self.path if self.path.name.strip(".") else Path(os.path.realpath(self.path))
        stem = re.sub(r"-\d+$", "", path.name)
        names = (path.with_name(f"{stem}-{number}") for number in count(2))
        return next(path for path in names if not path.exists())

    def create(self, config: Config) -> None:
        """Create the folder and write the resolved config into it.

        Raises:
            RunError: If a run was started there already.
        """
        self.check_unused()
        self.last.parent.mkdir(parents=True, exist_ok=True)
        self.write_config(config)

    def write_config(self, config: Config) -> None:
        """Write the resolved config, replacing an earlier one."""
        from yolofuse.config import dump_config

        save_text(self.config, dump_config(config))

    def load_config(self, overrides: Sequence[str] = ()) -> Config:
        """Load the resolved config of the run, changed by ``overrides``.

        Raises:
            RunError: If there is none.
        """
        from yolofuse.config import load_config

        if not self.config.is_file():
            outer = next((path for path in self.path.parents[:2] if (path / "config.yaml").is_file()), None)
            advice = "give the folder that train.run named" if outer is None else f"did you mean {outer}?"
            if self.config.exists():
                raise RunError(f"{self.config}: is a folder; move it away")
            raise RunError(f"{self.path}: no run here (config.yaml is missing); {advice}")
        if not self.has_config:
            advice = f"--resume {self.path} writes it again from a checkpoint" if self.checkpoints() else "delete it"
            raise RunError(f"{self.config}: is empty (was the disk full?); {advice}")
        config = load_config(self.config, overrides)
        return config.model_copy(update={"train": config.train.model_copy(update={"run": str(self.path)})})

    def find_best(self) -> Path:
        """Return the file of the best weights.

        Raises:
            RunError: If there is no run, or no epoch of it was evaluated.
        """
        if self.best.is_dir():
            raise RunError(f"{self.best}: is a folder; move it away, and --resume {self.path} writes the weights again")
        if not self.best.exists():
            self.load_config()
            why = "no epoch was evaluated yet, or it is lost"
            raise RunError(f"{self.path}: no best.pt: {why}; resume it with --resume {self.path}")
        return self.best

    def read_micro_batches(self) -> int:
        """Return how many micro-batches each batch is split into after an out-of-memory error; 1 without one.

        Raises:
            RunError: If the file that holds the number is damaged.
        """
        try:
            parts = json.loads(read_regular(self.split_batches))["parts"]
        except FileNotFoundError:
            return 1
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise RunError(
                f"{self.split_batches}: cannot be read ({error}); delete it to start with whole batches"
            ) from error
        if type(parts) is not int or not 1 <= parts <= 1 << 20:
            raise RunError(
                f"{self.split_batches}: parts must be an integer of at least 1; delete it to start with whole batches"
            )
        return parts

    def write_micro_batches(self, parts: int) -> None:
        """Record how many micro-batches each batch is split into from now on."""
        save_json(self.split_batches, {"parts": parts})

    def read_results(self) -> History:
        """Return the rows of results.csv; none if no epoch is finished.

        Raises:
            RunError: If it is no results file of a run.
        """
        try:
            rows = list(csv.DictReader(read_regular(self.results, _MAX_RESULTS_BYTES).splitlines()))
            values = [{name: float(cell) if cell else None for name, cell in row.items()} for row in rows]
            if not all(row["epoch"] is not None and all(map(_is_finite, row.values())) for row in values):
                raise ValueError("a value is missing or not a number")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"{self.results}: cannot be read ({error})") from error
        except (KeyError, ValueError, TypeError, csv.Error) as error:
            raise RunError(f"{self.results}: not a run's results ({error})") from error
        return values

    def write_results(self, history: Sequence[Mapping[str, float | None]]) -> None:
        """Write results.csv, a row per epoch; values of an epoch without evaluation are blank."""
        rows = [{key: None if value is None else f"{value:.6g}" for key, value in row.items()} for row in history]
        by_length = sorted(rows, key=len, reverse=True)  # the start, epoch 0, has no losses: its row is short
        columns = dict.fromkeys(key for row in by_length for key in row)
        save_text(self.results, csv_text(rows, list(columns)))


def _is_finite(value: float | None) -> bool:
    return value is None or math.isfinite(value)
