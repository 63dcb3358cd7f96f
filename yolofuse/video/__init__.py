"""Read pairs of frames from two videos or two cameras, by time, and write video. Knows neither models nor torch."""

from yolofuse.video.camera import is_camera
from yolofuse.video.frames import FramePair, PairCounts, ir_pixels, rgb_pixels
from yolofuse.video.live import LiveFrames, LivePairs
from yolofuse.video.offset import Offset, estimate_offset
from yolofuse.video.pairs import VideoPairs
from yolofuse.video.reader import VideoReader
from yolofuse.video.writer import VideoWriter

__all__ = [
    "FramePair",
    "LiveFrames",
    "LivePairs",
    "Offset",
    "PairCounts",
    "VideoPairs",
    "VideoReader",
    "VideoWriter",
    "estimate_offset",
    "ir_pixels",
    "is_camera",
    "rgb_pixels",
]
