"""Load a data set from its YAML and make batches of pairs.

What ``__init__.pyi`` names is imported on first use, so that a descriptor is checked before torch is loaded.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
