"""Build detectors: one cut through a single-stream YOLO, two streams before it, one trunk after it."""

from yolofuse.model.build import build_detector, part_names
from yolofuse.model.detectors import Detector, overlap_streams
from yolofuse.model.fusion import check_fusion
from yolofuse.model.summary import format_summary, summarise

__all__ = ["Detector", "build_detector", "check_fusion", "format_summary", "overlap_streams", "part_names", "summarise"]
