"""The only importer of ultralytics: its environment, the versions it may have, and every name taken from it.

Ultralytics is a parts library here. Imported plainly it may reach for the network, install packages, write settings
into the user's home and change process-wide state; this module prevents the first three and puts back the last.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, TypeVar

import cv2
import numpy as np
import PIL.Image
import torch
import yaml
from torch import nn

from yolofuse.errors import ConfigError, YolofuseError
from yolofuse.starts import ZERO_GAMMA_OFF, Start, StartOptions, constant, fixed, normal

SUPPORTED = ((8, 4, 190), (8, 5, 0))
_HEADS = {"Detect", "v10Detect"}


def _private_config_dir() -> Path:
    """A settings folder of our own, with the font that ultralytics would otherwise download for its drawings."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "yolofuse" / "upstream"
    try:
        _place_font(folder / "Ultralytics" / "Arial.ttf")
    except OSError:  # a home that cannot be written to
        folder = Path(tempfile.mkdtemp(prefix="yolofuse-"))
        _place_font(folder / "Ultralytics" / "Arial.ttf")
    return folder


def _place_font(font: Path) -> None:
    if font.exists():
        return
    import matplotlib

    font.parent.mkdir(parents=True, exist_ok=True)
    source = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    partial = font.with_suffix(f".{os.getpid()}")
    shutil.copyfile(source, partial)
    partial.replace(font)


def _import_ultralytics() -> None:
    """Import ultralytics offline, then put back what its import changes for everybody.

    That is thread counts, print options, and functions that it replaces: among them ``PIL.Image.open``, which then
    wants to install a package when it meets a broken image, and ``torch.save``, which then retries on a full disk.
    """
    os.environ["YOLO_OFFLINE"] = "true"
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ["ULTRALYTICS_SAFE_LOAD"] = "true"  # nothing here opens a checkpoint through it; should it do so itself
    os.environ.setdefault("YOLO_VERBOSE", "false")
    os.environ["YOLO_CONFIG_DIR"] = str(_private_config_dir())
    omp, torch_threads, cv_threads = os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads(), cv2.getNumThreads()
    numpy_options = np.get_printoptions()
    functions = [(PIL.Image, "open"), (torch, "save"), (cv2, "imread"), (cv2, "imwrite"), (cv2, "imshow")]
    originals = [(module, name, getattr(module, name)) for module, name in functions]
    import ultralytics
    from ultralytics.nn import tasks
    from ultralytics.utils import SETTINGS, checks

    version = tuple(int(part) for part in re.findall(r"\d+", ultralytics.__version__)[:3])
    if not SUPPORTED[0] <= version < SUPPORTED[1]:
        low, high = (".".join(map(str, bound)) for bound in SUPPORTED)
        raise YolofuseError(
            f"ultralytics {ultralytics.__version__} is installed, but this yolofuse needs >={low},<{high}: "
            f"pip install 'ultralytics>={low},<{high}'"
        )
    for module, name, value in ((checks, "AUTOINSTALL", False), (tasks, "SAFE_LOAD", True)):
        setattr(module, name, value)  # where somebody imported it before us
    dict.update(SETTINGS, {key: False for key in SETTINGS if isinstance(SETTINGS[key], bool)})  # in memory only
    for module, name, function in originals:
        setattr(module, name, function)
    if omp is None:
        os.environ.pop("OMP_NUM_THREADS", None)
    torch.set_num_threads(torch_threads)
    cv2.setNumThreads(cv_threads)
    np.set_printoptions(**numpy_options)
    torch.set_printoptions(profile="default")  # type: ignore[no-untyped-call]


_import_ultralytics()

import ultralytics  # noqa: E402
from ultralytics.nn.modules import block  # noqa: E402
from ultralytics.nn.modules.head import Detect  # noqa: E402
from ultralytics.nn.tasks import DetectionModel  # noqa: E402
from ultralytics.optim import MuSGD  # noqa: E402
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss  # noqa: E402
from ultralytics.utils.metrics import bbox_iou  # noqa: E402
from ultralytics.utils.tal import TaskAlignedAssigner, bbox2dist, make_anchors  # noqa: E402
from ultralytics.utils.torch_utils import ModelEMA  # noqa: E402

__all__ = [
    "Base",
    "ClassBranch",
    "Detect",
    "E2ELoss",
    "ModelEMA",
    "MuSGD",
    "TaskAlignedAssigner",
    "bbox2dist",
    "bbox_iou",
    "build_layers",
    "class_branch",
    "declared_starts",
    "detection_loss",
    "list_bases",
    "make_anchors",
    "resolve_base",
    "starts_like",
    "v8DetectionLoss",
    "version",
]

