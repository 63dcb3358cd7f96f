"""Run ``yolofuse submit``: train on a Slurm cluster."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from yolofuse.cli.common import Parser, run_as_module, run_command
from yolofuse.cluster.slurm import TEMPLATE, Resources, Submission, plan_jobs, submit
from yolofuse.cluster.sweep import plan_runs
from yolofuse.cluster.table import check_outputs


def main(argv: list[str] | None = None, prog: str = "yolofuse submit") -> int:
    """Run the command; return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    # Overrides are removed first: argparse would parse those after --cfg or --collect as files.
    overrides = [word for word in argv if _is_override(word)]
    args, rest = _parser(prog).parse_with_overrides([word for word in argv if not _is_override(word)])
    overrides += rest

    def command() -> None:
        check_outputs(args.collect)
        options = {field.name: getattr(args, field.name) for field in fields(Resources) if field.name != "extra"}
        resources = Resources(**options, extra=tuple(args.sbatch))
        runs = plan_runs(args.cfg, overrides, args.seeds, world=resources.world, resume=args.resume)
        name = args.name or re.sub(r"[^\w.+-]", "_", args.cfg[0].stem)
        logs = args.logs or runs[0].folder.parent / "slurm-logs"
        submission = plan_jobs(runs, resources, name, logs, after=args.after, val=args.val, collect=args.collect)
        print(_preview(submission) if args.dry_run else _format_jobs(submission, submit(submission)))

    return run_command(command)


def _parser(prog: str) -> Parser:
    parser = Parser(
        prog=prog,
        usage="%(prog)s --cfg FILE [FILE ...] [--nodes N] [--gpus G] [options] [section.key=value ...]",
        description="Train on a Slurm cluster. Several configs or seeds make a job array, with a run folder for each. "
        "Preempted jobs save, are requeued and resume.",
    )
    add = parser.add_argument
    add("--cfg", type=Path, nargs="+", required=True, metavar="FILE", help="config YAMLs of the runs")
    seeds_help = "train each config with these seeds; adds -seedN to train.run"
    add("--seeds", type=_seeds, default=(), metavar="0,1,2", help=seeds_help)
    add("--nodes", type=_at_least(1), default=1, metavar="N", help="machines per run (default %(default)s)")
    add("--gpus", type=_at_least(0), default=1, metavar="G", help="GPUs per machine; 0: none (default %(default)s)")
    add("--time", metavar="LIMIT", help="time limit, such as 12:00:00; a run that needs longer saves and is requeued")
    add("--partition", metavar="NAME", help="queue")
    add("--account", metavar="NAME", help="account to charge")
    add("--cpus", type=_at_least(1), metavar="N", help="cores per machine")
    add("--mem", metavar="SIZE", help="memory per machine, such as 64G")
    add("--name", help="name of the jobs (default: that of the first config)")
    add("--logs", type=Path, metavar="DIR", help="folder of the job logs (default: slurm-logs beside the first run)")
    notice_help = "seconds to save in before the limit (%(default)s)"
    add("--notice", type=_at_least(10), default=180, metavar="S", help=notice_help)
    add("--requeues", type=_at_least(0), default=50, metavar="N", help="how often a job may be requeued (%(default)s)")
    add("--at-once", type=_at_least(1), metavar="N", help="how many runs of an array may run at a time")
    add("--sbatch", action="append", default=[], metavar="OPTION", help="another sbatch option: --sbatch=--qos=long")
    add("--after", type=_job_id, metavar="JOB", help="start when this job has succeeded")
    add("--val", action="store_true", help="then evaluate each run's best weights, as val_dual.py does")
    add("--collect", type=Path, nargs="+", default=[], metavar="OUT", help="then make a table of all runs: .csv, .md")
    add("--resume", action="store_true", help="resume runs that were started or submitted before")
    add("--dry-run", action="store_true", help="print the job script and the commands; write and submit nothing")
    return parser


def _is_override(word: str) -> bool:
    return re.match(r"[a-z_]+(\.\w+)+=", word) is not None and not os.path.exists(word)  # noqa: PTH110 - Path's raises for a long name


def _preview(submission: Submission) -> str:
    lines = [
        f"# {TEMPLATE}",
        TEMPLATE.read_text(encoding="utf-8").rstrip(),
        "",
        "# " + "-" * 40,
        "# --dry-run: nothing was written or submitted. Each run's config is first written to RUN/submitted.yaml, then",
        submission.script(),
    ]
    return "\n".join(lines)


def _format_jobs(submission: Submission, ids: dict[str, str]) -> str:
    runs = [str(run.folder) for run in submission.runs]
    lines = [f"{stage:<8} job {job}" for stage, job in ids.items()]
    lines += [f"{'run' if i == 0 else '':<8} {run}" for i, run in enumerate(runs)]
    lines.append(f"{'logs':<8} {submission.logs}")
    return "\n".join(lines)


def _at_least(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text) or int(text) < least:
            raise argparse.ArgumentTypeError(f"an integer of at least {least} (got {text!r})")
        return int(text)

    return parse


def _seeds(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
        raise argparse.ArgumentTypeError(f"integers separated by commas, such as 0,1,2 (got {text!r})")
    return tuple(map(int, text.split(",")))


def _job_id(text: str) -> str:
    if not re.fullmatch(r"\d+(_\d+)?(:\d+(_\d+)?)*", text):
        raise argparse.ArgumentTypeError(f"a job id, or several separated by colons (got {text!r})")
    return text


if __name__ == "__main__":
    sys.exit(run_as_module(main))
