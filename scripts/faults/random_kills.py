"""Kill tiny runs at random moments, resume them to their end, and compare them with an undisturbed run.

    python -m scripts.faults.random_kills --kills 50 --csv

A run is 3 epochs of 6 steps of YOLOv8n, mid fusion, at 64 px, with a checkpoint every 2 steps, in one process or two
(gloo). It is killed several times: at its start, in training, in validation and while saving, by SIGKILL to the process
alone or to its group; of two ranks, one or both. After each kill every checkpoint must load, and at the end weights,
EMA, optimizer, losses and metrics must be those of the undisturbed run, bit for bit.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import signal
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from scripts.faults.lab import Job, limit_threads
from scripts.faults.ours_run import STEPS, OurRuns, SharedProgress, checkpoint_errors, log_progress, state_hash
from scripts.faults.outcomes import NOT_KEPT, TABLE, Outcome, print_outcome, save_outcomes
from yolofuse.run.records import read_status

_SAVE_EVERY = 2
_SHARE_AT_START = 0.12
"""Share of kills before the first step."""
_MAX_SHARE_OF_RUN = 0.5
"""The other kills happen within this share of a run's training time, so that a run is killed several times."""
_KILLS_PER_RUN = 5
_TIMEOUT_S = 60.0


@dataclass
class KillStats:
    """Results over all kills of one number of ranks.

    Attributes:
        ranks: Processes of a run.
        phases: Number of kills by what the run was doing.
        problems: Broken promises.
        runs: Number of runs.
        equal: Number of runs that ended like the undisturbed one.
        lost: Most steps that had to be repeated.
        survivor_s: Longest time that a rank outlived the killed one, in s.
        partial_files: Most files of interrupted saves left at a run's end.
        seconds: Of everything.
    """

    ranks: int
    phases: collections.Counter[str] = field(default_factory=collections.Counter)
    problems: list[str] = field(default_factory=list)
    runs: int = 0
    equal: int = 0
    lost: int = 0
    survivor_s: float = 0.0
    partial_files: int = 0
    seconds: float = 0.0

    @property
    def kills(self) -> int:
        """Number of kills."""
        return sum(self.phases.values())


