"""Define the faults of results/faults.csv, and record what each one costs."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from scripts.benchmarks.results_table import ORIGIN, row_origin
from scripts.paths import REPO
from yolofuse.files import save_text
from yolofuse.tables import csv_text

TABLE = REPO / "results" / "faults.csv"
FAULTS: dict[str, tuple[str, str]] = {
    "sigkill": ("SIGKILL at any moment", "at most save_every steps lost; the end result is bit-identical"),
    "sigkill_in_save": ("SIGKILL inside a save", "the newest whole checkpoint loads"),
    "bit_flip": ("one bit of a checkpoint flipped", "found by checksum; falls back to the one before and reports it"),
    "truncation": ("a checkpoint cut short", "found; falls back to the one before and reports it"),
    "disk_full": ("full disk", "old checkpoints intact, clear error, space checked before training"),
    "signal": ("SIGTERM or SIGUSR1 in mid-epoch", "saved at the next step, marker left, resumes after requeue"),
    "rank_dies": ("one rank dies", "the job fails within a minute, and resumes"),
    "rank_hangs": ("a rank hangs", "a watchdog of minutes, stacks dumped"),
    "drift": ("ranks drift apart", "found by hashes of the parameters; abort naming the tensors"),
    "nan_mid": ("NaN in mid-run", "found before the update; bounded rollback"),
    "nan_first": ("NaN at the first step", "found before the update; bounded rollback"),
    "nan_resumed": ("NaN right after a resume", "found before the update; bounded rollback"),
    "oom_forward": ("out of memory in the forward pass", "micro-batch halved, accumulation doubled, on all ranks"),
    "oom_backward": ("out of memory in the backward pass", "micro-batch halved, accumulation doubled, on all ranks"),
    "worker_dies": ("a loader worker is killed", "continues from the step, bounded retries"),
    "config_changed": ("config changed on resume", "fingerprint compared; refused unless forced"),
    "data_changed": ("data changed on resume", "fingerprint compared; refused unless forced"),
    "code_changed": ("code changed on resume", "fingerprint compared; refused unless forced"),
    "two_jobs": ("two jobs, one run folder", "a lock, one refuses"),
}
"""By name: the row's title in the table, and what this project's trainer promises."""
NOT_KEPT = "NOT kept"
"""Start of an outcome's text if a promise was broken."""

_COLUMNS = ("fault", "promise", "ours", "figures", "stock", "stock_figures", "stock_version")
Trainer = Literal["ours", "ultralytics"]


@dataclass(frozen=True)
class Outcome:
    """Effect of one fault on a trainer.

    Attributes:
        fault: Key of ``FAULTS``.
        text: What happened, in one line.
        measured: Measured values by name.
    """

    fault: str
    text: str
    measured: Mapping[str, object] = field(default_factory=dict)

    @property
    def is_kept(self) -> bool:
        """Whether no promise was broken."""
        return "NOT" not in self.text


def save_outcomes(outcomes: Sequence[Outcome], trainer: Trainer, version: str = "", table: Path = TABLE) -> None:
    """Write outcomes to their rows of the table; the other trainer's columns stay.

    Args:
        outcomes: What was measured.
        trainer: Whose columns are written.
        version: Of ultralytics.
        table: The CSV.
    """
    rows: dict[str, dict[str, str]] = {}
    if table.exists():
        with table.open(newline="") as stream:
            rows = {row["fault"]: dict(row) for row in csv.DictReader(stream)}
    origin = row_origin()
    for outcome in outcomes:
        title, promise = FAULTS[outcome.fault]
        row = rows.setdefault(title, dict.fromkeys(_COLUMNS, ""))
        row |= {"fault": title, "promise": promise}
        if trainer == "ours":
            row |= {"ours": outcome.text, "figures": format_measured(outcome)}
        else:
            row |= {"stock": outcome.text, "stock_figures": format_measured(outcome), "stock_version": version}
        if trainer == "ours" or "date" not in row:
            row |= origin
    save_text(table, csv_text([rows[title] for title, _ in FAULTS.values() if title in rows], [*_COLUMNS, *ORIGIN]))


def print_outcome(outcome: Outcome) -> None:
    """Print an outcome at once."""
    print(f"{FAULTS[outcome.fault][0]}: {outcome.text} [{format_measured(outcome)}]", flush=True)


def format_measured(outcome: Outcome) -> str:
    """Format an outcome's measured values in one line."""
    return "; ".join(f"{name} {value}" for name, value in outcome.measured.items())
