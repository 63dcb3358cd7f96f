"""Convert a published data set: ``yolofuse prepare FORMAT --src DIR --out DIR``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from yolofuse.convert import FORMATS, ClassChoice, comma_list, prepare
from yolofuse.convert.formats import Format
from yolofuse.errors import DataError, listing


def add_prepare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``prepare`` with one sub-command for each format."""
    parser = commands.add_parser("prepare", help="make a folder with a descriptor from a published data set")
    formats = parser.add_subparsers(required=True, metavar="FORMAT", dest="format")
    for name, known in FORMATS.items():
        description = sys.modules[known.plan.__module__].__doc__  # the layout of the source and the practice followed
        formatter = argparse.RawDescriptionHelpFormatter
        command = formats.add_parser(name, help=known.title, description=description, formatter_class=formatter)
        _add_common(command, known)
        own = [command.add_argument(flag, **arguments).dest for flag, arguments in known.options]
        command.set_defaults(run=partial(_run, own))


def _add_common(parser: argparse.ArgumentParser, known: Format) -> None:
    add = parser.add_argument
    add("--src", type=Path, required=True, metavar="DIR", help="the unpacked data set; only ever read")
    out_help = "folder to make; an older one made by prepare is replaced"
    add("--out", type=Path, required=True, metavar="DIR", help=out_help)
    add("--images", choices=("link", "copy"), default="link", help="symbolic links or copies (default %(default)s)")
    add("--to", choices=("yolo", "coco"), default=known.label_format, help="label files to write (default %(default)s)")
    classes_help = "classes to keep, in this order (default: published practice)"
    drop_help = "further classes to leave out; they are counted"
    if not known.has_class_names:
        classes_help = "names of the class numbers 0, 1, 2, ... (required); to train on some of them: data.classes"
        drop_help = "does not apply"
    add("--classes", type=comma_list, metavar="A,B", help=classes_help)
    add("--drop", type=comma_list, default=(), metavar="A,B", help=drop_help)
    add("--any-size", action="store_true", help="accept annotations that give an image another size than it has")
    add("--force", action="store_true", help="make the folder again even if nothing changed")


def _run(own_options: Sequence[str], args: argparse.Namespace) -> None:
    prepared = prepare(
        args.format,
        args.src,
        args.out,
        options={name: getattr(args, name) for name in own_options},
        choice=ClassChoice(args.classes, args.drop),
        images=args.images,
        label_format=args.to,
        any_size=args.any_size,
        force=args.force,
    )
    print(prepared.descriptor)
    if empty := prepared.empty_splits():
        why = "made, but not fit for training: look for the labels; prepared.json says what was left out"
        raise DataError(listing(f"{prepared.descriptor}: {why}", empty))
