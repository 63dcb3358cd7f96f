"""Detect objects with YOLO in pairs of visible and thermal images."""

import os

__version__ = "0.1.0"

# OpenCV reads it once, on import: a limit for its decoders, in case a file's header gives a wrong size.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "100000000")
