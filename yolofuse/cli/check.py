"""Check a paired data set and report as a table and as a page: ``yolofuse check --data FILE``."""

from __future__ import annotations

import argparse
from pathlib import Path

from yolofuse.check.check import CheckOptions, check_dataset
from yolofuse.check.report import format_html, format_text
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.files import check_output_folder, save_text

FINDINGS = 1
"""Exit code for a finding that makes training pointless or its metrics wrong."""
NO_BOXES = 2
"""Exit code for a split without a box: most often the descriptor names the wrong labels."""


def add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``check``; its ``run`` returns the exit code."""
    parser = commands.add_parser(
        "check",
        help="report what is wrong with a paired data set",
        description=(
            "Read a paired data set and report what is wrong with it: files, labels, boxes, modalities, registration, "
            f"copies across splits. Exit code 0: ready to train; {FINDINGS}: fix first; "
            f"{NO_BOXES}: wrong command or descriptor, or a split without a box."
        ),
    )
    parser.add_argument("--data", type=Path, required=True, metavar="FILE", help="the data set's descriptor")
    parser.add_argument("--root", type=Path, metavar="DIR", help="root folder instead of the descriptor's own")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the page, check.html (default: no page)")
    parser.add_argument("--splits", metavar="A,B", help="which splits, with commas between (default: all)")
    defaults = CheckOptions()
    for name, meaning in (
        ("sample", "pairs of a split whose registration is measured"),
        ("imgsz", "size of images in training, px"),
        ("workers", "threads"),
    ):
        default: int = getattr(defaults, name)
        help_text = f"{meaning} (default %(default)s)"
        parser.add_argument(f"--{name}", type=int, metavar="N", default=default, help=help_text)
    parser.set_defaults(run=run_check)


def run_check(args: argparse.Namespace) -> int:
    """Print the table, write the page, return the exit code."""
    splits = tuple(name.strip() for name in args.splits.split(",") if name.strip()) if args.splits else ()
    options = CheckOptions(splits, args.sample, args.imgsz, args.workers)
    if args.out is not None:
        check_output_folder(args.out, "check.html", "<title>Check of ")
    report = check_dataset(load_descriptor(args.data, args.root), options)
    print(format_text(report))
    if args.out is not None:
        page = args.out / "check.html"
        save_text(page, format_html(report))
        print(f"page: {page}")
    if any(finding.kind == "no-boxes" for finding in report.findings):
        return NO_BOXES
    return 0 if report.may_train else FINDINGS
