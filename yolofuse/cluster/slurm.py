"""Build the ``sbatch`` commands of a submission, and print or run them."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from yolofuse.cluster.sweep import SweepRun, remove_configs, write_configs
from yolofuse.errors import ConfigError, RunError

TEMPLATE = Path(__file__).with_name("job.sbatch")
"""The job script of all jobs; it takes arguments and is never edited."""

_TIMEOUT_S = 120  # for sbatch to answer
_JOB_ID = "@job@"  # placeholder for an id that is not known yet


@dataclass(frozen=True)
class Resources:
    """What a training job requests from the cluster. None: the default of the cluster."""

    nodes: int = 1  # machines
    gpus: int = 1  # per machine, with a rank each; 0: one rank per machine, on its CPU
    time: str | None = None  # limit as Slurm writes it, such as ``12:00:00``
    cpus: int | None = None  # cores per machine
    mem: str | None = None  # per machine, such as ``64G``
    partition: str | None = None
    account: str | None = None  # charged for the job
    notice: int = 180  # seconds between the signal to save and the time limit of a job
    requeues: int = 50  # how often a preempted job is requeued
    at_once: int | None = None  # how many runs of an array may run at a time
    extra: tuple[str, ...] = ()  # more options of sbatch, passed on unchanged: ``--constraint=a100``

    @property
    def ranks(self) -> int:
        """Processes per node."""
        return max(self.gpus, 1)

    @property
    def world(self) -> int:
        """Processes of a job."""
        return self.nodes * self.ranks


@dataclass(frozen=True)
class Stage:
    """One sbatch command."""

    name: str  # train, val or collect
    command: tuple[str, ...]  # arguments, without the dependency on the previous stage
    dependency: str | None = None  # afterok, aftercorr or afterany; None: it has none

    def arguments(self, previous_job: str | None) -> list[str]:
        """Return all arguments, given the job id of the previous stage."""
        if self.dependency is None or previous_job is None:
            return list(self.command)
        return [self.command[0], *_dependency(self.dependency, previous_job), *self.command[1:]]

    def shell(self, previous: str | None) -> str:
        """Format a shell line that submits the stage and keeps the answer, ``id`` or ``id;cluster``, in a variable."""
        line = shlex.join(self.arguments(_JOB_ID if previous else None))
        return f"{self.name}=$({line.replace(_JOB_ID, f'${{{previous}%%;*}}', 1)})"


@dataclass(frozen=True)
class Submission:
    """The stages of a sweep, each of which waits for the previous one."""

    name: str
    runs: tuple[SweepRun, ...]
    stages: tuple[Stage, ...]
    logs: Path
    ids: dict[str, str] = field(default_factory=dict)  # of the jobs, by stage, once submitted

    def script(self) -> str:
        """Format the commands as a shell script."""
        names = [stage.name for stage in self.stages]
        return "\n".join(stage.shell(name) for stage, name in zip(self.stages, [None, *names[:-1]], strict=True))


def plan_jobs(
    runs: Sequence[SweepRun],
    resources: Resources,
    name: str,
    logs: Path,
    *,
    after: str | None = None,
    val: bool = False,
    collect: Sequence[Path] = (),
) -> Submission:
    """Plan the jobs that train, evaluate and tabulate runs; several runs make a job array, an element each.

    Args:
        runs: The runs.
        resources: Those of each training job. An evaluation job has one node and one GPU of it.
        name: Prefix of the job names in squeue and of the log files.
        logs: Folder for the output of the jobs; must exist when they start.
        after: Id of a job to wait for; if it fails, these jobs never start.
        val: Evaluate each run's best weights when its training has finished.
        collect: Files for the table of all runs, written when all jobs before have ended, failed ones included.

    Raises:
        ConfigError: If the name contains characters of a path.
    """
    if not re.fullmatch(r"[\w.+-]+", name):
        raise ConfigError(f"--name: letters, digits and . + - _ only (got '{name}')")
    num_runs = len(runs)

    def command(
        stage: str, needs: Resources, num_elements: int, num_args: int, args: Sequence[str], after: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """Return the sbatch command, the job script and its arguments; see the script's head."""
        options = _sbatch_options(f"{name}-{stage}", logs, needs, num_elements)
        script = (str(TEMPLATE), str(needs.requeues), str(needs.ranks), sys.executable, f"yolofuse.cli.{stage}")
        return (*options, *after, *script, str(num_args), *args)

    args = [arg for r in runs for arg in (str(r.folder), "--cfg", str(r.frozen), "--auto-resume")]
    first = _dependency("afterok", after) if after else []
    stages = [Stage("train", command("train", resources, num_runs, 3, args, first))]
    if val:
        args = [arg for r in runs for arg in (str(r.folder), "--run", str(r.folder))]
        one_gpu = replace(resources, nodes=1, gpus=min(resources.gpus, 1))
        dependency = "aftercorr" if num_runs > 1 else "afterok"
        stages.append(Stage("val", command("val", one_gpu, num_runs, 2, args), dependency))
    if collect:
        out = [str(path.absolute()) for path in collect]
        args = [*(str(r.folder) for r in runs), "--out", *out]
        no_gpu, folder = replace(resources, nodes=1, gpus=0), str(Path(out[0]).parent)
        stages.append(Stage("collect", command("collect", no_gpu, 1, len(args), [folder, *args]), "afterany"))
    return Submission(name, tuple(runs), tuple(stages), logs.absolute())


