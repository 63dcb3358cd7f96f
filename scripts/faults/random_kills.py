"""Kill tiny runs at random moments, go on with them to their end, and compare with a run that nobody killed.

    python scripts/kill_runs.py --kills 50 --csv

A run is 3 epochs of 6 steps of YOLOv8n, cut mid, at 64 px, with a checkpoint every 2 steps, in one process and in two
(gloo). It is killed several times over: at its start, in training, in validation and while it saves, by SIGKILL to the
process alone or to all of its group; of two ranks, to one or to both. After each kill every checkpoint has to load, and
at the end weights, EMA, optimizer, losses and scores have to be those of the undisturbed run, to the last bit.
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
from scripts.faults.lab import TABLE, Job, Outcome, book, quiet_parent, tell
from scripts.faults.ours_run import STEPS, Runs, TensorLog, damaged, state_hash, told

from yolofuse.run.records import read_status

_SAVE_EVERY = 2
_AT_START = 0.12
"""Share of kills that come before the first step."""
_MOST_OF_A_RUN = 0.5
"""Share of a whole run's steps within which the other kills come, so that a run is killed several times."""
_KILLS_OF_A_RUN = 5
_PATIENCE = 60.0


@dataclass
class ActivationStats:
    """What was found over all kills of one number of ranks."""

    ranks: int
    phases: collections.Counter[str] = field(default_factory=collections.Counter)
    how: collections.Counter[str] = field(default_factory=collections.Counter)
    problems: list[str] = field(default_factory=list)
    runs: int = 0
    equal: int = 0
    lost: int = 0
    """Most steps that had to be made again."""
    survivor_s: float = 0.0
    """Longest that a rank outlived the one that was killed."""
    partial_files: int = 0
    seconds: float = 0.0

    @property
    def kills(self) -> int:
        """How many."""
        return sum(self.phases.values())


