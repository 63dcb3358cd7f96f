"""Training and validation."""

from yolofuse.engine.train import train
from yolofuse.engine.validate import evaluate

__all__ = ["evaluate", "train"]
