"""Measure how fast training is: ours on one camera and on both, beside ultralytics' own trainer on the RGB half.

    python scripts/bench_train.py --csv results/train_speed.csv
    python scripts/bench_train.py --device cuda:0 --precision bf16 --compile model --cache ram --csv ...

Every loop runs as users run it, in a process of its own, and they take turns, so that a busy machine slows all of them
alike; medians over the turns are given. What is what:

- ``step_ms`` is a whole step, ``data_ms`` what of it was spent waiting for data and bringing it to the device.
- ``computing_ms`` is the rest of it; ``bare_ms`` is forward, loss and backward of the same model on the same batch
  without a loop around them, timed right after each step. ``overhead`` is what the first takes more than the second:
  the optimizer, the moving average (shown apart too) and all the loop does besides.
- ``gflops`` are those of forward and backward for one image or pair; ``of_flops_ratio`` is how much more a step costs
  than RGB's, over how many more operations it has.
- ``of_stock`` is pairs per second over ultralytics' images per second.
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
from scripts.benchmarks.results_table import REPO, append_rows
from scripts.benchmarks.turns import Worker

from yolofuse import upstream
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.index.pair_set import PairSet, load_pairs
from yolofuse.types import PairFormat

_PREFETCHED = 2  # batches that each process of a loader has ready
_VARIANTS = {"rgb": ["model.streams=rgb"], "mid": ["model.streams=both", "model.cut=mid"]}
_STOCK = "stock rgb"
_PROFILED = 20
_PARTS = ("forward", "loss", "backward", "optimizer", "ema")
Turn = dict[str, Any]


def main() -> None:
    """Print the table, and append it to a CSV when asked to."""
    args = _arguments()
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
        rows = _rows(args, {key: worker.about for key, worker in workers.items()}, turns)
    _print(rows)
    if args.csv:
        device = torch.cuda.get_device_name(args.device) if args.device != "cpu" else "cpu"
        about = {name: getattr(args, name) for name in ("imgsz", "batch", "workers", "threads", "rounds", "steps")}
        about |= {
            "precision": args.precision,
            "compile": args.compile,
            "cache": args.cache,
            "options": " ".join(args.ours),
        }
        versions = {"torch": torch.__version__, "ultralytics": upstream.version}
        append_rows(args.csv, rows, data=args.data.resolve().parent.name, device=device, **versions, **about)


def _arguments() -> argparse.Namespace:
    real = Path(os.environ.get("YOLOFUSE_REAL_DATA", REPO.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=real / "llvip-hr" / "data.yaml", help="descriptor of 8-bit pairs")
    parser.add_argument("--bases", nargs="+", default=["yolo11n", "yolo11s"], metavar="NAME")
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--imgsz", type=int, help="px (default: 640, on the CPU 320)")
    parser.add_argument("--batch", type=int, help="pairs (default: 64, on the CPU 4)")
    parser.add_argument("--steps", type=int, help="timed steps of a turn (default: 100, on the CPU 4)")
    parser.add_argument("--rounds", type=int, help="turns of each loop (default: 7, on the CPU 25)")
    parser.add_argument("--workers", type=int, help="of each loader (default: one per core, on the CPU 0)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch (default: one per core)")
    parser.add_argument("--precision", choices=["fp32", "bf16"], help="default: bf16, on the CPU fp32")
    parser.add_argument("--compile", choices=["none", "model", "streams"], default="none", help="stock: as a whole")
    parser.add_argument("--cache", choices=["none", "ram"], default="none")
    parser.add_argument("--ours", nargs="*", default=[], metavar="KEY=VALUE", help="more options of our runs alone")
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
    args.settle = 2 + _PREFETCHED * args.workers  # so many batches were made while it was not their loop's turn
    return args


def _commands(args: argparse.Namespace, root: Path, base: str) -> Iterator[tuple[str, list[str]]]:
    here = Path(__file__).parent
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
        words = [f"{key}={value}" for key, value in options.items()]
        script = str(here / "bench_train_ours.py")
        yield name, [script, *turn, "--name", f"{base}-{name}", *words, *model, *args.ours]
    script = str(here / "bench_train_stock.py")
    same = {
        name: getattr(args, name) for name in ("imgsz", "batch", "workers", "device", "precision", "compile", "cache")
    }
    same |= {"base": base, "epochs": epochs, "profile": profiled}
    yield _STOCK, [script, *turn, *(word for name, value in same.items() for word in (f"--{name}", str(value)))]


def _write_data(pairs: PairSet, root: Path, count: int) -> None:
    """The pairs so many times over as files of their own, in folders that both trainers understand."""
    if any(record.format != PairFormat(ir_window=record.format.ir_window) for record in pairs.records):
        raise SystemExit("--data: pairs of 8 bits and equal geometry are needed, which the other trainer reads too")
    folders = {kind: root / kind / "train" for kind in ("images", "images_ir", "labels")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    for number in range(count):
        source, copy = pairs.records[number % len(pairs)], number >= len(pairs)
        boxes, class_ids = pairs.labels(number % len(pairs))
        lines = (f"{c} {' '.join(f'{v:.6f}' for v in box)}\n" for c, box in zip(class_ids, boxes.tolist(), strict=True))
        (folders["labels"] / f"{number:06d}.txt").write_text("".join(lines))
        for kind, file in (("images", source.rgb), ("images_ir", source.ir)):
            target = folders[kind] / f"{number:06d}{file.suffix}"
            if copy:
                os.link(folders[kind] / f"{number % len(pairs):06d}{file.suffix}", target)
            else:
                shutil.copyfile(file, target)
    both = {
        split: {"rgb": "images/train", "ir": "images_ir/train", "labels": "labels/train"} for split in ("train", "val")
    }
    ours = {"root": ".", "names": list(pairs.names), "splits": both}
    stock = {"path": str(root), "train": "images/train", "val": "images/train", "names": dict(enumerate(pairs.names))}
    (root / "ours.yaml").write_text(yaml.safe_dump(ours))
    (root / "stock.yaml").write_text(yaml.safe_dump(stock))


def _rows(
    args: argparse.Namespace, about: dict[tuple[str, str], Turn], turns: dict[tuple[str, str], list[Turn]]
) -> list[dict[str, object]]:
    """One row per loop: medians over its turns, and medians of ratios within each round."""
    rows = []
    for (base, name), found in turns.items():
        profile = _profile(Path(about[base, name].get("profile", "")))
        step, data = _median([t["step_ms"] for t in found]), _median([t["data_ms"] for t in found])
        stock, rgb = turns[base, _STOCK], turns[base, "rgb"]
        of_stock = _median([theirs["step_ms"] / t["step_ms"] for t, theirs in zip(found, stock, strict=True)])
        row: dict[str, object] = {
            "base": base,
            "loop": name,
            "pairs_per_s": f"{1000 * args.batch / step:.2f}",
            "step_ms": f"{step:.2f}",
            "data_ms": f"{data:.2f}",
            "data_share": f"{data / step:.4f}",
            "computing_ms": f"{_median([t['computing_ms'] for t in found]):.2f}",
            "bare_ms": "",
            "overhead": "",
            "of_stock": f"{of_stock:.3f}",
            "gflops": "",
            "of_flops_ratio": "",
        }
        if name != _STOCK:
            flops = about[base, name]["gflops"]
            cost = _median([t["computing_ms"] / other["computing_ms"] for t, other in zip(found, rgb, strict=True)])
            row["bare_ms"] = f"{_median([t['bare_ms'] for t in found]):.2f}"
            row["overhead"] = f"{_median([t['computing_ms'] / t['bare_ms'] - 1 for t in found]):.4f}"
            row["gflops"] = f"{flops:.2f}"
            row["of_flops_ratio"] = f"{cost / (flops / about[base, 'rgb']['gflops']):.3f}"
        for part in _PARTS:
            known = [t["parts_ms"][part] for t in found if part in t["parts_ms"]]
            row[f"{part}_ms"] = f"{_median(known):.3f}" if known else profile.get(part, "")
        row["gpu_busy"] = profile.get("gpu_busy", "")
        row["peak_mib"] = f"{max(t['peak_mib'] for t in found):.0f}"
        rows.append(row)
    return rows


def _profile(folder: Path) -> dict[str, str]:
    """A profile's device times by part, in ms, and the share of time in which the GPU was busy; empty without one."""
    file = folder / "parts.csv"
    if not file.is_file():
        return {}
    with file.open(newline="") as stream:
        rows = {row["part"]: row for row in csv.DictReader(stream)}
    times = {name: row["device_ms"] or row["host_ms"] for name, row in rows.items()}
    return {**times, "gpu_busy": rows["step"]["gpu_busy"]}


def _median(values: list[float]) -> float:
    return statistics.median(values)


def _print(rows: list[dict[str, object]]) -> None:
    for row in rows:
        print("  ".join(f"{name} {value}" for name, value in row.items() if value != ""))


if __name__ == "__main__":
    main()
