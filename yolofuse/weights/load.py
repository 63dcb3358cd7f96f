"""Prepare a freshly built detector for training: load its weights, initialise the rest, and report both."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from yolofuse.config import Config
from yolofuse.model import Detector
from yolofuse.model.heads import HEAD_TYPES
from yolofuse.weights.class_names import match_classes
from yolofuse.weights.class_rows import class_branches
from yolofuse.weights.init.apply_policy import apply_policy
from yolofuse.weights.init.policy import Policy, find_init_specs, resolve_policy
from yolofuse.weights.report import WeightsReport, build_report
from yolofuse.weights.resolve_sources import load_sources
from yolofuse.weights.sources import Source
from yolofuse.weights.tensor_log import TensorLog
from yolofuse.weights.transfer import transfer


def policy_of(config: Config) -> Policy:
    """Return the run's initialisation policy, checked without a model.

    Raises:
        ConfigError: If its rules contradict themselves.
    """
    return resolve_policy(config.init, seed=config.train.seed, imgsz=config.train.imgsz)


def load_and_initialise(
    detector: Detector,
    config: Config,
    names: Sequence[str] | None = None,
    frozen: Collection[str] = (),
    sources: Mapping[str, Source] | None = None,
) -> WeightsReport:
    """Load the tensors of the config's files, initialise all others, and report the status of each.

    Args:
        detector: As built, on any device; its values are replaced.
        config: Of the run.
        names: The data set's classes, for class rows by name.
        frozen: Parameters that will not be trained, for the report.
        sources: The files, if they have been read already.

    Raises:
        ConfigError: If the policy does not fit the model, or a source is for a part it does not have.
        WeightsError: If a file cannot be read or does not fit, or less than ``weights.require`` was loaded.
    """
    policy = policy_of(config)
    if sources is None:
        sources = load_sources(config.weights, tuple(detector.parts))
    kept = config.model.kept_classes
    classes = {
        part: (*match_classes(names, source.names, config.weights.class_map), *match_classes(kept, source.names))
        for part, source in sources.items()
        if names is not None and source.names is not None
    }
    specs = find_init_specs(detector, policy.options)
    heads = tuple(name for name, module in detector.named_modules() if isinstance(module, HEAD_TYPES))
    fixed = frozenset(name for name, spec in specs.items() if spec.fill is None)
    tensor_log = TensorLog(detector, fixed=fixed, heads=heads)
    modality = config.model.streams if config.model.streams != "both" else None
    warnings = transfer(tensor_log, detector, sources, classes=classes, base=config.model.base, input_modality=modality)
    warnings += apply_policy(policy, detector, tensor_log, specs)
    head_rows = {name for name, branch in class_branches(detector).items() if branch != "inner"}
    for name in frozen:
        tensor_log.records[name].frozen = True
    report = build_report(tensor_log, dict(sources), policy, warnings, classes, head_rows, num_kept=len(kept))
    report.require(config.weights.require)
    return report
