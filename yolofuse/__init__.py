"""yolofuse: YOLO detectors that look at one scene through a visible and a thermal camera."""

__version__ = "0.1.0"
