"""From a freshly built detector to one that is ready to train: load, then initialise the rest, then report."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from yolofuse.config import Config
from yolofuse.model import Detector
from yolofuse.upstream import Detect
from yolofuse.weights.init.policy import Policy, find_init_specs, initialise, resolve_policy
from yolofuse.weights.report import WeightsReport, close
from yolofuse.weights.resolve_sources import load_sources
from yolofuse.weights.tensor_log import TensorLog
from yolofuse.weights.transfer import transfer


def policy_of(config: Config) -> Policy:
    """The run's initialisation policy, checked by itself.

    Raises:
        ConfigError: If its rules contradict themselves.
    """
    return resolve_policy(config.init, seed=config.train.seed, imgsz=config.train.imgsz)


def load_and_initialise(
    detector: Detector, config: Config, names: Sequence[str] | None = None, frozen: Collection[str] = ()
) -> WeightsReport:
    """Load what the config's files hold, give everything else its first values, and say what became of each tensor.

    Args:
        detector: As built, anywhere; its values are replaced.
        config: The run.
        names: The data set's classes, for class rows by name.
        frozen: Parameters that will not be trained, for the report.

    Raises:
        ConfigError: If the policy does not fit the model, or a source is for a part it does not have.
        WeightsError: If a file cannot be read or does not fit, or less than ``weights.require`` was loaded.
    """
    policy = policy_of(config)
    sources = load_sources(config.weights, tuple(detector.parts))
    specs = find_init_specs(detector, policy.options)
    heads = tuple(name for name, module in detector.named_modules() if isinstance(module, Detect))
    fixed = frozenset(name for name, start in specs.items() if start.fill is None)
    ledger = TensorLog(detector, fixed=fixed, heads=heads)
    sees = config.model.streams if config.model.streams != "both" else None
    found = transfer(ledger, detector, sources, names=names, base=config.model.base, sees=sees)
    warnings = initialise(policy, detector, ledger, specs)
    for name in frozen:
        ledger.entries[name].frozen = True
    report = close(ledger, sources, policy, [*found, *warnings])
    report.require(config.weights.require)
    return report