def main() -> None:
    """Print what was found, and book it when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="over all numbers of ranks")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--csv", action="store_true", help=f"book the outcome in {TABLE.name}")
    args = parser.parse_args()
    quiet_parent()
    tallies = [_kill(ranks, args.kills // len(args.ranks), args.seed) for ranks in args.ranks]
    problems = [problem for tally in tallies for problem in tally.problems]
    for problem in problems:
        told(f"PROBLEM: {problem}")
    outcome = _outcome(tallies)
    tell(outcome)
    if args.csv:
        book([outcome], "ours")
    if problems:
        raise SystemExit(1)


def _outcome(tallies: list[ActivationStats]) -> Outcome:
    figures: dict[str, object] = {}
    for tally in tallies:
        phases = ", ".join(f"{count} {phase}" for phase, count in sorted(tally.phases.items()))
        figures[f"{tally.ranks} rank(s)"] = (
            f"{tally.kills} kills ({phases}), {tally.equal} of {tally.runs} ended equal, "
            f"most steps lost {tally.lost} (a save every {_SAVE_EVERY}), longest that a rank outlived another "
            f"{tally.survivor_s:.1f} s, unfinished files left {tally.partial_files}, {tally.seconds:.0f} s"
        )
    problems = [problem for tally in tallies for problem in tally.problems]
    text = "every run ends bit-identical; every checkpoint loads"
    if problems:
        text = f"NOT kept: {len(problems)} problems, the first: {problems[0]}"
    return Outcome("sigkill", text, figures)


def _kill(ranks: int, kills: int, seed: int) -> ActivationStats:
    """So many kills, over as many runs as they take."""
    rng = np.random.default_rng([seed, ranks])
    tally, ledger = ActivationStats(ranks), TensorLog()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        runs = Runs(Path(scratch), workers=2 if ranks == 1 else 1, options=(f"train.save_every={_SAVE_EVERY}",))
        try:
            start_s, train_s = _undisturbed(runs, ranks, ledger)
            expected = state_hash(runs.folder("whole"))
            told(f"{ranks} rank(s): starts in {start_s:.1f} s, trains {train_s:.1f} s")
            while tally.kills < kills:
                name = f"killed{tally.runs}"
                _one_run(runs, name, tally, ledger, rng, (start_s, train_s), kills)
                tally.runs += 1
                if state_hash(runs.folder(name)) == expected:
                    tally.equal += 1
                else:
                    tally.problems.append(f"{name} of {ranks} rank(s) did not end as the undisturbed run did")
        finally:
            runs.end_all()
    tally.seconds = time.monotonic() - began
    return tally


def _undisturbed(runs: Runs, ranks: int, ledger: TensorLog) -> tuple[float, float]:
    """Seconds to the first step, and from there to the end."""
    started = time.monotonic()
    jobs = runs.start("whole", ranks=ranks, ledger=ledger)
    if not jobs[0].wait_for(lambda: ledger["first"] >= 0):
        raise SystemExit(f"the undisturbed run does not begin:\n{jobs[0].said()[-4000:]}")
    first = time.monotonic()
    for job in jobs:
        if job.wait() != 0:
            raise SystemExit(f"the undisturbed run ended with {job.code}:\n{job.said()[-4000:]}")
    return first - started, time.monotonic() - first


def _one_run(
    runs: Runs,
    name: str,
    tally: ActivationStats,
    ledger: TensorLog,
    rng: np.random.Generator,
    seconds: tuple[float, float],
    kills: int,
) -> None:
    """Kill a run and go on with it a few times, then let it come to its end."""
    reached, most = -1, min(tally.kills + _KILLS_OF_A_RUN, kills)
    while tally.kills < most:
        jobs = runs.start(name, ranks=tally.ranks, ledger=ledger)
        if rng.random() < _AT_START:
            time.sleep(rng.uniform(0, seconds[0]))
        else:
            jobs[0].wait_for(lambda: ledger["first"] >= 0)
            time.sleep(rng.uniform(0, _MOST_OF_A_RUN * seconds[1]))
        how = _strike(jobs, tally, rng)
        if how is None:
            _note_loss(tally, ledger, reached)
            break
        phase = ledger.phase()
        tally.phases[phase] += 1
        tally.how[how] += 1
        _note_loss(tally, ledger, reached)
        reached = max(reached, ledger["step"])
        problems = damaged(runs.folder(name))
        tally.problems += [f"after kill {tally.kills} ({phase}, {how}): {problem}" for problem in problems]
        status = _status(runs.folder(name))
        told(f"  kill {tally.kills:2} {name} at step {ledger['step']:2} {phase}, {how}; status.json {status}")
    runs.finish(name, ranks=tally.ranks, ledger=ledger)
    _note_loss(tally, ledger, reached)
    if not (runs.folder(name) / "FINISHED").exists():
        tally.problems.append(f"{name}: ended well, but left no FINISHED")
    if tally.lost > 2 * _SAVE_EVERY:  # a save every so many steps, and as many again while it is being written
        tally.problems.append(f"{name}: {tally.lost} steps were lost, with a save every {_SAVE_EVERY}")
    partial = len(list(runs.folder(name).rglob(".*.part")))
    tally.partial_files = max(tally.partial_files, partial)
    if partial:
        tally.problems.append(f"{name}: {partial} files of interrupted saves were never cleared away")


def _note_loss(tally: ActivationStats, ledger: TensorLog, reached: int) -> None:
    """Steps made before the last kill that this process made again."""
    if reached >= 0 and ledger["first"] >= 0:
        tally.lost = max(tally.lost, reached - ledger["first"])


def _strike(jobs: list[Job], tally: ActivationStats, rng: np.random.Generator) -> str | None:
    """Kill a run in one of several ways; None if it had ended by itself."""
    victims = [jobs[int(rng.integers(len(jobs)))]] if len(jobs) > 1 and rng.random() < 0.5 else jobs
    with_workers = rng.random() < 0.5
    if any(job.poll() is not None for job in jobs):
        codes = [job.wait(_PATIENCE) for job in jobs]
        if any(codes):
            tally.problems.append(f"a run ended by itself with {codes}: {jobs[0].said()[-1500:]}")
        return None
    for job in victims:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL) if with_workers else job.send(signal.SIGKILL)
    struck = time.monotonic()
    for job in jobs:
        if job.wait(_PATIENCE) is None:
            tally.problems.append(f"a rank outlived the one that was killed by more than {_PATIENCE:.0f} s")
            job.kill()
    if len(victims) < len(jobs):
        tally.survivor_s = max(tally.survivor_s, time.monotonic() - struck)
    return f"{len(victims)} of {len(jobs)} ranks, {'with' if with_workers else 'without'} their workers"


def _status(folder: Path) -> str:
    status = read_status(folder)
    return "none" if status is None else f"{status.state} {status.step}/{status.epochs * STEPS}"


if __name__ == "__main__":
    main()
