"""Train and evaluate the runs of the ablation in worker processes, each of which does many of them."""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import re
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import takewhile
from multiprocessing import get_context, parent_process
from pathlib import Path

import cv2
import torch
from tqdm import tqdm

from scripts.experiments.init_ablation.report import Curve, Result
from yolofuse.config import Config
from yolofuse.engine.diagnostics.early_steps import read_steps
from yolofuse.engine.train import train
from yolofuse.errors import RunError
from yolofuse.eval.provenance import environment
from yolofuse.files import save_json
from yolofuse.run.folder import RunFolder

RESULT_FILE = "cell.json"
_NOT_FINITE = re.compile(r"loss or gradients are not finite in step (\d+)")  # the RunError of yolofuse.engine.recover


@dataclass(frozen=True)
class Cell:
    """One run of the ablation.

    Attributes:
        block: Key of ``report.BLOCKS``.
        policy: Name of the policy.
        seed: Of data order and initial values.
        config: Of the run.
        origin: Data hash and weights file.
    """

    block: str
    policy: str
    seed: int
    config: Config
    origin: dict[str, str]

    @property
    def result_file(self) -> Path:
        """The file whose presence marks an evaluated run."""
        return self.config.run_dir / RESULT_FILE


def run_cells(cells: Sequence[Cell], jobs: int) -> None:
    """Train and evaluate, ``jobs`` at a time, each with one thread in a reused worker process.

    Raises:
        YolofuseError: What a run failed with, except for a loss that is not finite. Running ones are finished first.
    """
    if not cells:
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # for the workers, which read it when they import torch
    pool = ProcessPoolExecutor(min(jobs, len(cells)), get_context("spawn"), initializer=_init_worker)
    with pool, tqdm(total=len(cells), desc="runs", unit="run", disable=None) as bar:
        jobs_submitted = [pool.submit(run_cell, cell) for cell in cells]
        try:
            for job in as_completed(jobs_submitted):
                job.result()
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _init_worker() -> None:
    """Set one thread and no output; end with the parent, so that no orphan trains beside the run that resumes it."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    logging.getLogger("yolofuse").setLevel(logging.ERROR)
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - never closed: progress bars of parallel runs would overwrite each other


def _exit_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def run_cell(cell: Cell) -> None:
    """Train a run, or resume it, and save its result. A loss that is not finite is a result too: AP 0."""
    folder = RunFolder(cell.config.run_dir)
    started, nan_step, metrics = time.perf_counter(), None, {"AP": 0.0, "AP50": 0.0, "AP75": 0.0}
    try:
        train(cell.config, resume="auto")
        metrics = read_metrics(folder.results)
    except RunError as error:
        match = _NOT_FINITE.search(str(error))
        if match is None:
            raise
        nan_step = int(match[1])
    terms, curve = read_losses(cell.config.run_dir / "first_steps.csv")
    result = Result(
        block=cell.block,
        policy=cell.policy,
        seed=cell.seed,
        nan_step=nan_step,
        seconds=time.perf_counter() - started,
        figures=metrics,
        first=terms,
        curve=curve,
        origin={
            **cell.origin,
            "device": cell.config.train.device,
            **{key: value for key, value in environment().items() if key in {"commit", "date", "torch"}},
        },
    )
    save_json(cell.result_file, asdict(result))


def read_metrics(path: Path) -> dict[str, float]:
    """Return AP, AP50 and AP75 on val by pycocotools, from the evaluation after the last epoch."""
    with path.open(encoding="utf-8", newline="") as file:
        *_, last = csv.DictReader(file)
    return {name: float(last[f"val/{name}"]) for name in ("AP", "AP50", "AP75")}


def read_losses(path: Path) -> tuple[dict[str, float], Curve]:
    """Return the loss terms of the first step, and the total loss of every step before the first that is not finite."""
    steps = list(takewhile(lambda step: math.isfinite(step.total), read_steps(path)))
    if not steps:
        return {}, []
    return {**steps[0].terms, "total": steps[0].total}, [(step.number, step.total) for step in steps]


def read_result(path: Path) -> Result:
    """Return the result of an evaluated run."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return Result(**{**content, "curve": [(int(step), float(total)) for step, total in content["curve"]]})
