"""The only importer of ultralytics: its environment, its models, and every name taken from it."""

from yolofuse.upstream.environment import SUPPORTED, version  # isort: skip - first: the others import ultralytics too

from ultralytics.nn.modules.head import Detect
from ultralytics.optim import MuSGD
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss
from ultralytics.utils.metrics import bbox_iou
from ultralytics.utils.tal import TaskAlignedAssigner, bbox2dist, make_anchors
from ultralytics.utils.torch_utils import ModelEMA

from yolofuse.upstream.catalogue import Base, build_layers, list_bases, resolve_base
from yolofuse.upstream.heads import ClassBranch, class_branch, declared_init_specs, detection_loss, init_like

__all__ = [
    "SUPPORTED",
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
    "declared_init_specs",
    "detection_loss",
    "init_like",
    "list_bases",
    "make_anchors",
    "resolve_base",
    "v8DetectionLoss",
    "version",
]