version: str = ultralytics.__version__
_MODELS = Path(ultralytics.__file__).parent / "cfg" / "models"
_NAME = re.compile(r"(?P<family>yolov?\d+)(?P<size>[a-z]?)(?P<variant>(?:-[a-z0-9]+)*)")


@dataclass(frozen=True)
class Base:
    """A single-stream model of ultralytics.

    Attributes:
        name: As the user writes it, for example ``yolo11n``.
        file: The model YAML inside the ultralytics package.
        scale: The size letter, or "" where the file holds one size.
    """

    name: str
    file: Path
    scale: str

    def read(self) -> dict[str, Any]:
        """The model YAML with the scale filled in."""
        content: dict[str, Any] = yaml.safe_load(self.file.read_text(encoding="utf-8"))
        content["scale"] = self.scale
        return content

    @property
    def num_backbone_layers(self) -> int:
        """How many layers ultralytics lists under ``backbone``."""
        return len(self.read()["backbone"])


@lru_cache(maxsize=1)
def _catalogue() -> dict[str, Base]:
    """Every detection model that the installed ultralytics can build, by name with size."""
    found: dict[str, Base] = {}
    for file in sorted(_MODELS.rglob("yolo*.yaml")):
        parts = _NAME.fullmatch(file.stem)
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        if parts is None or content["head"][-1][2] not in _HEADS:
            continue
        scales = list(content.get("scales") or {})
        if parts["size"] or not scales:
            found[file.stem] = Base(file.stem, file, scales[0] if scales else "")
        else:
            for scale in scales:
                name = f"{parts['family']}{scale}{parts['variant']}"
                found[name] = Base(name, file, scale)
    return found


def list_bases() -> list[str]:
    """Names of every base model, sizes included."""
    return list(_catalogue())


def resolve_base(name: str) -> Base:
    """The base model called ``name``.

    Raises:
        ConfigError: If the family or the size is unknown, or the size is missing (ultralytics would build ``n``).
    """
    catalogue = _catalogue()
    if name in catalogue:
        return catalogue[name]
    parts = _NAME.fullmatch(name)
    if parts is not None:
        family = [known for known in catalogue if _same_family(known, parts["family"], parts["variant"])]
        if family:
            problem = "has no size" if not parts["size"] else f"has an unknown size '{parts['size']}'"
            raise ConfigError(f"model.base: '{name}' {problem}; use one of {', '.join(family)}")
    close = difflib.get_close_matches(name, catalogue, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    raise ConfigError(
        f"model.base: unknown model '{name}'{hint} Known: the detection models of yolov5, v8, v9, v10, 11, 12, 26, "
        "with a size letter, for example yolo11n"
    )


def _same_family(known: str, family: str, variant: str) -> bool:
    parts = _NAME.fullmatch(known)
    return parts is not None and parts["family"] == family and parts["variant"] == variant


def build_layers(base: Base, *, channels: int, num_classes: int) -> list[nn.Module]:
    """The layers of a single-stream model, freshly initialised by ultralytics.

    Each layer carries its number ``.i`` and its sources ``.f``; the last one is the detection head, with strides and
    prior biases set.

    Args:
        base: Which model.
        channels: Channels of the image that layer 0 reads.
        num_classes: Number of classes.
    """
    content = base.read() | {"nc": num_classes}
    model: Any = DetectionModel(content, ch=channels, nc=num_classes, verbose=False)  # type: ignore[no-untyped-call]
    head = model.model[-1]
    if getattr(head, "one2one_cv2", None) is not None:
        head.end2end = True  # else ultralytics infers through the branch whose loss fades out
    return list(model.model)


_RESIDUAL_ENDS: dict[type[nn.Module], tuple[str, ...]] = {
    block.Bottleneck: ("cv2.bn",),
    block.CIB: ("cv1.4.bn",),
    block.PSABlock: ("attn.proj.bn", "ffn.1.bn"),
    block.PSA: ("attn.proj.bn", "ffn.1.bn"),
    block.ABlock: ("attn.proj.bn", "mlp.1.bn"),
    block.SPPF: ("cv2.bn",),
    block.GhostBottleneck: ("conv.2.cv1.bn", "conv.2.cv2.bn"),
}
"""Last norms of each residual branch, for blocks that add their input (all of them, or where ``add`` says so)."""


def declared_starts(module: nn.Module, options: StartOptions) -> dict[str, Start]:
    """What ultralytics' blocks say of their own parameters in their constructors, written down as declarations.

    Args:
        module: One module; its children are asked on their own.
        options: What the run wants.

    Returns:
        Parameters by their name below ``module``.
    """
    if isinstance(module, Detect):
        return _head_starts(module, options)
    if isinstance(module, block.DFL):
        return {"conv.weight": fixed("DFL's 0 .. reg_max-1")}
    starts: dict[str, Start] = {}
    if isinstance(module, block.ABlock):
        convolutions = [(name, m) for name, m in module.named_modules() if isinstance(m, nn.Conv2d)]
        starts |= {f"{name}.weight": normal(0.02, "area attention's N(0, 0.02)") for name, _ in convolutions}
        starts |= {f"{name}.bias": constant(0.0, "zero") for name, m in convolutions if m.bias is not None}
    if isinstance(module, block.A2C2f) and module.gamma is not None:
        starts["gamma"] = constant(0.01, "residual scale 0.01")
    if options.zero_gamma and getattr(module, "add", True):
        ends = next((ends for kind, ends in _RESIDUAL_ENDS.items() if isinstance(module, kind)), ())
        norms = [end for end in ends if _is_norm(module.get_submodule(end))]
        starts |= {f"{end}.weight": constant(0.0, "zero gamma", ZERO_GAMMA_OFF) for end in norms}
    return starts


def _is_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.BatchNorm2d)  # not where the model was built without


