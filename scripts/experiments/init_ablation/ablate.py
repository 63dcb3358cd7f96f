"""Train one model with several initialisation policies, and report which differences in AP the runs support.

    python -m scripts.experiments.init_ablation --name demo --jobs 2 train.epochs=10

All runs share data, budget and augmentation; runs of one seed share the order of the data, so policies are compared in
pairs. Nothing is chosen by looking at val: each run is evaluated once, after its last epoch. An evaluated run is not
repeated and an interrupted one is resumed, so the script can be stopped, and policies and seeds can be added later: the
report covers every run in RUNS/NAME. Another budget needs another --name.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scripts.experiments.init_ablation.cells import RESULT_FILE, Cell, read_result, run_cells
from scripts.experiments.init_ablation.plot import save_plot
from scripts.experiments.init_ablation.report import BLOCKS, write_report
from scripts.paths import REPO
from yolofuse.cli.common import Parser, run_command
from yolofuse.config import Config, WeightsConfig, dump_config, load_config
from yolofuse.config.load import plain_config
from yolofuse.config.recipe import adopt_resolved
from yolofuse.data import EpochSampler, PairSet
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine.dataloaders import load_split
from yolofuse.errors import ConfigError, RunError, listing
from yolofuse.files import file_sha256, save_text
from yolofuse.run.folder import RunFolder

POLICIES: dict[str, tuple[str, ...]] = {
    "kaiming": ("init.preset=kaiming",),
    "kaiming_fan_out": ("init.rules=[{scheme: kaiming_normal, type: Conv2d, mode: fan_out, nonlinearity: auto}]",),
    "xavier": ("init.preset=xavier",),
    "xavier_gain": ("init.rules=[{scheme: xavier_normal, type: Conv2d, gain: 1.68}]",),
    "ultralytics": ("init.preset=ultralytics",),
    "resnet": ("init.preset=resnet",),
    "vgg": ("init.preset=vgg",),
    "orthogonal": ("init.rules=[{scheme: orthogonal, type: Conv2d}]",),
    "trunc_normal": ("init.rules=[{scheme: trunc_normal, type: Conv2d, std: 0.02}]",),
    # These two test the pure scheme, so it fills the head's last convolutions as well.
    "zeros": ("init.rules=[{scheme: zeros, type: Conv2d}]", "init.head_std=rules"),
    "constant": ("init.rules=[{scheme: constant, type: Conv2d, value: 0.01}]", "init.head_std=rules"),
    "article": ("init.preset=article",),
}
"""Overrides of each policy. Declared initial values (head outputs, priors, fusion, DFL) stay unless overridden here."""

PLAIN_INIT = ("init.preset=kaiming", "init.rules=[]")


@dataclass(frozen=True)
class Ablation:
    """What all runs have in common.

    Attributes:
        folder: Folder of the runs.
        cfg: YAML of the base config.
        overrides: Overrides of all runs.
        budget: Columns of the report that describe the budget.
        data_hash: Fingerprint of both splits.
    """

    folder: Path
    cfg: Path
    overrides: tuple[str, ...]
    budget: dict[str, str]
    data_hash: str

    def cells(self, block: str, policies: Sequence[str], seeds: Sequence[int], weights: Path | None) -> list[Cell]:
        """Return the runs of a block, seed by seed: an unfinished table then compares policies over the same seeds."""
        block_overrides = ["weights={}" if weights is None else f"weights.pretrained={weights.resolve()}"]
        block_overrides += ["model.norm=none"] if block == "norm-free" else []
        origin = {"data_hash": self.data_hash, "pretrained": _describe_weights(weights)}
        cells = []
        for seed in seeds:
            for policy in policies:
                run = self.folder / f"{policy}-{block}-{seed}"
                own = [*PLAIN_INIT, *POLICIES[policy], *block_overrides, f"train.seed={seed}", f"train.run={run}"]
                cells.append(Cell(block, policy, seed, load_config(self.cfg, [*self.overrides, *own]), origin))
        return cells


def _describe_weights(weights: Path | None) -> str:
    """Return name and digest of a weights file; only the name of a run folder."""
    if weights is None:
        return ""
    return f"{weights.name} {file_sha256(weights)[:12]}" if weights.is_file() else weights.name


def ablate(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Run what is missing, then write the report over all evaluated runs."""
    ablation = prepare_ablation(args.cfg, args.runs / args.name, overrides)
    cells = ablation.cells("scratch", args.policies, args.seeds, None)
    if args.pretrained:
        cells += ablation.cells("pretrained", args.policies, args.seeds, args.pretrained)
    if args.norm_free:
        cells += ablation.cells("norm-free", args.norm_free_policies, args.norm_free_seeds, None)
    check_existing_runs(ablation, cells)
    run_cells([cell for cell in cells if not cell.result_file.exists()], args.jobs)
    order = [(block, policy) for block in BLOCKS for policy in POLICIES]
    results = [read_result(file) for file in sorted(ablation.folder.glob(f"*/{RESULT_FILE}"))]
    results.sort(key=lambda result: (order.index((result.block, result.policy)), result.seed))
    save_plot(results, args.out / f"{args.name}.png")
    print(write_report(args.out, args.name, ablation.budget, results, POLICIES))


