"""Draw the demo data: seeded paired street scenes, free of licences, in which each camera misses some objects.

A scene (``scene_plan``) is drawn once onto a canvas of surfaces (``canvas``), and both cameras (``sensors``) expose
that canvas, so every pair is registered to the pixel. The difficulty is set in ``knobs``.
"""

from yolofuse.synth.write import DEFAULT_SIZE_HW, generate

__all__ = ["DEFAULT_SIZE_HW", "generate"]
