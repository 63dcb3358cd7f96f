"""Measure training speed: our loop on one modality and on both, beside ultralytics' trainer on the RGB half.

    python -m scripts.benchmarks.train --csv results/train_speed.csv
    python -m scripts.benchmarks.train --device cuda:0 --precision bf16 --compile model --cache ram --csv ...

Every loop runs in its own process, as users run it. The loops alternate, so that a busy machine slows all of them
equally; the table has the medians over the turns. Columns:

- ``step_ms`` is a whole step; ``data_ms`` is the part of it spent waiting for data and copying it to the device.
- ``computing_ms`` is the rest; ``bare_ms`` is forward, loss and backward of the same model on the same batch without a
  loop around them, timed right after each step. ``overhead`` is how much longer the first takes than the second: the
  optimizer, the EMA (both also listed separately) and everything else in the loop.
- ``gflops`` counts forward and backward of one image or pair; ``of_flops_ratio`` is the cost of a step relative to
  RGB's, divided by its number of operations relative to RGB's.
- ``of_stock`` is pairs per second divided by ultralytics' images per second.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
import yaml

from scripts.benchmarks.measure import device_name
from scripts.benchmarks.results_table import append_rows
from scripts.benchmarks.turns import Worker
from scripts.paths import REAL_DATA
from yolofuse import upstream
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.index.pair_set import PairSet, load_pairs
from yolofuse.tables import text_table
from yolofuse.types import PairFormat

_PREFETCHED = 2  # batches that each loader worker has ready
_VARIANTS = {"rgb": ["model.streams=rgb"], "mid": ["model.streams=both", "model.cut=mid"]}
_ULTRALYTICS = "stock rgb"
_PROFILED = 20
_PARTS = ("forward", "loss", "backward", "optimizer", "ema")
Turn = dict[str, Any]


def main() -> None:
    """Measure every loop, print the table and optionally append it to a CSV."""
    args = _parse_arguments()
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        root = Path(scratch)
        split = load_pairs(load_descriptor(args.data), "train", cache_dir=root / "cache")
        _write_data(split, root, args.batch * (args.settle + args.steps))
        workers: dict[tuple[str, str], Worker] = {}
        for base in args.bases:
            for name, command in _commands(args, root, base):
                print(f"starting {base} {name} ...", flush=True)
                log = root / f"{base} {name}.log"
                workers[base, name] = stack.enter_context(Worker(f"{base} {name}", command, log, args.threads))
        turns: dict[tuple[str, str], list[Turn]] = {key: [] for key in workers}
        for number in range(args.rounds):
            for key in list(workers) if number % 2 else reversed(workers):  # so that a drift cancels out
                turns[key].append(workers[key].turn())
            print(f"round {number + 1} of {args.rounds}", flush=True)
        rows = _summarise(args, {key: worker.facts for key, worker in workers.items()}, turns)
    _print_transposed(rows)
    if args.csv:
        append_rows(args.csv, rows, _settings(args))


def _settings(args: argparse.Namespace) -> dict[str, object]:
    """Return the columns that all rows share."""
    names = ("imgsz", "batch", "workers", "threads", "rounds", "steps", "precision", "compile", "cache")
    return {
        "data": args.data.resolve().parent.name,
        "device": device_name(torch.device(args.device)),
        "torch": torch.__version__,
        "ultralytics": upstream.version,
        **{name: getattr(args, name) for name in names},
        "options": " ".join(args.ours),
    }


def _parse_arguments() -> argparse.Namespace:
    data = REAL_DATA / "llvip-hr" / "data.yaml"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data, help="descriptor of 8-bit pairs")
    parser.add_argument("--bases", nargs="+", default=["yolo11n", "yolo11s"], metavar="NAME")
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--imgsz", type=int, help="px (default: 640, on the CPU 320)")
    parser.add_argument("--batch", type=int, help="pairs (default: 64, on the CPU 4)")
    parser.add_argument("--steps", type=int, help="timed steps per turn (default: 100, on the CPU 4)")
    parser.add_argument("--rounds", type=int, help="turns per loop (default: 7, on the CPU 25)")
    parser.add_argument("--workers", type=int, help="per loader (default: one per core, on the CPU 0)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch (default: one per core)")
    parser.add_argument("--precision", choices=["fp32", "bf16"], help="default: bf16, on the CPU fp32")
    parser.add_argument(
        "--compile", choices=["none", "model", "streams"], default="none", help="ultralytics: always the whole model"
    )
    parser.add_argument("--cache", choices=["none", "ram"], default="none")
    parser.add_argument("--ours", nargs="*", default=[], metavar="KEY=VALUE", help="options of our runs only")
    parser.add_argument("--csv", type=Path, help="file to append the results to")
    args = parser.parse_args()
    on_cpu = args.device == "cpu"
    for name, on_gpu, otherwise in (
        ("imgsz", 640, 320),
        ("batch", 64, 4),
        ("steps", 100, 4),
        ("rounds", 7, 25),
        ("workers", os.cpu_count(), 0),
        ("precision", "bf16", "fp32"),
    ):
        if getattr(args, name) is None:
            setattr(args, name, otherwise if on_cpu else on_gpu)
    if on_cpu and args.precision != "fp32":
        parser.error("--precision: ultralytics trains in fp32 only on the CPU")
    args.settle = 2 + _PREFETCHED * args.workers  # this many batches were made while another loop had its turn
    return args


def _commands(args: argparse.Namespace, root: Path, base: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of every loop, and the arguments that start its process with Python."""
    profiled = 0 if args.device == "cpu" else min(_PROFILED, args.steps - 2)
    turn = ["--root", str(root), "--settle", str(args.settle), "--steps", str(args.steps)]
    turn += ["--threads", str(args.threads)]
    epochs = args.rounds + 2
    for name, model in _VARIANTS.items():
        options = {
            "data.workers": args.workers,
            "data.cache_dir": root / "cache",
            "model.base": base,
            "train.epochs": epochs,
            "train.imgsz": args.imgsz,
            "train.batch": args.batch,
            "train.nominal_batch": args.batch,
            "train.device": args.device,
            "train.precision": args.precision,
            "train.compile": args.compile,
            "train.cache": args.cache,
            "train.profile_steps": profiled,
            "train.lr0": 1e-4,
            "train.warmup_epochs": 0,
            "train.close_mosaic": 0,
            "train.val_every": 0,
            "train.patience": 0,
        }
        overrides = [f"{key}={value}" for key, value in options.items()]
        command = ["-m", "scripts.benchmarks.train_ours", *turn, "--name", f"{base}-{name}"]
        yield name, [*command, *overrides, *model, *args.ours]
    names = ("imgsz", "batch", "workers", "device", "precision", "compile", "cache")
    shared = {name: getattr(args, name) for name in names} | {"base": base, "epochs": epochs, "profile": profiled}
    flags = [text for name, value in shared.items() for text in (f"--{name}", str(value))]
    yield _ULTRALYTICS, ["-m", "scripts.benchmarks.train_ultralytics", *turn, *flags]


