"""A run's folder: config.yaml, weights/, results.csv, pictures, evaluations."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from yolofuse.config import Config, dump_config, load_config
from yolofuse.errors import RunError
from yolofuse.files import save_json, save_text
from yolofuse.weights import WeightsReport

History = list[dict[str, float | None]]


class RunFolder:
    """Names of the files that a run leaves."""

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
        """The checkpoint after a step."""
        return self.last.with_name(f"step_{step:08d}.pt")

    def checkpoints(self) -> list[Path]:
        """Numbered checkpoints, newest first."""
        return sorted(self.last.parent.glob("step_*.pt"), reverse=True)

    def stacks(self, rank: int) -> Path:
        """Where the watchdog of a rank writes."""
        return self.path / f"stacks-rank{rank}.txt"

    def check_unused(self) -> None:
        """Check that nothing is there yet, before minutes are spent on checking data.

        Raises:
            RunError: If a run was begun there already.
        """
        if self.config.exists():
            raise RunError(
                f"{self.path}: holds a run already; go on with it by --resume {self.path}, or choose another train.run"
            )

    def create(self, config: Config) -> None:
        """Make a new folder that holds the resolved config.

        Raises:
            RunError: If a run was begun there already.
        """
        self.check_unused()
        self.last.parent.mkdir(parents=True, exist_ok=True)
        self.write_config(config)

    def write_config(self, config: Config) -> None:
        """Write the resolved config, in the place of the one before if there was one."""
        save_text(self.config, dump_config(config))

    def load_config(self, overrides: Sequence[str] = ()) -> Config:
        """The resolved config of a run, with changes if there are any.

        Raises:
            RunError: If there is none.
        """
        if not self.config.is_file():
            raise RunError(f"{self.path}: no run here (config.yaml is missing); give the folder that train.run named")
        config = load_config(self.config, overrides)
        return config.model_copy(update={"train": config.train.model_copy(update={"run": str(self.path)})})

    def read_micro_batches(self) -> int:
        """In how many pieces each batch is computed, since memory did not hold more; 1 where it did.

        Raises:
            RunError: If the file that says so is damaged.
        """
        if not self.split_batches.exists():
            return 1
        try:
            parts = json.loads(self.split_batches.read_text(encoding="utf-8"))["parts"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{self.split_batches}: cannot be read ({error}); delete it to begin with whole batches"
            ) from error
        if type(parts) is not int or not 1 <= parts <= 1 << 20:
            raise RunError(
                f"{self.split_batches}: parts must be a whole number from 1 on; delete the file to begin anew"
            )
        return parts

    def write_micro_batches(self, parts: int) -> None:
        """Note in how many pieces each batch is to be computed from now on."""
        save_json(self.split_batches, {"parts": parts})

    def write_weights_report(self, report: WeightsReport) -> None:
        """Write what became of each tensor before the first step."""
        save_json(self.weights_report, report.plain(), indent=1)

    def write_results(self, history: Sequence[Mapping[str, float | None]]) -> None:
        """Write results.csv anew, a row per epoch; blank where an epoch was not evaluated."""
        columns = list(dict.fromkeys(key for row in history for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        for row in history:
            writer.writerow({key: "" if value is None else f"{value:.6g}" for key, value in row.items()})
        save_text(self.results, text.getvalue())
