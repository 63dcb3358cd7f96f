"""From a data set's YAML to batches of pairs."""

from yolofuse.data.dataset import EvalDataset, SampleKey, TrainDataset
from yolofuse.data.descriptor import load_descriptor
from yolofuse.data.loader import EpochSampler, EvalSampler, collate, eval_loader, train_loader
from yolofuse.data.pairs import PairSet, load_pairs
from yolofuse.data.sources import DatasetDescriptor
from yolofuse.data.survey import Survey, survey

__all__ = [
    "DatasetDescriptor",
    "EpochSampler",
    "EvalDataset",
    "EvalSampler",
    "PairSet",
    "SampleKey",
    "Survey",
    "TrainDataset",
    "collate",
    "eval_loader",
    "load_descriptor",
    "load_pairs",
    "survey",
    "train_loader",
]
