"""Slurm's ``sbatch``: the commands of a submission, printed or run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from yolofuse.cluster.sweep import SweepRun, remove_configs, write_configs
from yolofuse.errors import ConfigError, RunError

TEMPLATE = Path(__file__).with_name("job.sbatch")
"""The job script, one for all jobs; nothing is ever filled into it."""

_TIMEOUT = 120  # seconds for an answer of sbatch
_UNKNOWN = "@job@"


@dataclass(frozen=True)
class Resources:
    """What a training job asks of the cluster. None: whatever the cluster gives by default.

    Attributes:
        nodes: Machines.
        gpus: GPUs of each, with a rank each; 0: one rank per machine, on its CPU.
        time: Limit as Slurm writes it, such as ``12:00:00``.
        cpus: Cores per machine.
        mem: Memory per machine, such as ``64G``.
        partition: Queue.
        account: Who pays.
        notice: Seconds between the signal to save and the end of a job's time.
        requeues: How often a preempted job goes back into the queue.
        at_once: How many elements of an array may run at a time.
        extra: More options of sbatch, word for word, such as ``--constraint=a100``.
    """

    nodes: int = 1
    gpus: int = 1
    time: str | None = None
    cpus: int | None = None
    mem: str | None = None
    partition: str | None = None
    account: str | None = None
    notice: int = 180
    requeues: int = 50
    at_once: int | None = None
    extra: tuple[str, ...] = ()

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
    """One sbatch command.

    Attributes:
        name: ``train``, ``val`` or ``collect``.
        command: Its words, but for what it waits for.
        waits: How it waits for the stage before: ``afterok``, ``aftercorr`` or ``afterany``; None: it does not.
    """

    name: str
    command: tuple[str, ...]
    waits: str | None = None

    def words(self, before: str | None) -> list[str]:
        """All words, given the job id of the stage before."""
        if self.waits is None or before is None:
            return list(self.command)
        return [self.command[0], *_dependency(self.waits, before), *self.command[1:]]

    def shell(self, before: str | None) -> str:
        """A line of shell that submits it and keeps the answer, ``id`` or ``id;cluster``, in a variable."""
        line = shlex.join(self.words(_UNKNOWN if before else None))
        return f"{self.name}=$({line.replace(_UNKNOWN, f'${{{before}%%;*}}', 1)})"


@dataclass(frozen=True)
class Submission:
    """Stages, each of which waits for the one before."""

    name: str
    elements: tuple[SweepRun, ...]
    stages: tuple[Stage, ...]
    logs: Path
    ids: dict[str, str] = field(default_factory=dict)
    """Job ids by stage, once submitted."""

    def script(self) -> str:
        """The commands as a shell script."""
        names = [stage.name for stage in self.stages]
        return "\n".join(stage.shell(before) for stage, before in zip(self.stages, [None, *names[:-1]], strict=True))


def plan_jobs(
    elements: Sequence[SweepRun],
    resources: Resources,
    name: str,
    logs: Path,
    *,
    after: str | None = None,
    val: bool = False,
    collect: Sequence[Path] = (),
) -> Submission:
    """The jobs that train, judge and tabulate runs. Several runs make an array, with an element for each.

    Args:
        elements: The runs.
        resources: Of each training job. A judging job has one node and one GPU of it.
        name: Of the jobs, in squeue and in the names of logs.
        logs: Folder for what jobs print; must exist when they start.
        after: Id of a job to wait for; if it fails, these never start.
        val: Score each run's best weights when its training is done.
        collect: Files for the table of all runs, made when everything before has ended, well or not.

    Raises:
        ConfigError: If the name would be a path.
    """
    if not re.fullmatch(r"[\w.+-]+", name):
        raise ConfigError(f"--name: letters, digits and . + - _ only (got '{name}')")
    several = len(elements) > 1
    log = str(logs.absolute()).replace("%", "%%") + ("/%x-%A_%a.log" if several else "/%x-%j.log")
    array = [f"--array=0-{len(elements) - 1}" + (f"%{resources.at_once}" if resources.at_once else "")]

    def head(stage: str, nodes: int, gpus: int, *, is_array: bool) -> list[str]:
        path = log if is_array or not several else str(logs.absolute()).replace("%", "%%") + "/%x-%j.log"
        return [
            *("sbatch", "--parsable", f"--job-name={name}-{stage}", f"--output={path}"),
            *_asked(resources, nodes, gpus),
            *(array if is_array and several else []),
        ]

    requeues = resources.requeues
    first = _dependency("afterok", after) if after else []
    words = [word for e in elements for word in (str(e.run), "--cfg", str(e.frozen), "--auto-resume")]
    train = [*head("train", resources.nodes, resources.gpus, is_array=True), *first]
    train += _job(requeues, resources.ranks, "yolofuse.cli.train", 3, words)
    stages = [Stage("train", tuple(train))]
    if val:
        words = [word for e in elements for word in (str(e.run), "--run", str(e.run))]
        judge = [*head("val", 1, min(resources.gpus, 1), is_array=True)]
        judge += _job(requeues, 1, "yolofuse.cli.val", 2, words)
        stages.append(Stage("val", tuple(judge), waits="aftercorr" if several else "afterok"))
    if collect:
        out = [str(path.absolute()) for path in collect]
        words = [*(str(e.run) for e in elements), "--out", *out]
        table = [*head("collect", 1, 0, is_array=False)]
        table += _job(requeues, 1, "yolofuse.cli.collect", len(words), [str(Path(out[0]).parent), *words])
        stages.append(Stage("collect", tuple(table), waits="afterany"))
    return Submission(name, tuple(elements), tuple(stages), logs.absolute())


def submit(submission: Submission) -> dict[str, str]:
    """Write the runs' configs beside them and hand the jobs to Slurm; returns job ids by stage.

    Raises:
        RunError: If there is no Slurm here, or it refuses. What was written is then taken back.
    """
    if shutil.which("sbatch") is None:
        raise RunError(
            "sbatch: not on PATH, so this is no login node of a Slurm cluster; --dry-run prints what would be "
            "submitted, and docs/cluster.md has ways without Slurm"
        )
    new = write_configs(submission.elements)
    submission.logs.mkdir(parents=True, exist_ok=True)
    before: str | None = None
    for stage in submission.stages:
        try:
            before = submission.ids[stage.name] = _sbatch(stage.words(before))
        except RunError as error:
            if not submission.ids:
                remove_configs(new)
                raise
            queued = " ".join(submission.ids.values())
            raise RunError(f"{error}\n  already in the queue: {queued}; scancel {queued} takes it back") from error
    return submission.ids


def _sbatch(words: Sequence[str]) -> str:
    """Run one sbatch command; returns the job's id."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_TIMEOUT, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"sbatch: did not answer ({error}); see whether squeue does, then try again") from error
    answer = re.fullmatch(r"(\d+)(;\S*)?", done.stdout.strip())
    if done.returncode or answer is None:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").replace("\n", "\n  ")
        raise RunError(f"sbatch refused the job:\n  {said}\n  the command was: {shlex.join(words[:12])} ...")
    return answer[1]


def _dependency(kind: str, job: str) -> list[str]:
    # Without the second, a job whose condition can never come true waits for ever.
    return [f"--dependency={kind}:{job}", "--kill-on-invalid-dep=yes"]


def _asked(resources: Resources, nodes: int, gpus: int) -> list[str]:
    asked = {
        "nodes": nodes,
        "gpus-per-node": gpus or None,
        "time": resources.time,
        "cpus-per-task": resources.cpus,
        "mem": resources.mem,
        "partition": resources.partition,
        "account": resources.account,
        "signal": f"B:USR1@{resources.notice}",
    }
    return [*(f"--{name}={value}" for name, value in asked.items() if value is not None), *resources.extra]


def _job(requeues: int, ranks: int, module: str, num: int, words: Sequence[str]) -> list[str]:
    """The template and its arguments; see its head."""
    return [str(TEMPLATE), str(requeues), str(ranks), sys.executable, module, str(num), *words]
