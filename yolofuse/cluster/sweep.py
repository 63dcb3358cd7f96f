"""Which runs a submission is made of: configs times seeds, each with a folder of its own, all checked beforehand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yolofuse.config import Config, dump_config, load_config
from yolofuse.errors import ConfigError, RunError, listing
from yolofuse.files import save_text
from yolofuse.model import check_fusion
from yolofuse.run.folder import RunFolder

SUBMITTED_NAME = "submitted.yaml"


@dataclass(frozen=True)
class SweepRun:
    """One run of a submission.

    Attributes:
        run: Its folder, absolute.
        config: Its config, with the folder and the seed in it.
        source: The file that the config is from.
    """

    run: Path
    config: Config
    source: Path

    @property
    def frozen(self) -> Path:
        """The config as it was when submitted: an edit while the job waits in the queue changes nothing."""
        return self.run / SUBMITTED_NAME


def plan_runs(
    files: Sequence[Path],
    overrides: Sequence[str] = (),
    seeds: Sequence[int] = (),
    *,
    world: int = 1,
    resume: bool = False,
) -> list[SweepRun]:
    """The runs of a submission, in the order of the files and, within each, of the seeds.

    A run's folder is its config's ``train.run``; with seeds, even a single one, ``-seedN`` is added.

    Args:
        files: The configs.
        overrides: Words such as ``train.epochs=50``, for all of them.
        seeds: Trains every config with each of these.
        world: Number of ranks of a job.
        resume: Accept folders that hold a run already: it is gone on with.

    Raises:
        ConfigError: If a config is wrong, batches cannot be dealt to the ranks, or two runs share a folder.
        RunError: If folders hold runs already, or jobs for them were submitted.
    """
    if len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds: one is given twice (got {','.join(map(str, seeds))})")
    fixed = [word for word in overrides if seeds and word.startswith("train.seed=")]
    if fixed:
        raise ConfigError(f"{fixed[0]}: --seeds gives the seeds already; leave one of both out")
    elements = [element for file in files for element in _elements(file, overrides, seeds)]
    problems = [*_collisions(elements), *_misfits(elements, world)]
    if problems:
        raise ConfigError(listing("command line", problems))
    used = [] if resume else _used(elements)
    if used:
        raise RunError(listing("run folders", used))
    return elements


def write_configs(elements: Sequence[SweepRun]) -> list[Path]:
    """Write each run's config into its folder; returns the files that were not there before."""
    new = [element.frozen for element in elements if not element.frozen.exists()]
    for element in elements:
        save_text(element.frozen, dump_config(element.config))
    return new


def remove_configs(files: Sequence[Path]) -> None:
    """Take back what :func:`freeze` wrote, and folders that hold nothing else."""
    for file in files:
        file.unlink(missing_ok=True)
        if not any(file.parent.iterdir()):
            file.parent.rmdir()


def _elements(file: Path, overrides: Sequence[str], seeds: Sequence[int]) -> list[SweepRun]:
    base = load_config(file, overrides)
    check_fusion(base.model)
    run = base.run_dir.expanduser().absolute()
    if not seeds:
        return [_element(file, overrides, run)]
    return [
        _element(file, [*overrides, f"train.seed={seed}"], run.with_name(f"{run.name}-seed{seed}")) for seed in seeds
    ]


def _element(file: Path, overrides: Sequence[str], run: Path) -> SweepRun:
    # JSON is YAML, so that a folder's name may hold whatever it likes
    return SweepRun(run, load_config(file, [*overrides, f"train.run={json.dumps(str(run))}"]), file)


def _collisions(elements: Sequence[SweepRun]) -> list[str]:
    """Two runs of one folder; those of two files happen where ``train.run`` was copied, or given for all."""
    first: dict[Path, SweepRun] = {}
    problems = []
    for element in elements:
        other = first.setdefault(element.run.resolve(), element)
        if other is not element:
            problems.append(
                f"{element.source}: train.run is {element.run}, as in {other.source}; give each its own folder"
            )
    return problems


def _misfits(elements: Sequence[SweepRun], world: int) -> list[str]:
    """What would end a job minutes after it had waited for hours."""
    problems = []
    for element in elements:
        batch, descriptor = element.config.train.batch, Path(element.config.data.descriptor)
        if isinstance(batch, int) and batch % world:
            problems.append(
                f"{element.source}: train.batch: {batch} pairs cannot be dealt evenly to {world} ranks; "
                f"take a multiple of {world}"
            )
        if not descriptor.is_file():
            problems.append(f"{element.source}: data.descriptor: no file {descriptor}; check the path")
    return list(dict.fromkeys(problems))


def _used(elements: Sequence[SweepRun]) -> list[str]:
    problems = []
    for element in elements:
        if RunFolder(element.run).config.exists():
            problems.append(
                f"{element.run}: holds a run already; go on with it by --resume, or choose another train.run"
            )
        elif element.frozen.exists():
            problems.append(
                f"{element.run}: a job for it was submitted already; if that is gone from squeue, use --resume"
            )
    return problems
