"""The same config with several seeds through submitit, for those who use it already: pip install submitit.

    python scripts/slurm/submitit_sweep.py --cfg configs/llvip/mid.yaml --seeds 0 1 2 --gpus 4 --minutes 600

One node per run. ``yolofuse.cli.submit`` does the same without submitit, on several nodes, and waits for what has to be
saved; see docs/cluster.md. submitit pickles the job's description into its log folder and reads it back in the job.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

os.environ["SUBMITIT_PREEMPT_SIGNAL"] = "USR1"  # before the import; it says USR2, of which the ranks would die
os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = "150"  # seconds that torchrun gives ranks to save in

import submitit

from yolofuse.cluster.sweep import plan_runs, write_configs

_NOTICE = 180  # seconds before the end of a job's time


@dataclass
class Training:
    """Trains in a process of its own; when the job is preempted, the next one goes on."""

    command: list[str]

    def __call__(self) -> None:
        """Train to the end."""
        self.process = subprocess.Popen(self.command)
        if code := self.process.wait():
            raise RuntimeError(f"training ended with code {code}; see the log above")

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """What to requeue. Slurm has signalled the ranks as well: they are waited for, since a requeue kills them."""
        # Not process.wait(): this runs in a signal handler, in the midst of the other wait, which has its lock.
        os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        return submitit.helpers.DelayedSubmission(Training(self.command))


def main() -> None:
    """Submit one job per seed, as an array."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cfg", type=Path, nargs="+", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[])
    parser.add_argument("--gpus", type=int, default=1)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--logs", type=Path, default=Path("runs/submitit"))
    args = parser.parse_args()
    ranks = max(args.gpus, 1)
    runs = plan_runs(args.cfg, seeds=args.seeds, world=ranks)
    write_configs(runs)
    launcher = [sys.executable]
    if ranks > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}", "--max-restarts=0"]
        launcher += ["--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"]
    executor = submitit.SlurmExecutor(folder=args.logs)
    executor.update_parameters(
        time=args.minutes, nodes=1, ntasks_per_node=1, gpus_per_node=args.gpus or None, signal_delay_s=_NOTICE
    )
    with executor.batch():
        jobs = [
            executor.submit(
                Training([*launcher, "-m", "yolofuse.cli.train", "--cfg", str(run.frozen), "--auto-resume"])
            )
            for run in runs
        ]
    for job, run in zip(jobs, runs, strict=True):
        print(f"job {job.job_id}  {run.run}")


if __name__ == "__main__":
    main()
