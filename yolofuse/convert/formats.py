"""List every format by its name on the command line: the function that plans it, and its own options.

A new format is one module with a ``plan_...`` function, and one entry in ``FORMATS``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from yolofuse.convert.conversion_plan import Plan
from yolofuse.convert.custom_folders import plan_coco, plan_voc, plan_yolo
from yolofuse.convert.dronevehicle import plan_dronevehicle
from yolofuse.convert.flir_aligned import plan_flir_aligned
from yolofuse.convert.flir_v1 import plan_flir_v1
from yolofuse.convert.flir_v2 import plan_flir_v2
from yolofuse.convert.kaist import plan_kaist
from yolofuse.convert.llvip import plan_llvip
from yolofuse.convert.m3fd import plan_m3fd
from yolofuse.convert.vedai import plan_vedai
from yolofuse.convert.writer import LabelFormat

OptionArguments = tuple[str, dict[str, Any]]
"""Flag and keyword arguments of ``ArgumentParser.add_argument``."""


@dataclass(frozen=True, slots=True)
class Format:
    """How a published data set is read.

    The values of ``options`` become keyword arguments of ``plan``, named after the flag or its ``dest``.
    """

    plan: Callable[..., Plan]  # takes a ``SourceFolder``, a ``ClassChoice`` and the format's own options as keywords
    title: str  # the data set's full name
    options: tuple[OptionArguments, ...] = ()  # the format's own, in the order of ``--help``
    label_format: LabelFormat = "yolo"  # how its labels are written unless the user chooses otherwise
    has_class_names: bool = True  # False: its labels hold numbers, which --classes names


def comma_list(text: str) -> tuple[str, ...]:
    """Split ``A,B,C`` into its names.

    Raises:
        argparse.ArgumentTypeError: If a name is empty.
    """
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"write it as A,B,C (got {text!r})")
    return names


def _is_stretch(text: str) -> bool:
    if text not in ("none", "stretch"):
        raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from 'none', 'stretch')")
    return text == "stretch"


def _option(
    flag: str, help_text: str, convert: Callable[[str], Any] = str, default: Any = None, **more: Any
) -> OptionArguments:
    return f"--{flag}", {"help": help_text, "type": convert, "default": default, **more}


_LLVIP = (
    _option(
        "val-scenes",
        "scenes of train to hold out as val (default: those nearest to a tenth of it)",
        comma_list,
        metavar="02,05",
    ),
)
_SPLIT_BY_HASH = (
    _option("seed", "seed of the split (default %(default)s)", int, 0, metavar="S"),
    _option("val-share", "share of val (default %(default)s)", float, 0.2, metavar="X"),
)
_FLIR_V1 = (_option("thermal", "bits of the thermal images to use", int, 8, choices=(8, 16)),)
_KAIST = (
    _option(
        "annotations",
        "folders with annotations, below --src or elsewhere (default annotations)",
        comma_list,
        ("annotations",),
        metavar="DIR,DIR",
    ),
    _option("labels-of", "whose labels, where each modality has its own", default="ir", choices=("rgb", "ir")),
    _option("train-step", "take every Nth training frame (default %(default)s)", int, 2, metavar="N"),
    _option("test-step", "take every Nth test frame (default %(default)s)", int, 20, metavar="N"),
    _option("val-videos", "videos of train to hold out as val", comma_list, metavar="set00/V001,..."),
    _option(
        "cyclist", "how cyclists are labelled (default %(default)s)", default="ignore", choices=("ignore", "person")
    ),
)
_VEDAI = (
    _option("fold", "fold 1 to 10 (default %(default)s)", int, 1, metavar="N"),
    _option("size", "image size (default %(default)s)", int, 1024, choices=(1024, 512)),
)
_FOLDERS = (
    _option("rgb", "visible images below --src; {split} is replaced by each of --splits", required=True, metavar="DIR"),
    _option("ir", "thermal images below --src", required=True, metavar="DIR"),
    _option("splits", "names to put for {split} (default: divide one folder by rule)", comma_list, metavar="A,B"),
    _option(
        "frame",
        "modality in whose pixels the labels are (default %(default)s)",
        default="rgb",
        choices=("rgb", "ir"),
    ),
    _option(
        "resize",
        "stretch scales the other image to the size of the frame",
        _is_stretch,
        False,
        metavar="{none,stretch}",
        dest="stretch",
    ),
    *_SPLIT_BY_HASH,
)
_UNLABELLED = _option(
    "unlabelled",
    "what to do with a pair without labels (default %(default)s)",
    default="error",
    choices=("error", "background", "leave-out"),
)
_VOC = (*_FOLDERS, _UNLABELLED, _option("xml", "VOC files below --src", required=True, metavar="DIR"))
_COCO = (*_FOLDERS, _UNLABELLED, _option("json", "COCO file below --src", required=True, metavar="FILE"))
_YOLO = (
    *_FOLDERS,
    _option("labels", "label files below --src; needs --classes, too", required=True, metavar="DIR"),
)

FORMATS = {
    "llvip": Format(plan_llvip, "LLVIP", _LLVIP),
    "flir-adas-v1": Format(plan_flir_v1, "FLIR ADAS v1 (1.3)", _FLIR_V1),
    "flir-adas-v2": Format(plan_flir_v2, "FLIR ADAS v2"),
    "flir-aligned": Format(plan_flir_aligned, "FLIR aligned"),
    "m3fd": Format(plan_m3fd, "M3FD", _SPLIT_BY_HASH),
    "kaist": Format(plan_kaist, "KAIST multispectral pedestrians", _KAIST, label_format="coco"),
    "dronevehicle": Format(plan_dronevehicle, "DroneVehicle"),
    "vedai": Format(plan_vedai, "VEDAI", _VEDAI),
    "voc": Format(plan_voc, "Pairs with Pascal VOC annotations", _VOC),
    "coco": Format(plan_coco, "Pairs with COCO annotations", _COCO),
    "yolo": Format(plan_yolo, "Pairs with YOLO text labels", _YOLO, has_class_names=False),
}
