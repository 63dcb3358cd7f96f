"""Convert a published data set: ``python -m yolofuse.cli.data prepare FORMAT --src DIR --out DIR``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from yolofuse.convert import FORMATS, ClassChoice, comma_list, prepare


def add_prepare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``prepare`` with one sub-command for each format."""
    parser = commands.add_parser("prepare", help="make a folder with a descriptor from a published data set")
    formats = parser.add_subparsers(required=True, metavar="FORMAT", dest="format")
    for name, known in FORMATS.items():
        command = formats.add_parser(
            name,
            help=known.title,
            description=sys.modules[
                known.plan.__module__
            ].__doc__,  # the layout of the source and the practice followed
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _add_common(command, known.label_format)
        for option in known.options:
            option.add_to(command)
        command.set_defaults(run=_run)


def _add_common(parser: argparse.ArgumentParser, label_format: str) -> None:
    add = parser.add_argument
    add("--src", type=Path, required=True, metavar="DIR", help="the unpacked data set; only ever read")
    out_help = "folder to make; an older one made by prepare is replaced"
    add("--out", type=Path, required=True, metavar="DIR", help=out_help)
    add("--images", choices=("link", "copy"), default="link", help="symbolic links or copies (default %(default)s)")
    add("--to", choices=("yolo", "coco"), default=label_format, help="label files to write (default %(default)s)")
    add(
        "--classes", type=comma_list, metavar="A,B", help="classes to keep, in this order (default: published practice)"
    )
    add("--drop", type=comma_list, default=(), metavar="A,B", help="further classes to leave out; they are counted")
    add("--any-size", action="store_true", help="accept annotations that give an image another size than it has")
    add("--force", action="store_true", help="make the folder again even if nothing changed")


def _run(args: argparse.Namespace) -> None:
    prepared = prepare(
        args.format,
        args.src,
        args.out,
        options={option.dest: getattr(args, option.dest) for option in FORMATS[args.format].options},
        choice=ClassChoice(args.classes, args.drop),
        images=args.images,
        label_format=args.to,
        any_size=args.any_size,
        force=args.force,
    )
    print(prepared.descriptor)
