"""Published paired data sets as folders of ours, each with a descriptor: ``prepare("llvip", src, out)``.

A format (``llvip``, ``kaist``, ...) reads a source and says what is in it: a ``Plan``. Everything else is shared:
``clip`` measures the images and clips the boxes, ``layout`` writes the folders, ``place`` lets them appear at once.
"""

from yolofuse.convert.classes import ClassChoice
from yolofuse.convert.formats import FORMATS
from yolofuse.convert.prepare import Prepared, prepare

__all__ = ["FORMATS", "ClassChoice", "Prepared", "prepare"]
