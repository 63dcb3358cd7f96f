"""Plan the runs of a sweep: configs times seeds, each with its own folder, all checked before submission."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolofuse.config import Config, dump_config, load_config
from yolofuse.config.field_types import part_name
from yolofuse.config.parts import check_name
from yolofuse.errors import ConfigError, RunError, listing
from yolofuse.files import save_text
from yolofuse.nn.registries import FUSIONS
from yolofuse.run.folder import RunFolder

SUBMITTED_NAME = "submitted.yaml"


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep."""

    folder: Path  # absolute
    config: Config  # including folder and seed
    source: Path  # the file that the config was loaded from

    @property
    def frozen(self) -> Path:
        """Path of the config as submitted, so that an edit while the job is queued changes nothing."""
        return self.folder / SUBMITTED_NAME


def plan_runs(
    files: Sequence[Path],
    overrides: Sequence[str] = (),
    seeds: Sequence[int] = (),
    *,
    world: int = 1,
    resume: bool = False,
) -> list[SweepRun]:
    """Load and check the runs of a sweep, in the order of the files and, within each, of the seeds.

    A run's folder is its config's ``train.run``; with seeds, even a single one, ``-seedN`` is added.

    Args:
        files: The configs.
        overrides: Overrides such as ``train.epochs=50``, for all configs.
        seeds: Seeds to train every config with.
        world: Number of ranks of each job.
        resume: Accept folders that hold a run already, to resume it.

    Raises:
        ConfigError: If a config is wrong, a batch cannot be divided among the ranks, or two runs share a folder.
        RunError: If folders hold runs already, or jobs for them were submitted.
    """
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds: a seed is given twice (got {','.join(map(str, seeds))})")
    fixed = [word for word in overrides if seeds and word.startswith("train.seed=")]
    if fixed:
        raise ConfigError(f"{fixed[0]}: --seeds gives the seeds already; leave one of the two out")
    runs = [run for file in files for run in _runs_of(file, overrides, seeds)]
    problems = [*_shared_folders(runs), *_wrong_options(runs, world)]
    if problems:
        raise ConfigError(listing("command line", problems))
    used = [] if resume else _used_folders(runs)
    if used:
        raise RunError(listing("run folders", used))
    return runs


def write_configs(runs: Sequence[SweepRun]) -> list[Path]:
    """Write each run's config into its folder; return the files that did not exist before."""
    new = [run.frozen for run in runs if not run.frozen.exists()]
    for run in runs:
        save_text(run.frozen, dump_config(run.config))
    return new


def remove_configs(files: Sequence[Path]) -> None:
    """Delete files that :func:`write_configs` wrote, and folders that hold nothing else."""
    for file in files:
        file.unlink(missing_ok=True)
        if not any(file.parent.iterdir()):
            file.parent.rmdir()


def _runs_of(file: Path, overrides: Sequence[str], seeds: Sequence[int]) -> list[SweepRun]:
    base = load_config(file, overrides)
    check_name("model.fusion", part_name(base.model.fusion), FUSIONS)
    from yolofuse.model import check_fusion  # loads torch, for which no error of the config waits

    check_fusion(base.model)
    folder = Path(os.path.expanduser(base.run_dir)).absolute()  # noqa: PTH111 - Path's raises for an unknown ~user
    if not seeds:
        return [_load_run(file, overrides, folder)]
    return [
        _load_run(file, [*overrides, f"train.seed={seed}"], folder.with_name(f"{folder.name}-seed{seed}"))
        for seed in seeds
    ]


def _load_run(file: Path, overrides: Sequence[str], folder: Path) -> SweepRun:
    # JSON is YAML, so a folder's name may contain any characters
    return SweepRun(folder, load_config(file, [*overrides, f"train.run={json.dumps(str(folder))}"]), file)


def _shared_folders(runs: Sequence[SweepRun]) -> list[str]:
    """Report runs of one folder, which happen if ``train.run`` was copied between configs or overridden for all."""
    first: dict[Path, SweepRun] = {}
    problems = []
    for run in runs:
        other = first.setdefault(run.folder.resolve(), run)
        if other is not run:
            problems.append(f"{run.source}: train.run is {run.folder}, as in {other.source}; give each its own folder")
    return problems


def _wrong_options(runs: Sequence[SweepRun], world: int) -> list[str]:
    """Report what would end a job within minutes after hours in the queue."""
    problems = []
    for run in runs:
        batch, descriptor = run.config.train.batch, Path(run.config.data.descriptor)
        if isinstance(batch, int) and batch % world:
            problems.append(
                f"{run.source}: train.batch: {batch} pairs cannot be divided evenly among {world} ranks; "
                f"use a multiple of {world}"
            )
        if not descriptor.is_file():
            problems.append(f"{run.source}: data.descriptor: no file {descriptor}; check the path")
    return list(dict.fromkeys(problems))


def _used_folders(runs: Sequence[SweepRun]) -> list[str]:
    problems = []
    for run in runs:
        try:
            RunFolder(run.folder).check_unused()
        except RunError as error:
            problems.append(str(error))
            continue
        if run.frozen.exists():
            problems.append(f"{run.folder}: a job was submitted already; if it is not in squeue any more, use --resume")
    return problems
