"""The demo data: paired street scenes, drawn, seeded and free of licences, in which each camera misses something.

One plan of a scene (``plan``) is drawn once onto a board of surfaces (``canvas``); both cameras (``sensors``) look at
that board, so every pair is registered to the pixel. How hard it is stands in ``knobs``.
"""

from yolofuse.synth.write import DEFAULT_SIZE_HW, generate

__all__ = ["DEFAULT_SIZE_HW", "generate"]
