"""Train one model from many starts, and say which differences in AP the runs decide.

    python scripts/ablate_init.py --out results/init --runs runs/ablate --name demo --jobs 2 train.epochs=10

Every run has the same data, budget and augmentation; runs of one seed share the order of the data, so policies are
compared in pairs. Nothing is chosen by looking at val: each run is judged once, after its last epoch. A judged run is
not repeated and a stopped one goes on, so the script can be stopped, and policies and seeds can be added later: the
report is over every run in RUNS/NAME. Another budget needs another --name.
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
from scripts.experiments.init_ablation.cells import DONE, Cell, read_result, run_cells
from scripts.experiments.init_ablation.plot import save_picture
from scripts.experiments.init_ablation.report import BLOCKS, write_report

from yolofuse.cli.common import Parser, run_command
from yolofuse.config import Config, WeightsConfig, dump_config, load_config
from yolofuse.config.load import plain_config
from yolofuse.data import EpochSampler, PairSet
from yolofuse.distributed.ranks import Ranks
from yolofuse.engine.dataloaders import load_split
from yolofuse.errors import ConfigError, RunError, listing
from yolofuse.files import save_text
from yolofuse.run.folder import RunFolder
from yolofuse.weights import file_sha256

REPO = Path(__file__).resolve().parents[1]

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
    # The pure scheme is the point of these two, so the head's last convolutions follow it as well.
    "zeros": ("init.rules=[{scheme: zeros, type: Conv2d}]", "init.head_std=rules"),
    "constant": ("init.rules=[{scheme: constant, type: Conv2d, value: 0.01}]", "init.head_std=rules"),
    "article": ("init.preset=article",),
}
"""What each policy changes. Declared starts (head outputs, priors, fusion, DFL) stay, except where it says else."""

_PLAIN_INIT = ("init.preset=kaiming", "init.rules=[]")


@dataclass(frozen=True)
class Plan:
    """What every run has in common."""

    folder: Path
    cfg: Path
    words: tuple[str, ...]
    budget: dict[str, str]
    data_hash: str

    def cells(self, block: str, policies: Sequence[str], seeds: Sequence[int], weights: Path | None) -> list[Cell]:
        """The runs of a block, seed by seed: a table looked at half way has every policy over the same seeds."""
        words = ["weights={}" if weights is None else f"weights.pretrained={weights.resolve()}"]
        words += ["model.norm=none"] if block == "norm-free" else []
        origin = {"data_hash": self.data_hash, "pretrained": _told(weights)}
        found = []
        for seed in seeds:
            for policy in policies:
                run = self.folder / f"{policy}-{block}-{seed}"
                own = [*_PLAIN_INIT, *POLICIES[policy], *words, f"train.seed={seed}", f"train.run={run}"]
                found.append(Cell(block, policy, seed, load_config(self.cfg, [*self.words, *own]), origin))
        return found


def _told(weights: Path | None) -> str:
    """Name and digest of a file of weights; of a run's folder only the name."""
    if weights is None:
        return ""
    return f"{weights.name} {file_sha256(weights)[:12]}" if weights.is_file() else weights.name


def ablate(args: argparse.Namespace, words: Sequence[str]) -> None:
    """Run what is missing, then write the report."""
    plan = make_plan(args.cfg, args.runs / args.name, words)
    cells = plan.cells("scratch", args.policies, args.seeds, None)
    if args.pretrained:
        cells += plan.cells("pretrained", args.policies, args.seeds, args.pretrained)
    if args.norm_free:
        cells += plan.cells("norm-free", args.norm_free_policies, args.norm_free_seeds, None)
    refuse_other_runs(plan, cells)
    run_cells([cell for cell in cells if not cell.done.exists()], args.jobs)
    order = [(block, policy) for block in BLOCKS for policy in POLICIES]
    results = [read_result(file) for file in sorted(plan.folder.glob(f"*/{DONE}"))]
    results.sort(key=lambda result: (order.index((result.block, result.policy)), result.seed))
    save_picture(results, args.out / f"{args.name}.png")
    print(write_report(args.out, args.name, plan.budget, results, POLICIES))


