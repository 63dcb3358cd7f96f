"""``python -m yolofuse.cli.data prepare FORMAT --src DIR --out DIR``: a published data set as a folder of ours."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from yolofuse.convert import FORMATS, ClassChoice, prepare

_COMMON = ("src", "out", "images", "to", "classes", "drop", "any_size", "force", "format", "run")


def add_prepare(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``prepare`` with one sub-command for each format."""
    parser = commands.add_parser("prepare", help="make a folder with a descriptor from a published data set")
    formats = parser.add_subparsers(required=True, metavar="FORMAT", dest="format")
    for name, known in FORMATS.items():
        command = formats.add_parser(
            name,
            help=known.title,
            description=sys.modules[known.plan.__module__].__doc__,  # what the layout is, and what becomes of it
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _add_common(command, known.form)
        if name in _OPTIONS:
            _OPTIONS[name](command)
        command.set_defaults(run=_run)


def _add_common(parser: argparse.ArgumentParser, form: str) -> None:
    add = parser.add_argument
    add("--src", type=Path, required=True, metavar="DIR", help="the unpacked data set; only ever read")
    add(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder to make; an older one made by prepare is replaced",
    )
    add("--images", choices=("link", "copy"), default="link", help="symbolic links or copies (default %(default)s)")
    add("--to", choices=("yolo", "coco"), default=form, help="label files to write (default %(default)s)")
    add("--classes", type=_names, metavar="A,B", help="classes to keep, in this order (default: published practice)")
    add("--drop", type=_names, default=(), metavar="A,B", help="further classes to leave out; they are counted")
    add("--any-size", action="store_true", help="accept annotations that give an image another size than it has")
    add("--force", action="store_true", help="make the folder anew even if nothing changed")


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"write it as A,B,C (got {text!r})")
    return names


def _llvip(parser: argparse.ArgumentParser) -> None:
    help_text = "scenes of train to hold out as val (default: those nearest to a tenth of it)"
    parser.add_argument("--val-scenes", type=_names, metavar="02,05", help=help_text)


def _by_rule(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="which split (default %(default)s)")
    parser.add_argument("--val-share", type=float, default=0.2, metavar="X", help="share of val (default %(default)s)")


def _flir_v1(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--thermal", type=int, choices=(8, 16), default=8, help="bits of the thermal images to take")


def _kaist(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    help_text = "folders with annotations, below --src or elsewhere (default annotations)"
    add("--annotations", type=_names, default=("annotations",), metavar="DIR,DIR", help=help_text)
    add("--labels-of", choices=("rgb", "ir"), default="ir", help="whose labels, where each modality has its own")
    add("--train-step", type=int, default=2, metavar="N", help="take every Nth training frame (default %(default)s)")
    add("--test-step", type=int, default=20, metavar="N", help="take every Nth test frame (default %(default)s)")
    add("--val-videos", type=_names, metavar="set00/V001,...", help="videos of train to hold out as val")
    add("--cyclist", choices=("ignore", "person"), default="ignore", help="what a cyclist is (default %(default)s)")


def _vedai(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--fold", type=int, default=1, metavar="N", help="fold 1 to 10 (default %(default)s)")
    parser.add_argument("--size", type=int, choices=(1024, 512), default=1024, help="image size (default %(default)s)")


def _folders(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--rgb", required=True, metavar="DIR", help="visible images below --src; {split} stands for each of --splits")
    add("--ir", required=True, metavar="DIR", help="thermal images below --src")
    add("--splits", type=_names, metavar="A,B", help="names to put for {split} (default: divide one folder by rule)")
    add("--frame", choices=("rgb", "ir"), default="rgb", help="whose pixels the labels are in (default %(default)s)")
    add("--resize", choices=("none", "stretch"), default="none", help="stretch lays the other image over the frame")
    _by_rule(parser)


def _unlabelled(parser: argparse.ArgumentParser) -> None:
    choices = ("error", "background", "leave-out")
    parser.add_argument("--unlabelled", choices=choices, default="error", help="what a pair without labels is")


def _voc(parser: argparse.ArgumentParser) -> None:
    _folders(parser)
    _unlabelled(parser)
    parser.add_argument("--xml", required=True, metavar="DIR", help="VOC files below --src")


def _coco(parser: argparse.ArgumentParser) -> None:
    _folders(parser)
    _unlabelled(parser)
    parser.add_argument("--json", required=True, metavar="FILE", help="COCO file below --src")


def _yolo(parser: argparse.ArgumentParser) -> None:
    _folders(parser)
    parser.add_argument("--labels", required=True, metavar="DIR", help="label files below --src; needs --classes, too")


_OPTIONS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "llvip": _llvip,
    "m3fd": _by_rule,
    "flir-adas-v1": _flir_v1,
    "kaist": _kaist,
    "vedai": _vedai,
    "voc": _voc,
    "coco": _coco,
    "yolo": _yolo,
}


def _run(args: argparse.Namespace) -> None:
    options = {name: value for name, value in vars(args).items() if name not in _COMMON}
    if "resize" in options:
        options["stretch"] = options.pop("resize") == "stretch"
    made = prepare(
        args.format,
        args.src,
        args.out,
        options=options,
        choice=ClassChoice(args.classes, args.drop),
        images=args.images,
        form=args.to,
        any_size=args.any_size,
        force=args.force,
    )
    print(made.descriptor)
