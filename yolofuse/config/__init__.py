"""Read and validate the YAML of a run: schema, loading, overrides."""

from yolofuse.config.error_messages import format_errors
from yolofuse.config.load import dump_config, load_config
from yolofuse.config.schema import (
    AugmentConfig,
    Config,
    DataConfig,
    LossConfig,
    ModelConfig,
    TrainConfig,
    ValConfig,
)
from yolofuse.config.weights_schema import InitConfig, InitRule, WeightsConfig

__all__ = [
    "AugmentConfig",
    "Config",
    "DataConfig",
    "InitConfig",
    "InitRule",
    "LossConfig",
    "ModelConfig",
    "TrainConfig",
    "ValConfig",
    "WeightsConfig",
    "dump_config",
    "format_errors",
    "load_config",
]
