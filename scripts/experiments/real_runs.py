"""Train and evaluate runs on real data sets, and collect their metrics in a table."""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import yaml
from tqdm import tqdm

from scripts.benchmarks.results_table import short_commit
from scripts.paths import REAL_DATA, REPO
from yolofuse.data import PairSet
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.index.pair_set import load_pairs
from yolofuse.files import save_text
from yolofuse.tables import csv_text
from yolofuse.types import PairRecord

DATA_SETS = ("roadscene-flir", "llvip-256")
Row = dict[str, str]


@dataclass(frozen=True)
class RunSpec:
    """One run: a data set, a name for what is varied, and a seed."""

    data: str
    variant: str
    seed: int

    def run_dir(self, runs: Path) -> Path:
        """Return the run's folder."""
        return runs / f"{self.data}-{self.variant}-{self.seed}"

    def report(self, runs: Path) -> Path:
        """Return the file of the run's evaluation."""
        return self.run_dir(runs) / "eval-val" / "report.json"


def build_parser(
    description: str | None, runs: str, *, seeds: Sequence[int] = (0, 1, 2), trains: bool = True
) -> argparse.ArgumentParser:
    """Return a parser of the options that all experiments on real data share; the runs go to ``runs/RUNS``.

    Without ``seeds`` it has no such option: for experiments without random draws.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, default=REAL_DATA, help="folder with the data sets")
    parser.add_argument("--weights", type=Path, required=True, help="single-stream yolov5n, pretrained on COCO")
    parser.add_argument("--runs", type=Path, default=REPO / "runs" / runs)
    parser.add_argument("--out", type=Path, default=REPO / "results")
    if seeds:
        parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    if trains:
        help_text = "of training; bf16 is faster on processors that compute in it"
        parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help=help_text)
    return parser


def run_missing(
    specs: Sequence[RunSpec], run: Callable[[RunSpec, argparse.Namespace], None], args: argparse.Namespace
) -> None:
    """Run the specs that have no report yet, ``args.jobs`` at a time; the first failure ends the script."""
    missing = [spec for spec in specs if not spec.report(args.runs).exists()]
    with ThreadPoolExecutor(args.jobs) as pool:
        jobs = [pool.submit(run, spec, args) for spec in missing]
        try:
            for job in tqdm(as_completed(jobs), total=len(jobs), desc="runs", unit="run", disable=None):
                job.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # leaving the block would still run those that wait
            raise


def train_and_evaluate(
    spec: RunSpec, args: argparse.Namespace, *overrides: str, evaluation: Sequence[str] = ()
) -> None:
    """Train with the small config of the data set and the overrides, then evaluate; an interrupted run is resumed.

    ``evaluation`` are overrides of the final evaluation alone. Another descriptor comes with ``data.root=null``.
    """
    run = spec.run_dir(args.runs)
    if (run / "config.yaml").exists():
        run_command("train_dual.py", "--resume", str(run))
    else:
        run_command(
            "train_dual.py", "--cfg", f"configs/small/{spec.data}.yaml",
            f"data.root={args.data_root.resolve() / spec.data}", f"train.precision={args.precision}", *overrides,
            f"train.seed={spec.seed}", f"train.run={run}",
        )  # fmt: skip
    run_command("val_dual.py", "--run", str(run), *evaluation)


def run_command(script: str, *arguments: str) -> None:
    """Run one of the project's commands with one thread.

    Raises:
        SystemExit: With the end of its error output, if it fails.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(REPO / script), *arguments]
    ended = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{script} {' '.join(arguments)} failed:\n{ended.stderr[-2000:]}")


def write_descriptor(
    file: Path, splits: Mapping[str, Iterable[PairRecord]], names: Sequence[str], no_ir: Collection[int] = ()
) -> None:
    """Write a descriptor of pairs that lie anywhere, with a manifest beside it.

    The pairs of the split ``train`` at the positions ``no_ir`` have no thermal image.
    """
    rows = [
        {
            "rgb": pair.rgb,
            "ir": "" if split == "train" and position in no_ir else pair.ir,
            "label": pair.label,
            "split": split,
            **pair.tags,
        }
        for split, pairs in splits.items()
        for position, pair in enumerate(pairs)
    ]
    save_text(file.with_suffix(".csv"), csv_text(rows))
    manifest = {"manifest": str(file.with_suffix(".csv").resolve())}
    content = {"root": "/", "names": list(names), "splits": dict.fromkeys(splits, manifest)}
    save_text(file, yaml.dump(content, Dumper=PlainDumper))


class PlainDumper(yaml.SafeDumper):
    """Write equal values again instead of referring to them."""

    def ignore_aliases(self, data: object) -> bool:
        """Never write an alias: descriptors refuse them."""
        return True


def load_real_pairs(data: str, root: Path, split: str) -> PairSet:
    """Load a split of one of the real data sets below ``root``."""
    return load_pairs(load_descriptor(REPO / "configs" / "data" / f"{data}.yaml", root / data), split)


def read_rows(spec: RunSpec, runs: Path) -> Iterator[Row]:
    """Yield a row for the whole split and one for each slice; a model that was only evaluated took 0 seconds."""
    report = json.loads(spec.report(runs).read_text())
    settings = report["settings"]
    history = spec.run_dir(runs) / "results.csv"
    seconds = 0.0
    if history.exists():
        with history.open() as file:
            seconds = sum(float(row["seconds"] or 0) for row in csv.DictReader(file))
    for name, metrics in {"all": report, **report["slices"]}.items():
        yield {
            "data": spec.data,
            "model": spec.variant,
            "seed": str(spec.seed),
            "slice": name.removeprefix("daynight="),
            **{metric: f"{metrics[metric]:.4f}" for metric in ("AP", "AP50", "AP75")},
            "epochs": str(settings["epoch"]),
            "imgsz": str(settings["imgsz"]),
            "train_seconds": f"{seconds:.0f}",
            **provenance(settings, spec.run_dir(runs)),
        }


def provenance(settings: Mapping[str, str], run: Path) -> Row:
    """Return data, commit, date and device of an evaluation, and in which precision its run was trained.

    Args:
        settings: Of the evaluation's report.
        run: The run's folder; the precision of a model that was only evaluated is blank.
    """
    config = run / "config.yaml"
    return {
        "data_hash": settings["data_hash"][:12],
        "commit": short_commit(settings["commit"]),
        "date": settings["date"][:10],
        "device": f"{settings['device']}, torch {settings['torch']}",
        "precision": yaml.safe_load(config.read_text())["train"]["precision"] if config.exists() else "",
    }


def metric_values(rows: Sequence[Row], variant: str, metric: str, part: str = "all") -> list[float]:
    """Return a metric of a variant on a slice, one value per seed."""
    return [float(row[metric]) for row in rows if row["model"] == variant and row["slice"] == part]


def join_blocks(*blocks: str) -> str:
    """Join headings, tables and paragraphs to a page of Markdown."""
    return "\n\n".join(blocks) + "\n"


def write_report(folder: Path, name: str, rows: Sequence[Row], page: str) -> None:
    """Write NAME.csv, with one row per run and slice, and NAME.md; print the page."""
    save_text(folder / f"{name}.csv", csv_text(rows))
    save_text(folder / f"{name}.md", page)
    print(page)
