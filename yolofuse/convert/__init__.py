"""Convert published paired data sets into folders with a descriptor: ``prepare("llvip", src, out)``.

A format (``llvip``, ``kaist``, ...) reads a source and returns a ``Plan``: its pairs and their boxes. The rest is
shared: ``clip`` measures the images and clips the boxes, ``writer`` writes the files, and ``output_folder`` makes the
finished folder appear at once.
"""

from yolofuse.convert.classes import ClassChoice
from yolofuse.convert.formats import FORMATS, comma_list
from yolofuse.convert.prepare import Prepared, prepare

__all__ = ["FORMATS", "ClassChoice", "Prepared", "comma_list", "prepare"]