def main() -> None:
    """Kill runs, print the outcome and optionally write it to the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="total over all numbers of ranks")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", action="store_true", help=f"write the outcome to {TABLE.name}")
    args = parser.parse_args()
    limit_threads()
    all_stats = [kill_runs(ranks, args.kills // len(args.ranks), args.seed) for ranks in args.ranks]
    problems = [problem for stats in all_stats for problem in stats.problems]
    for problem in problems:
        log_progress(f"PROBLEM: {problem}")
    outcome = _summarise(all_stats)
    print_outcome(outcome)
    if args.csv:
        save_outcomes([outcome], "ours")
    if problems:
        raise SystemExit(1)


def _summarise(all_stats: list[KillStats]) -> Outcome:
    measured: dict[str, object] = {}
    for stats in all_stats:
        phases = ", ".join(f"{count} {phase}" for phase, count in sorted(stats.phases.items()))
        measured[f"{stats.ranks} rank(s)"] = (
            f"{stats.kills} kills ({phases}), {stats.equal} of {stats.runs} ended equal, "
            f"most steps lost {stats.lost} (a save every {_SAVE_EVERY}), longest a rank outlived another "
            f"{stats.survivor_s:.1f} s, unfinished files left {stats.partial_files}, {stats.seconds:.0f} s"
        )
    problems = [problem for stats in all_stats for problem in stats.problems]
    text = "every run ends bit-identical; every checkpoint loads"
    if problems:
        text = f"{NOT_KEPT}: {len(problems)} problems, the first: {problems[0]}"
    return Outcome("sigkill", text, measured)


def kill_runs(ranks: int, kills: int, seed: int) -> KillStats:
    """Kill runs of that many ranks until the number of kills is reached."""
    rng = np.random.default_rng([seed, ranks])
    stats, progress = KillStats(ranks), SharedProgress()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        runs = OurRuns(Path(scratch), workers=2 if ranks == 1 else 1, overrides=(f"train.save_every={_SAVE_EVERY}",))
        try:
            start_s, train_s = _time_undisturbed(runs, ranks, progress)
            expected = state_hash(runs.folder("whole"))
            log_progress(f"{ranks} rank(s): starts in {start_s:.1f} s, trains {train_s:.1f} s")
            while stats.kills < kills:
                name = f"killed{stats.runs}"
                _kill_one_run(runs, name, stats, progress, rng, (start_s, train_s), kills)
                stats.runs += 1
                if state_hash(runs.folder(name)) == expected:
                    stats.equal += 1
                else:
                    stats.problems.append(f"{name} of {ranks} rank(s) did not end as the undisturbed run did")
        finally:
            runs.end_all()
    stats.seconds = time.monotonic() - started
    return stats


def _time_undisturbed(runs: OurRuns, ranks: int, progress: SharedProgress) -> tuple[float, float]:
    """Finish the reference run; return the seconds to its first step, and from there to its end."""
    started = time.monotonic()
    jobs = runs.start("whole", ranks=ranks, progress=progress)
    if not jobs[0].wait_for(lambda: progress["first"] >= 0):
        raise SystemExit(f"the undisturbed run does not start:\n{jobs[0].output()[-4000:]}")
    first = time.monotonic()
    for job in jobs:
        if job.wait() != 0:
            raise SystemExit(f"the undisturbed run ended with {job.code}:\n{job.output()[-4000:]}")
    return first - started, time.monotonic() - first


def _kill_one_run(
    runs: OurRuns,
    name: str,
    stats: KillStats,
    progress: SharedProgress,
    rng: np.random.Generator,
    seconds: tuple[float, float],
    kills: int,
) -> None:
    """Kill and resume a run a few times, then let it finish."""
    reached, most = -1, min(stats.kills + _KILLS_PER_RUN, kills)
    while stats.kills < most:
        jobs = runs.start(name, ranks=stats.ranks, progress=progress)
        if rng.random() < _SHARE_AT_START:
            time.sleep(rng.uniform(0, seconds[0]))
        else:
            jobs[0].wait_for(lambda: progress["first"] >= 0)
            time.sleep(rng.uniform(0, _MAX_SHARE_OF_RUN * seconds[1]))
        how = _kill_randomly(jobs, stats, rng)
        if how is None:
            _record_lost_steps(stats, progress, reached)
            break
        phase = progress.phase()
        stats.phases[phase] += 1
        _record_lost_steps(stats, progress, reached)
        reached = max(reached, progress["step"])
        problems = checkpoint_errors(runs.folder(name))
        stats.problems += [f"after kill {stats.kills} ({phase}, {how}): {problem}" for problem in problems]
        status = _format_status(runs.folder(name))
        log_progress(f"  kill {stats.kills:2} {name} at step {progress['step']:2} {phase}, {how}; status.json {status}")
    runs.finish(name, ranks=stats.ranks, progress=progress)
    _record_lost_steps(stats, progress, reached)
    if not (runs.folder(name) / "FINISHED").exists():
        stats.problems.append(f"{name}: succeeded, but left no FINISHED")
    if stats.lost > 2 * _SAVE_EVERY:  # one interval since the last save, and one more while that is being written
        stats.problems.append(f"{name}: {stats.lost} steps were lost, with a save every {_SAVE_EVERY}")
    partial = len(list(runs.folder(name).rglob(".*.part")))
    stats.partial_files = max(stats.partial_files, partial)
    if partial:
        stats.problems.append(f"{name}: {partial} files of interrupted saves were not removed")


def _record_lost_steps(stats: KillStats, progress: SharedProgress, reached: int) -> None:
    """Record the steps before the last kill that this process repeated."""
    if reached >= 0 and progress["first"] >= 0:
        stats.lost = max(stats.lost, reached - progress["first"])


def _kill_randomly(jobs: list[Job], stats: KillStats, rng: np.random.Generator) -> str | None:
    """Kill a run in one of several ways and return which; None if it had ended before."""
    victims = [jobs[int(rng.integers(len(jobs)))]] if len(jobs) > 1 and rng.random() < 0.5 else jobs
    with_workers = rng.random() < 0.5
    if any(job.poll() is not None for job in jobs):
        codes = [job.wait(_TIMEOUT_S) for job in jobs]
        if any(codes):
            stats.problems.append(f"a run ended without a kill with {codes}: {jobs[0].output()[-1500:]}")
        return None
    for job in victims:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL) if with_workers else job.send(signal.SIGKILL)
    killed_at = time.monotonic()
    for job in jobs:
        if job.wait(_TIMEOUT_S) is None:
            stats.problems.append(f"a rank outlived the one that was killed by more than {_TIMEOUT_S:.0f} s")
            job.kill()
    if len(victims) < len(jobs):
        stats.survivor_s = max(stats.survivor_s, time.monotonic() - killed_at)
    return f"{len(victims)} of {len(jobs)} ranks, {'with' if with_workers else 'without'} their workers"


def _format_status(folder: Path) -> str:
    status = read_status(folder)
    return "none" if status is None else f"{status.state} {status.step}/{status.epochs * STEPS}"


if __name__ == "__main__":
    main()
