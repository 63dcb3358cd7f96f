"""Findings about boxes: over the border, too small to be found, twice, and classes out of balance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from yolofuse.boxes import iou_matrix
from yolofuse.check.findings import Finding, Picture, plural, some
from yolofuse.check.pictures import draw_boxes
from yolofuse.check.split import Split

_OVER_PX = 1.5
_MIN_SIDE, _MIN_TRAIN_SIDE = 3.0, 2.0
_SAME_BOX = 0.9
_RARE_SHARE, _RARE_COUNT = 0.02, 20
_DRAWN = 2
