"""Write trained detectors as files of other runtimes, each compared with torch before it is kept.

What ``__init__.pyi`` names is imported on first use, so that options are checked before torch is loaded.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
