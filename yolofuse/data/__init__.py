"""From a data set's YAML to batches of pairs."""

from yolofuse.data.dataset import EvalDataset, SampleKey, TrainDataset
from yolofuse.data.descriptor import DatasetDescriptor, load_descriptor
from yolofuse.data.loader import EpochSampler, collate, eval_loader, train_loader
from yolofuse.data.pairs import PairSet, load_pairs

__all__ = [
    "DatasetDescriptor",
    "EpochSampler",
    "EvalDataset",
    "PairSet",
    "SampleKey",
    "TrainDataset",
    "collate",
    "eval_loader",
    "load_descriptor",
    "load_pairs",
    "train_loader",
]