def prepare_ablation(cfg: Path, folder: Path, overrides: Sequence[str]) -> Ablation:
    """Read config and data once; record the folder's budget, or check it against the recorded one.

    Raises:
        RunError: If the folder was started with another budget.
        YolofuseError: If config or data are wrong.
    """
    # One evaluation, after the last epoch; no workers, because the runs themselves are parallel.
    fixed = (
        "data.workers=0",
        "train.val_every=0",
        "train.patience=0",
        "train.tensorboard=false",
        "train.nan_rollbacks=0",
    )
    config = load_config(cfg, [*overrides, *fixed])
    if config.weights.model_copy(update={"class_names": None, "name_map": None}) != WeightsConfig():
        raise ConfigError(f"{cfg}: weights.*: name the pretrained weights with --pretrained instead")
    single = Ranks(0, 1, torch.device("cpu"))
    splits = [load_split(config, split, single) for split in (config.data.train_split, config.data.val_split)]
    per_epoch = len(EpochSampler(len(splits[0]), config.train.batch, 0, rank=0, world=1))
    steps = per_epoch * config.train.epochs
    shared = (*overrides, *fixed, f"train.monitor_steps={steps}")
    base = load_config(cfg, [*shared, "train.seed=0", f"train.run={folder}"])
    file = folder / "budget.yaml"
    if not file.exists():
        save_text(file, dump_config(base))
    elif changed := differences(load_config(file), base):
        raise RunError(listing(f"{folder}: started with another budget; use another --name, or remove it", changed))
    data_hash = "+".join(split.fingerprint[:12] for split in splits)
    return Ablation(folder, cfg, shared, _budget(base, steps, splits, overrides), data_hash)


def _budget(config: Config, steps: int, splits: Sequence[PairSet], overrides: Sequence[str]) -> dict[str, str]:
    """Return the columns of the report that describe model, data and training of all runs."""
    model = config.model
    wiring = f"{model.cut} fusion, {model.fusion_label}" if model.streams == "both" else f"{model.streams} only"
    return {
        "epochs": str(config.train.epochs),
        "steps": str(steps),
        "imgsz": str(config.train.imgsz),
        "batch": str(config.train.batch),
        "model": f"{model.base} ({wiring})",
        "data": Path(config.data.descriptor).parent.name + "/" + Path(config.data.descriptor).name,
        "pairs": f"{len(splits[0])} train, {len(splits[1])} {config.data.val_split}",
        # Absolute folders are removed: they mean nothing on another machine.
        "words": " ".join(re.sub(r"=/\S*/", "=", override) for override in overrides),
    }


def differences(old: Config, new: Config) -> list[str]:
    """Return the keys in which two configs differ, as ``section.key: X there, Y now``; ``train.run`` may differ."""
    before, after = _flatten(plain_config(old)), _flatten(plain_config(new))
    keys = [key for key in dict.fromkeys([*before, *after]) if key != "train.run"]
    return [
        f"{key}: {before.get(key)} there, {after.get(key)} now" for key in keys if before.get(key) != after.get(key)
    ]


def _flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def check_existing_runs(ablation: Ablation, cells: Sequence[Cell]) -> None:
    """Check that every existing run has the config that it would have now, and the same data.

    Raises:
        RunError: Naming each that has not: other pretrained weights, other data, or another meaning of its policy.
    """
    problems = []
    for cell in cells:
        folder = RunFolder(cell.config.run_dir)
        if folder.config.exists():
            saved = folder.load_config()
            changed = differences(saved, adopt_resolved(cell.config, saved))
            problems += [f"{folder.path.name}: {problem}" for problem in changed]
    for file in sorted(ablation.folder.glob(f"*/{RESULT_FILE}")):
        old_hash = read_result(file).origin["data_hash"]
        if old_hash != ablation.data_hash:
            problems.append(f"{file.parent.name}: data hash {old_hash} there, {ablation.data_hash} now")
    if problems:
        raise RunError(listing(f"{ablation.folder}: made with other settings; use another --name", problems))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ablation; overrides such as train.epochs=2 apply to every run."""
    parser = Parser(
        prog="python -m scripts.experiments.init_ablation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="section.key=value overrides come last and apply to every run",
    )
    parser.add_argument("--out", type=Path, default=REPO / "results" / "init", help="folder of the report")
    parser.add_argument("--runs", type=Path, default=REPO / "runs" / "ablate", help="folder of the runs")
    parser.add_argument("--cfg", type=Path, default=REPO / "configs" / "demo.yaml")
    parser.add_argument("--name", default="demo", help="name of the report, and of the folder of its runs in --runs")
    default = ["kaiming", "xavier", "ultralytics", "orthogonal", "zeros", "constant", "article"]
    parser.add_argument("--policies", nargs="+", choices=list(POLICIES), default=default)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--pretrained", type=Path, help="weights.pretrained: also run everything from this file")
    parser.add_argument("--norm-free", action="store_true", help="also run a model without BatchNorm")
    norm_free = ["kaiming", "xavier", "xavier_gain", "ultralytics"]
    parser.add_argument("--norm-free-policies", nargs="+", choices=list(POLICIES), default=norm_free)
    parser.add_argument("--norm-free-seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    args, overrides = parser.parse_with_overrides(list(sys.argv[1:] if argv is None else argv))
    return run_command(lambda: ablate(args, overrides), on_interrupt="; the same command continues from here")
