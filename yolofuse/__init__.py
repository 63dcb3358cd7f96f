"""yolofuse: YOLO detectors that look at one scene through a visible and a thermal camera."""

import os

__version__ = "0.1.0"

# OpenCV reads it once, when it is imported: a limit for its decoders, should a file's header have deceived us.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", "100000000")