def submit(submission: Submission) -> dict[str, str]:
    """Write the runs' configs into their folders and submit the jobs; return job ids by stage.

    Raises:
        RunError: If this machine has no Slurm, or Slurm refuses the first job; new configs are then deleted again.
    """
    if shutil.which("sbatch") is None:
        raise RunError(
            "sbatch: not on PATH, so this is no login node of a Slurm cluster; --dry-run prints what would be "
            "submitted, and docs/cluster.md has ways without Slurm"
        )
    new = write_configs(submission.runs)
    submission.logs.mkdir(parents=True, exist_ok=True)
    previous: str | None = None
    for stage in submission.stages:
        try:
            previous = submission.ids[stage.name] = _sbatch(stage.arguments(previous))
        except RunError as error:
            if not submission.ids:
                remove_configs(new)
                raise
            queued = " ".join(submission.ids.values())
            raise RunError(f"{error}\n  already in the queue: {queued}; cancel with scancel {queued}") from error
    return submission.ids


def _sbatch(command: Sequence[str]) -> str:
    """Run one sbatch command; return the job's id."""
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"sbatch: no answer ({error}); check with squeue whether Slurm is up, then try again") from error
    answer = re.fullmatch(r"(\d+)(;\S*)?", result.stdout.strip())
    if result.returncode or answer is None:
        output = result.stderr.strip() or result.stdout.strip() or f"exit code {result.returncode}"
        output = output.replace("\n", "\n  ")
        raise RunError(f"sbatch refused the job:\n  {output}\n  the command was: {shlex.join(command[:12])} ...")
    return answer[1]


def _sbatch_options(name: str, logs: Path, resources: Resources, num_elements: int) -> list[str]:
    """Return the sbatch command up to the script, for an array if there are several elements."""
    log_file = str(logs.absolute()).replace("%", "%%") + ("/%x-%A_%a.log" if num_elements > 1 else "/%x-%j.log")
    limit = f"%{resources.at_once}" if resources.at_once else ""
    options = {
        "nodes": resources.nodes,
        "gpus-per-node": resources.gpus or None,
        "time": resources.time,
        "cpus-per-task": resources.cpus,
        "mem": resources.mem,
        "partition": resources.partition,
        "account": resources.account,
        "signal": f"B:USR1@{resources.notice}",
    }
    return [
        *("sbatch", "--parsable", f"--job-name={name}", f"--output={log_file}"),
        *(f"--{key}={value}" for key, value in options.items() if value is not None),
        *resources.extra,
        *([f"--array=0-{num_elements - 1}{limit}"] if num_elements > 1 else []),
    ]


def _dependency(kind: str, job: str) -> list[str]:
    # Without the second option, a job whose dependency can never be satisfied waits for ever.
    return [f"--dependency={kind}:{job}", "--kill-on-invalid-dep=yes"]
