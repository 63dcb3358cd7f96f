"""``python -m yolofuse.cli.submit``: train on a Slurm cluster."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

from yolofuse.cli.common import Parser, run_command
from yolofuse.cluster.slurm import TEMPLATE, Resources, Submission, plan_jobs, submit
from yolofuse.cluster.sweep import plan_runs
from yolofuse.cluster.table import check_outputs


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    # Taken out first: argparse would count those that follow --cfg or --collect among the files.
    overrides = [word for word in words if _is_override(word)]
    args, rest = _parser().parse_with_overrides([word for word in words if not _is_override(word)])
    overrides += rest

    def command() -> None:
        check_outputs(args.collect)
        resources = Resources(
            nodes=args.nodes,
            gpus=args.gpus,
            time=args.time,
            cpus=args.cpus,
            mem=args.mem,
            partition=args.partition,
            account=args.account,
            notice=args.notice,
            requeues=args.requeues,
            at_once=args.at_once,
            extra=tuple(args.sbatch),
        )
        elements = plan_runs(args.cfg, overrides, args.seeds, world=resources.world, resume=args.resume)
        name = args.name or re.sub(r"[^\w.+-]", "_", args.cfg[0].stem)
        logs = args.logs or elements[0].run.parent / "slurm-logs"
        submission = plan_jobs(elements, resources, name, logs, after=args.after, val=args.val, collect=args.collect)
        print(_preview(submission) if args.dry_run else _told(submission, submit(submission)))

    return run_command(command)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m yolofuse.cli.submit",
        usage="%(prog)s --cfg FILE [FILE ...] --nodes N --gpus G [options] [section.key=value ...]",
        description="Train on a Slurm cluster. Several configs or seeds make a job array, with a run folder for each. "
        "Preempted jobs save, go back into the queue and go on.",
    )
    add = parser.add_argument
    add("--cfg", type=Path, nargs="+", required=True, metavar="FILE", help="YAMLs of the runs")
    add(
        "--seeds",
        type=_seeds,
        default=(),
        metavar="0,1,2",
        help="train each config with these; adds -seedN to train.run",
    )
    add("--nodes", type=_from(1), default=1, metavar="N", help="machines per run (default %(default)s)")
    add("--gpus", type=_from(0), default=1, metavar="G", help="GPUs per machine; 0: none (default %(default)s)")
    add("--time", metavar="LIMIT", help="such as 12:00:00; a run that needs longer saves and is requeued")
    add("--partition", metavar="NAME", help="queue")
    add("--account", metavar="NAME", help="who pays")
    add("--cpus", type=_from(1), metavar="N", help="cores per machine")
    add("--mem", metavar="SIZE", help="memory per machine, such as 64G")
    add("--name", help="of the jobs (default: the first config's)")
    add("--logs", type=Path, metavar="DIR", help="for what jobs print (default: slurm-logs beside the first run)")
    add("--notice", type=_from(10), default=180, metavar="S", help="seconds to save in before time is up (%(default)s)")
    add("--requeues", type=_from(0), default=50, metavar="N", help="how often a job may be requeued (%(default)s)")
    add("--at-once", type=_from(1), metavar="N", help="how many runs of an array may go at a time")
    add("--sbatch", action="append", default=[], metavar="OPTION", help="one more of sbatch's: --sbatch=--qos=long")
    add("--after", type=_job_id, metavar="JOB", help="begin when this job has ended well")
    add("--val", action="store_true", help="then score each run's best weights, as val_dual.py does")
    add("--collect", type=Path, nargs="+", default=[], metavar="OUT", help="then make a table of all runs: .csv, .md")
    add("--resume", action="store_true", help="go on with runs that were begun or submitted before")
    add("--dry-run", action="store_true", help="print the job script and the commands; write and submit nothing")
    return parser


def _is_override(word: str) -> bool:
    return re.match(r"[a-z_]+(\.\w+)+=", word) is not None and not Path(word).exists()


def _preview(submission: Submission) -> str:
    parts = [
        f"# {TEMPLATE}",
        TEMPLATE.read_text(encoding="utf-8").rstrip(),
        "",
        "# " + "-" * 40,
        "# --dry-run: nothing was written or submitted. Each run's config is first written to RUN/submitted.yaml, then",
        submission.script(),
    ]
    return "\n".join(parts)


def _told(submission: Submission, ids: dict[str, str]) -> str:
    runs = [str(element.run) for element in submission.elements]
    lines = [f"{stage:<8} job {job}" for stage, job in ids.items()]
    lines += [f"{'run' if i == 0 else '':<8} {run}" for i, run in enumerate(runs)]
    lines.append(f"{'logs':<8} {submission.logs}")
    return "\n".join(lines)


def _from(least: int) -> Callable[[str], int]:
    def whole(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text) or int(text) < least:
            raise argparse.ArgumentTypeError(f"a whole number from {least} on (got {text!r})")
        return int(text)

    return whole


def _seeds(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
        raise argparse.ArgumentTypeError(f"whole numbers with commas between, such as 0,1,2 (got {text!r})")
    return tuple(map(int, text.split(",")))


def _job_id(text: str) -> str:
    if not re.fullmatch(r"\d+(_\d+)?(:\d+(_\d+)?)*", text):
        raise argparse.ArgumentTypeError(f"a job's number, or several with colons between (got {text!r})")
    return text


if __name__ == "__main__":
    sys.exit(main())
