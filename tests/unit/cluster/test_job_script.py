"""The job script, with a fake srun and scontrol; integration/test_slurm.py has a real Slurm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.cluster_runs import ODD_NAME, program
from yolofuse.cluster.slurm import TEMPLATE


class Job:
    """Runs the job script as one node of a job does, with a fake srun and scontrol."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requeued = folder / "requeued"
        self.run = folder / ODD_NAME
        self.run.mkdir()
        tools = folder / "bin"
        # as srun does: signals reach its task, and its exit code is the task's
        program(tools, "srun", 'while [[ $1 == --* ]]; do shift; done; export SLURM_NODEID=0; exec "$@"')
        requeue = f'[ -z "$QUEUED" ] && echo "$2" >>"{self.requeued}"'
        answer = f'case "$*" in requeue*) {requeue};; *job*) echo "JobState=$QUEUED";; *) echo n1;; esac'
        program(tools, "scontrol", answer)
        environ = {k: v for k, v in os.environ.items() if not k.startswith("SLURM")}
        here = {"PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(folder)}
        slurm = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1", "SLURM_NNODES": "1"}
        self.environ = {**environ, **here, **slurm}

    def start(
        self,
        task: str,
        *words: str,
        requeues: int = 3,
        python: str = sys.executable,
        ranks: int = 1,
        environ: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Start it with a Python program as task; ``words`` are a run's folder and two arguments, per element."""
        (self.folder / "task.py").write_text(
            f"import os, pathlib, signal, sys, time\nrun = pathlib.Path(sys.argv[1])\n{task}"
        )
        command = ["bash", str(TEMPLATE), str(requeues), str(ranks), python, "task", "2", *words]
        if not words:
            command += [str(self.run), str(self.run), ODD_NAME]
        return subprocess.Popen(
            command,
            env={**self.environ, **(environ or {})},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def end(self, started: subprocess.Popen[str]) -> tuple[int, str]:
        """Return its exit code and its output."""
        out, err = started.communicate(timeout=30)
        return started.returncode, out + err


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job of one node."""
    return Job(tmp_path)


_MARK = "(run / 'PREEMPTED').write_text(str(time.time()))\n"


@pytest.mark.parametrize("code", [0, 3])
def test_template__exits_with_the_code_of_its_task_and_passes_arguments_on(job: Job, code: int) -> None:
    exit_code, output = job.end(job.start(f"print(sys.argv[1:])\nsys.exit({code})"))
    assert exit_code == code
    assert repr([str(job.run), ODD_NAME]) in output
    assert not job.requeued.exists()
    assert not (job.folder / "bad").exists()


def test_template__an_element_of_an_array_uses_its_own_arguments(job: Job) -> None:
    words = [word for name in ("p", "q", "r") for word in (str(job.folder / name), str(job.folder / name), f"--{name}")]
    _, output = job.end(job.start("print(sys.argv[1:])", *words, environ={"SLURM_ARRAY_TASK_ID": "1"}))
    assert repr([str(job.folder / "q"), "--q"]) in output


@pytest.mark.parametrize(
    ("task", "environ", "requeues", "is_requeued", "message"),
    [
        (_MARK + "sys.exit(75)", {}, 3, True, "preempted; saved; requeueing"),
        ("sys.exit(75)", {}, 3, False, "ended with code 75"),
        (_MARK, {}, 3, False, "ended with code 0"),
        (_MARK + "sys.exit(75)", {"SLURM_RESTART_COUNT": "3"}, 3, False, "3 times were allowed"),
        (_MARK + "sys.exit(75)", {"SLURM_RESTART_COUNT": "2"}, 3, True, "requeueing"),
    ],
    ids=["preempted", "crashed", "done", "too-often", "last-time"],
)
def test_template__requeues_a_run_that_wrote_a_new_marker(
    job: Job, task: str, environ: dict[str, str], requeues: int, is_requeued: bool, message: str
) -> None:
    code, output = job.end(job.start(task, requeues=requeues, environ=environ))
    assert job.requeued.exists() == is_requeued
    assert message in output
    assert code == (75 if "75" in task else 0)


@pytest.mark.parametrize(("state", "message"), [("PENDING", "saved; requeueing"), ("RUNNING", "did not requeue it")])
def test_template__reports_whether_slurm_requeued_it_or_refused(job: Job, state: str, message: str) -> None:
    _, output = job.end(job.start(_MARK + "sys.exit(75)", environ={"QUEUED": state}))
    assert message in output


@pytest.mark.parametrize("task", ["sys.exit(1)", "(run / 'PREEMPTED').unlink()\nsys.exit(1)"], ids=["kept", "removed"])
def test_template__an_old_marker_is_no_reason_to_requeue(job: Job, task: str) -> None:
    (job.run / "PREEMPTED").write_text("of the start before")
    assert job.end(job.start(task))[0] == 1
    assert not job.requeued.exists()


_WAITS = """
def end(number, frame):
    {on_signal}
    sys.exit(75)
signal.signal(signal.SIGUSR1, end)
signal.signal(signal.SIGTERM, end)
(run / "ready").touch()
time.sleep(25)
"""


def _signalled(job: Job, number: int, on_signal: str) -> tuple[int, str]:
    started = job.start(_WAITS.format(on_signal=on_signal))
    deadline = time.monotonic() + 20
    while not (job.run / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    if number == signal.SIGTERM:  # Slurm sends it to the steps as well
        os.killpg(started.pid, number)
    else:
        started.send_signal(number)
    return job.end(started)


@pytest.mark.parametrize(
    ("on_signal", "message"),
    [
        ("(run / 'PREEMPTED').touch(); (run / 'PREEMPTED').write_text('x')", "preempted; saved; requeueing"),
        ("pass", "not saved"),
    ],
    ids=["saved", "too-early-to-save"],
)
def test_template__forwards_usr1_waits_and_requeues(job: Job, on_signal: str, message: str) -> None:
    code, output = _signalled(job, signal.SIGUSR1, on_signal)
    assert message in output
    assert code == 75
    assert job.requeued.read_text() == "7\n"


@pytest.mark.parametrize(
    ("saving", "codes"), [("time.sleep(0.3)", {75}), ("pass", {75, 143})], ids=["saves", "at-once"]
)
def test_template__cancelled_job_is_not_requeued(job: Job, saving: str, codes: set[int]) -> None:
    """The code of a task that ends in the instant of the signal may be lost."""
    code, output = _signalled(job, signal.SIGTERM, f"(run / 'PREEMPTED').write_text('x'); {saving}")
    assert code in codes
    assert f"ended with code {code}" in output
    assert not job.requeued.exists()


def test_template__requeues_if_another_node_does_not_answer(job: Job) -> None:
    """The first srun runs the task; the second checks the nodes."""
    program(job.folder / "bin", "srun", '[[ "$*" != *" true" ]] || exit "$SILENT"; exit 1')
    for silent in ("0", "1"):
        code, output = job.end(job.start("", environ={"SLURM_NNODES": "2", "SILENT": silent}))
        assert code == 1
        assert ("a node does not answer; requeueing" in output) == job.requeued.exists() == (silent == "1")


def test_template__several_ranks_go_through_torchrun(job: Job) -> None:
    python = program(job.folder, "my python", 'printf "<%s>" "$@"')
    _, output = job.end(job.start("", python=str(python), ranks=4, environ={"SLURM_NNODES": "2"}))
    assert "<torch.distributed.run><--nnodes=2><--nproc-per-node=4><--max-restarts=0>" in output
    assert "<--rdzv-endpoint=n1:10007>" in output
    assert "SIGUSR1" in output
    assert output.index(f"<--module><--><task><{job.run}><{ODD_NAME}>")


def test_template__is_linked_in_scripts() -> None:
    link = Path(__file__).parents[3] / "scripts" / "slurm" / "job.sbatch"
    assert link.read_bytes() == TEMPLATE.read_bytes()
