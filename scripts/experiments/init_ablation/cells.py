"""The runs of scripts/ablate_init.py: each trained and judged in a process that lives for many of them."""

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
from scripts.experiments.init_ablation.report import Curve, Result
from tqdm import tqdm

from yolofuse.config import Config
from yolofuse.engine.diagnostics.early_steps import read_steps
from yolofuse.engine.train import train
from yolofuse.errors import RunError
from yolofuse.eval.report import environment
from yolofuse.files import save_json
from yolofuse.run.folder import RunFolder

DONE = "cell.json"
_BROKEN = re.compile(r"loss or gradients are not finite in step (\d+)")  # of yolofuse.engine.recover's RunError


@dataclass(frozen=True)
class Cell:
    """One run of the table."""

    block: str
    policy: str
    seed: int
    config: Config
    origin: dict[str, str]
    """Data hash, and the file of weights."""

    @property
    def done(self) -> Path:
        """The file that marks a judged run."""
        return self.config.run_dir / DONE


def run_cells(cells: Sequence[Cell], jobs: int) -> None:
    """Train and judge, ``jobs`` at a time, each in one thread of a process that lives for many runs.

    Raises:
        YolofuseError: What a run stopped with, a loss that is not finite aside. Runs under way are finished first.
    """
    if not cells:
        return
    os.environ["OMP_NUM_THREADS"] = "1"  # for the workers, who read it before they import torch
    pool = ProcessPoolExecutor(min(jobs, len(cells)), get_context("spawn"), initializer=_quiet_worker)
    with pool, tqdm(total=len(cells), desc="runs", unit="run", disable=None) as bar:
        work = [pool.submit(run_cell, cell) for cell in cells]
        try:
            for done in as_completed(work):
                done.result()
                bar.update()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _quiet_worker() -> None:
    """One thread, silence, and no life after the script's: a run must not go on beside the one that resumes it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    logging.getLogger("yolofuse").setLevel(logging.ERROR)
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for good: bars of several runs would overwrite each other


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def run_cell(cell: Cell) -> None:
    """Train one cell, which judges itself at its end; a killed one goes on. A loss not finite is a result: AP 0."""
    folder = RunFolder(cell.config.run_dir)
    started, nan_step, figures = time.perf_counter(), None, {"AP": 0.0, "AP50": 0.0, "AP75": 0.0}
    try:
        train(cell.config, resume=folder.config.exists())
        figures = read_figures(folder.results)
    except RunError as error:
        broken = _BROKEN.search(str(error))
        if broken is None:
            raise
        nan_step = int(broken[1])
    terms, curve = read_losses(cell.config.run_dir / "first_steps.csv")
    result = Result(
        block=cell.block,
        policy=cell.policy,
        seed=cell.seed,
        nan_step=nan_step,
        seconds=time.perf_counter() - started,
        figures=figures,
        first=terms,
        curve=curve,
        origin={
            **cell.origin,
            "device": cell.config.train.device,
            **{key: value for key, value in environment().items() if key in {"commit", "date", "torch"}},
        },
    )
    save_json(cell.done, asdict(result))


def read_figures(path: Path) -> dict[str, float]:
    """AP, AP50 and AP75 on val, by pycocotools, as the run judged itself after its last epoch."""
    with path.open(encoding="utf-8", newline="") as file:
        *_, last = csv.DictReader(file)
    return {name: float(last[f"val/{name}"]) for name in ("AP", "AP50", "AP75")}


def read_losses(path: Path) -> tuple[dict[str, float], Curve]:
    """The terms of the first step's loss, and the whole loss of every step up to the first that is not finite."""
    steps = list(takewhile(lambda step: math.isfinite(step.total), read_steps(path)))
    if not steps:
        return {}, []
    return {**steps[0].terms, "total": steps[0].total}, [(step.number, step.total) for step in steps]


def read_result(path: Path) -> Result:
    """A judged run."""
    content = json.loads(path.read_text(encoding="utf-8"))
    return Result(**{**content, "curve": [(int(step), float(total)) for step, total in content["curve"]]})