def _write_data(pairs: PairSet, root: Path, count: int) -> None:
    """Write ``count`` pairs as separate files, in folders that both trainers read; pairs are repeated as needed."""
    if any(record.format != PairFormat(ir_window=record.format.ir_window) for record in pairs.records):
        raise SystemExit("--data: needs 8-bit pairs of equal geometry, which ultralytics reads too")
    folders = {kind: root / kind / "train" for kind in ("images", "images_ir", "labels")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    for number in range(count):
        source, is_copy = pairs.records[number % len(pairs)], number >= len(pairs)
        boxes, class_ids = pairs.labels(number % len(pairs))
        lines = (f"{c} {' '.join(f'{v:.6f}' for v in box)}\n" for c, box in zip(class_ids, boxes.tolist(), strict=True))
        (folders["labels"] / f"{number:06d}.txt").write_text("".join(lines))
        for kind, file in (("images", source.rgb), ("images_ir", source.ir)):
            target = folders[kind] / f"{number:06d}{file.suffix}"
            if is_copy:
                os.link(folders[kind] / f"{number % len(pairs):06d}{file.suffix}", target)
            else:
                shutil.copyfile(file, target)
    splits = {
        split: {"rgb": "images/train", "ir": "images_ir/train", "labels": "labels/train"} for split in ("train", "val")
    }
    ours = {"root": ".", "names": list(pairs.names), "splits": splits}
    theirs = {"path": str(root), "train": "images/train", "val": "images/train", "names": dict(enumerate(pairs.names))}
    (root / "ours.yaml").write_text(yaml.safe_dump(ours))
    (root / "ultralytics.yaml").write_text(yaml.safe_dump(theirs))


def _summarise(
    args: argparse.Namespace, facts: dict[tuple[str, str], Turn], turns: dict[tuple[str, str], list[Turn]]
) -> list[dict[str, object]]:
    """Return one row per loop: medians over its turns, and medians of the ratios within each round."""
    rows = []
    for (base, name), mine in turns.items():
        profile = _read_profile(Path(facts[base, name].get("profile", "")))
        step, data = _median([t["step_ms"] for t in mine]), _median([t["data_ms"] for t in mine])
        theirs, rgb = turns[base, _ULTRALYTICS], turns[base, "rgb"]
        of_ultralytics = _median([other["step_ms"] / t["step_ms"] for t, other in zip(mine, theirs, strict=True)])
        row: dict[str, object] = {
            "base": base,
            "loop": name,
            "pairs_per_s": f"{1000 * args.batch / step:.2f}",
            "step_ms": f"{step:.2f}",
            "data_ms": f"{data:.2f}",
            "data_share": f"{data / step:.4f}",
            "computing_ms": f"{_median([t['computing_ms'] for t in mine]):.2f}",
            "bare_ms": "",
            "overhead": "",
            "of_stock": f"{of_ultralytics:.3f}",
            "gflops": "",
            "of_flops_ratio": "",
        }
        if name != _ULTRALYTICS:
            flops = facts[base, name]["gflops"]
            cost = _median([t["computing_ms"] / other["computing_ms"] for t, other in zip(mine, rgb, strict=True)])
            row["bare_ms"] = f"{_median([t['bare_ms'] for t in mine]):.2f}"
            row["overhead"] = f"{_median([t['computing_ms'] / t['bare_ms'] - 1 for t in mine]):.4f}"
            row["gflops"] = f"{flops:.2f}"
            row["of_flops_ratio"] = f"{cost / (flops / facts[base, 'rgb']['gflops']):.3f}"
        for part in _PARTS:
            known = [t["parts_ms"][part] for t in mine if part in t["parts_ms"]]
            row[f"{part}_ms"] = f"{_median(known):.3f}" if known else profile.get(part, "")
        row["gpu_busy"] = profile.get("gpu_busy", "")
        row["peak_mib"] = f"{max(t['peak_mib'] for t in mine):.0f}"
        rows.append(row)
    return rows


def _read_profile(folder: Path) -> dict[str, str]:
    """Return device times by part, in ms, and the share of time with a busy GPU; empty if there is no profile."""
    file = folder / "parts.csv"
    if not file.is_file():
        return {}
    with file.open(newline="") as stream:
        rows = {row["part"]: row for row in csv.DictReader(stream)}
    times = {name: row["device_ms"] or row["host_ms"] for name, row in rows.items()}
    return {**times, "gpu_busy": rows["step"]["gpu_busy"]}


def _median(values: list[float]) -> float:
    return statistics.median(values)


def _print_transposed(rows: list[dict[str, object]]) -> None:
    """Print a column per loop and a line per value: there are too many values for one line."""
    print(text_table([[name, *(str(row[name]) for row in rows)] for name in rows[0]]))


if __name__ == "__main__":
    main()
