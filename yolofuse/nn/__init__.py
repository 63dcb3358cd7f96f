"""Provide the fusion blocks and YOLOv5's head.

A new fusion block needs its own file and a line in ``FUSIONS`` (registries.py). What ``__init__.pyi`` names is imported
on first use, so that the names of blocks are known before torch is loaded.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
