from .api import build_detector as build_detector
from .api import evaluate as evaluate
from .api import export as export
from .api import load as load
from .api import load_config as load_config
from .api import load_detector as load_detector
from .api import report as report
from .api import to_ultralytics as to_ultralytics
from .api import train as train
from .batch import PairedBatch as PairedBatch
from .config import Config as Config
from .data.augment.extra import AUGMENTATIONS as AUGMENTATIONS
from .engine.callbacks import Callback as Callback
from .engine.loggers import LOGGERS as LOGGERS
from .engine.loggers import Logger as Logger
from .engine.loss_terms import LOSS_TERMS as LOSS_TERMS
from .errors import YolofuseError as YolofuseError
from .eval.extra_metrics import METRICS as METRICS
from .nn.registries import FUSIONS as FUSIONS
from .nn.registries import HEADS as HEADS
from .predict.model import Model as Model
from .predict.result import PairDetections as PairDetections
from .types import Detections as Detections
from .types import PairFormat as PairFormat

__version__: str
