"""Every format by its name on the command line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from yolofuse.convert.conversion_plan import Plan
from yolofuse.convert.dronevehicle import plan_dronevehicle
from yolofuse.convert.flir_aligned import plan_flir_aligned
from yolofuse.convert.flir_v1 import plan_flir_v1
from yolofuse.convert.flir_v2 import plan_flir_v2
from yolofuse.convert.general import plan_coco, plan_voc, plan_yolo
from yolofuse.convert.kaist import plan_kaist
from yolofuse.convert.layout import Form
from yolofuse.convert.llvip import plan_llvip
from yolofuse.convert.m3fd import plan_m3fd
from yolofuse.convert.vedai import plan_vedai


@dataclass(frozen=True, slots=True)
class Format:
    """How a published data set is read.

    Attributes:
        plan: Takes an ``Origin``, a ``ClassChoice`` and the format's own options as keywords.
        title: The data set's full name.
        form: How its labels are written unless the user says otherwise.
    """

    plan: Callable[..., Plan]
    title: str
    form: Form = "yolo"


FORMATS = {
    "llvip": Format(plan_llvip, "LLVIP"),
    "flir-adas-v1": Format(plan_flir_v1, "FLIR ADAS v1 (1.3)"),
    "flir-adas-v2": Format(plan_flir_v2, "FLIR ADAS v2"),
    "flir-aligned": Format(plan_flir_aligned, "FLIR aligned"),
    "m3fd": Format(plan_m3fd, "M3FD"),
    "kaist": Format(plan_kaist, "KAIST multispectral pedestrians", form="coco"),
    "dronevehicle": Format(plan_dronevehicle, "DroneVehicle"),
    "vedai": Format(plan_vedai, "VEDAI"),
    "voc": Format(plan_voc, "Pairs with Pascal VOC annotations"),
    "coco": Format(plan_coco, "Pairs with COCO annotations"),
    "yolo": Format(plan_yolo, "Pairs with YOLO text labels"),
}
