"""Detect objects with YOLO in pairs of visible and thermal images.

What ``__init__.pyi`` names is imported on first use, so that ``import yolofuse`` costs nothing.
"""

import os

import lazy_loader

__version__ = "0.1.0"

# OpenCV reads it once, on import: a limit for its decoders, in case a file's header gives a wrong size.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "100000000")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
