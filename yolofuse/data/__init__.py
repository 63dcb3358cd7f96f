"""Load a data set from its YAML and make batches of pairs."""

from yolofuse.data.dataloader import collate, eval_loader, train_loader
from yolofuse.data.dataset import EvalDataset, SampleKey, TrainDataset
from yolofuse.data.descriptor.load import load_descriptor
from yolofuse.data.descriptor.source import DatasetDescriptor
from yolofuse.data.index.lenient_load import LenientPairs, load_pairs_with_problems
from yolofuse.data.index.pair_set import PairSet, load_pairs
from yolofuse.data.sampler import EpochSampler, EvalSampler

__all__ = [
    "DatasetDescriptor",
    "EpochSampler",
    "EvalDataset",
    "EvalSampler",
    "LenientPairs",
    "PairSet",
    "SampleKey",
    "TrainDataset",
    "collate",
    "eval_loader",
    "load_descriptor",
    "load_pairs",
    "load_pairs_with_problems",
    "train_loader",
]