def _head_starts(head: Any, options: StartOptions) -> dict[str, Start]:
    """Small last weights, and biases that expect few objects: ``-log`` of cells per object and class, box side 2."""
    starts: dict[str, Start] = {}
    for twin in ("", "one2one_"):
        boxes, classes = getattr(head, f"{twin}cv2", None) or (), getattr(head, f"{twin}cv3", None) or ()
        for i, (box, cls) in enumerate(zip(boxes, classes, strict=True)):
            box_end, cls_end = f"{twin}cv2.{i}.{len(box) - 1}", f"{twin}cv3.{i}.{len(cls) - 1}"
            cells = (options.prior_imgsz / float(head.stride[i])) ** 2
            prior = math.log(options.prior_objects / head.nc / cells)
            starts[f"{box_end}.bias"] = constant(2.0, "prior of the boxes")
            starts[f"{cls_end}.bias"] = constant(prior, f"prior: {options.prior_objects:g} objects per image")
            if options.head_std is not None:
                for end in (box_end, cls_end):
                    what = f"head output N(0, {options.head_std:g})"
                    starts[f"{end}.weight"] = normal(options.head_std, what, "init.head_std: rules")
    return starts


ClassBranch = Literal["rows", "inner"]


def class_branch(model: nn.Module) -> Iterator[tuple[str, ClassBranch]]:
    """Parameters and buffers of every head's class branch: its last layer has a row per class, the ``inner`` ones have
    a width that follows the number of classes."""
    for head_name, head in model.named_modules():
        if not isinstance(head, Detect):
            continue
        for twin in ("", "one2one_"):
            for i, branch in enumerate(getattr(head, f"{twin}cv3", None) or ()):
                for name in branch.state_dict():
                    is_last = name.split(".")[0] == str(len(branch) - 1)
                    yield f"{head_name}.{twin}cv3.{i}.{name}", "rows" if is_last else "inner"


def starts_like(name: str) -> str:
    """The parameter that ``name`` begins as a copy of: an end-to-end head's one-to-one branch of its one-to-many one.

    Any other name is returned as it is.
    """
    return name.replace(".one2one_cv", ".cv")


Branch = TypeVar("Branch", bound=v8DetectionLoss)


def detection_loss(head: nn.Module, gains: Mapping[str, float], epochs: int, kind: type[Branch]) -> Branch | E2ELoss:
    """The loss that belongs to ``head``: one branch, or ultralytics' pair where the head has a one-to-one branch.

    Args:
        head: On its final device.
        gains: Weights of the terms.
        epochs: Length of the run, over which the pair moves its balance.
        kind: Class of a branch.
    """
    shim = nn.Module()
    shim.add_module("head", head)
    shim.args = SimpleNamespace(**gains, epochs=epochs)  # type: ignore[assignment]
    shim.model = [head]  # type: ignore[assignment]
    if getattr(head, "one2one_cv2", None) is not None:
        return E2ELoss(shim, loss_fn=kind)
    return kind(shim)