def make_plan(cfg: Path, folder: Path, words: Sequence[str]) -> Plan:
    """Read the config and the data once; fixes the folder's budget, or holds it against the one it was begun with.

    Raises:
        RunError: If the folder was begun with another budget.
        YolofuseError: If config or data are wrong.
    """
    # One judgement, after the last epoch; no workers, because the runs themselves go side by side.
    fixed = (
        "data.workers=0",
        "train.val_every=0",
        "train.patience=0",
        "train.tensorboard=false",
        "train.nan_rollbacks=0",
    )
    config = load_config(cfg, [*words, *fixed])
    if config.weights.model_copy(update={"class_names": None, "name_map": None}) != WeightsConfig():
        raise ConfigError(f"{cfg}: weights.*: say which weights to start from with --pretrained")
    alone = Ranks(0, 1, torch.device("cpu"))
    splits = [load_split(config, split, alone) for split in (config.data.train_split, config.data.val_split)]
    per_epoch = len(EpochSampler(len(splits[0]), config.train.batch, 0, rank=0, world=1))
    steps = per_epoch * config.train.epochs
    every = (*words, *fixed, f"train.monitor_steps={steps}")
    base = load_config(cfg, [*every, "train.seed=0", f"train.run={folder}"])
    file = folder / "budget.yaml"
    if not file.exists():
        save_text(file, dump_config(base))
    elif changed := differences(load_config(file), base):
        raise RunError(listing(f"{folder}: begun with another budget; take another --name, or remove it", changed))
    return Plan(folder, cfg, every, _budget(base, steps, splits, words), _hash(splits))


def _budget(config: Config, steps: int, splits: Sequence[PairSet], words: Sequence[str]) -> dict[str, str]:
    """What a reader has to know of every run, in words."""
    model = config.model
    wiring = f"{model.cut} fusion, {model.fusion}" if model.streams == "both" else f"{model.streams} only"
    return {
        "epochs": str(config.train.epochs),
        "steps": str(steps),
        "imgsz": str(config.train.imgsz),
        "batch": str(config.train.batch),
        "model": f"{model.base} ({wiring})",
        "data": Path(config.data.descriptor).parent.name + "/" + Path(config.data.descriptor).name,
        "pairs": f"{len(splits[0])} train, {len(splits[1])} {config.data.val_split}",
        # A path on one's own machine says nothing to others.
        "words": " ".join(re.sub(r"=/\S*/", "=", word) for word in words),
    }


def _hash(splits: Sequence[PairSet]) -> str:
    return "+".join(split.fingerprint[:12] for split in splits)


def differences(old: Config, new: Config) -> list[str]:
    """What two configs do not agree in, as ``section.key: was, is``; the run's folder aside."""
    before, after = _flat(plain_config(old)), _flat(plain_config(new))
    keys = [key for key in dict.fromkeys([*before, *after]) if key != "train.run"]
    return [
        f"{key}: {before.get(key)} there, {after.get(key)} now" for key in keys if before.get(key) != after.get(key)
    ]


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def refuse_other_runs(plan: Plan, cells: Sequence[Cell]) -> None:
    """Check that every run that was begun is the one that is wanted now, on the same data.

    Raises:
        RunError: Naming each that is not: other pretrained weights, other data, or a policy that meant something else.
    """
    problems = []
    for cell in cells:
        folder = RunFolder(cell.config.run_dir)
        if folder.config.exists():
            changed = differences(folder.load_config(), cell.config)
            problems += [f"{folder.path.name}: {problem}" for problem in changed]
    for file in sorted(plan.folder.glob(f"*/{DONE}")):
        seen = read_result(file).origin["data_hash"]
        if seen != plan.data_hash:
            problems.append(f"{file.parent.name}: data hash {seen} there, {plan.data_hash} now")
    if problems:
        raise RunError(listing(f"{plan.folder}: made with other settings; take another --name", problems))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ablation; words such as train.epochs=2 change every run's config."""
    parser = Parser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="section.key=value words come last and change every run's config",
    )
    parser.add_argument("--out", type=Path, default=REPO / "results" / "init", help="folder of the report")
    parser.add_argument("--runs", type=Path, default=REPO / "runs" / "ablate", help="folder of the runs")
    parser.add_argument("--cfg", type=Path, default=REPO / "configs" / "demo.yaml")
    parser.add_argument("--name", default="demo", help="of the report, and of the runs' folder below --runs")
    default = ["kaiming", "xavier", "ultralytics", "orthogonal", "zeros", "constant", "article"]
    parser.add_argument("--policies", nargs="+", choices=list(POLICIES), default=default)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--pretrained", type=Path, help="weights.pretrained: run everything from this file as well")
    parser.add_argument("--norm-free", action="store_true", help="run a model without BatchNorm as well")
    norm_free = ["kaiming", "xavier", "xavier_gain", "ultralytics"]
    parser.add_argument("--norm-free-policies", nargs="+", choices=list(POLICIES), default=norm_free)
    parser.add_argument("--norm-free-seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    args, words = parser.parse_with_overrides(list(sys.argv[1:] if argv is None else argv))
    return run_command(lambda: ablate(args, words), on_interrupt="; the same command goes on from here")


if __name__ == "__main__":
    sys.exit(main())
