"""Run exported detectors: ONNX Runtime, OpenVINO, TorchScript, TensorRT, each called as a detector of torch is.

What ``__init__.pyi`` names is imported on first use, so that options of an export are checked before torch is loaded.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
