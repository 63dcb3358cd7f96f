"""Wrap ultralytics: this package alone imports it, and exports every name that yolofuse takes from it."""

from yolofuse.upstream.environment import version  # isort: skip - first: the others import ultralytics too

from ultralytics.nn.modules.head import Detect
from ultralytics.optim import MuSGD
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss
from ultralytics.utils.metrics import bbox_iou
from ultralytics.utils.tal import TaskAlignedAssigner, bbox2dist, make_anchors

from yolofuse.base_models import Base, list_bases, resolve_base
from yolofuse.upstream.fold import fold_layers, set_export_mode
from yolofuse.upstream.heads import (
    detection_loss,
    list_class_branch_tensors,
    set_num_classes,
    shared_init_name,
    upstream_init_specs,
)
from yolofuse.upstream.layers import build_layers
from yolofuse.upstream.model_file import build_plain, build_two_stream, save_model, set_mix

__all__ = [
    "Base",
    "Detect",
    "E2ELoss",
    "MuSGD",
    "TaskAlignedAssigner",
    "bbox2dist",
    "bbox_iou",
    "build_layers",
    "build_plain",
    "build_two_stream",
    "detection_loss",
    "fold_layers",
    "list_bases",
    "list_class_branch_tensors",
    "make_anchors",
    "resolve_base",
    "save_model",
    "set_export_mode",
    "set_mix",
    "set_num_classes",
    "shared_init_name",
    "upstream_init_specs",
    "v8DetectionLoss",
    "version",
]
