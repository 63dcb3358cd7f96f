"""Define every option of a run, its default and its bounds. Nothing outside this folder holds a default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from yolofuse.config.field_types import (
    AbsolutePath,
    FolderName,
    ImageSize,
    NonNegative,
    Part,
    Positive,
    Section,
    Unit,
    part_label,
    part_name,
)
from yolofuse.config.train_parts_schema import AugmentConfig as AugmentConfig
from yolofuse.config.train_parts_schema import LossConfig as LossConfig
from yolofuse.config.train_parts_schema import RatesConfig as RatesConfig
from yolofuse.config.weights_schema import InitConfig, WeightsConfig

Cut = Literal["input", "early", "mid", "late", "decision"] | Annotated[int, Field(ge=1)]
Streams = Literal["both", "rgb", "ir"]
MergeName = Literal["nms", "proben"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
CocoBackend = Literal["pycocotools", "faster"]
_MAX_SEED = 2**64 - 1
"""torch takes no larger one."""
_YEAR_MINUTES = 366.0 * 24 * 60


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _class_name(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("give the name of the one class, such as vehicle")
    return value


class DataConfig(Section):
    """The data set, and how it is read."""

    descriptor: AbsolutePath
    """The data set's YAML: its folders, splits and class names."""
    root: AbsolutePath | None = None
    """Folder that the descriptor's paths are relative to. None: its own root."""
    train_split: str = "train"
    """Split of the descriptor that is trained on."""
    val_split: str = "val"
    """Split that is evaluated during training, and by ``val_dual.py`` unless it is given ``--split``."""
    classes: tuple[str, ...] = ()
    """Classes that are trained and evaluated, by name and in this order; boxes of others are left out. Empty: all."""
    single_class: Annotated[str, BeforeValidator(_class_name)] | None = None
    """Name of the one class that all of these become; weights that know a class of that name keep their head's rows,
    for another name see ``weights.class_map``. None: they stay apart."""
    workers: Annotated[int, Field(ge=0, le=64)] = 2
    """Processes that load training batches, and as many for evaluation, on each rank. 0: the training process loads."""
    cache_dir: AbsolutePath | None = None
    """Folder for the cached pair index. None: the user's cache directory, never the data set."""
    missing: Literal["refuse", "allow"] = "refuse"
    """``allow``: an image without a partner is a pair as well, in training and evaluation; black stands for the other
    image."""
    verify: bool = True
    """Decode and hash every image once before epoch 0 (cached until a file changes): a truncated file stops the run
    early, and an exchanged one is found when the run resumes."""


class ModelConfig(Section):
    """The detector. ``cut``, ``share``, ``fusion`` and ``merge`` have no effect when only one stream is used."""

    base: str = "yolo11n"
    """Model of ultralytics' catalogue, with its size."""
    cut: Cut = "mid"
    """Where two streams become one: ``input`` (one model reads R, G, B, IR), ``early`` (at stride 4), ``mid`` (after
    the backbone), ``late`` (before the head), ``decision`` (boxes are merged), or the number of the first layer after
    the cut."""
    streams: Streams = "both"
    """Cameras that the detector reads; ``rgb`` or ``ir`` is the baseline of one camera."""
    share: bool = False
    """One set of stream weights for both modalities; IR is then repeated to three channels."""
    fusion: Part = "concat"
    """A block of ``yolofuse.nn.FUSIONS``: its name, or ``{name: gated, reduction: 8}`` with options of its
    constructor."""
    head: str = "auto"
    """``dfl``: the head of the base. ``anchors``: that of YOLOv5. ``auto``: what the weights of the head's part have;
    ``dfl`` without any."""
    anchors: Literal["fit"] | tuple[tuple[tuple[Positive, Positive], ...], ...] | None = None
    """Anchors of an anchor head: widths and heights in pixels, for each level from the smallest stride up. ``fit``:
    fitted to the training boxes at ``train.imgsz``. None: those of the weights, else those of YOLOv5."""
    kept_classes: tuple[str, ...] = ()
    """Classes that the head scores after those of the data; ``weights.keep_classes`` fills them in."""
    branch_classes: Annotated[int, Field(ge=1)] | None = None
    """Number of classes that the class branch of a ``dfl`` head is as wide as ultralytics makes it for. None: that of
    the weights whose class rows are used, else of the data."""
    merge: MergeName = "nms"
    """How the two detectors of ``cut: decision`` are merged."""
    norm: Literal["batch", "none"] = "batch"
    """``none`` removes every BatchNorm, to study initialisation; expect worse training."""

    @property
    def fusion_label(self) -> str:
        """Return name and options of the fusion block for logs and tables: ``gated`` or ``gated(reduction=8)``."""
        return part_label(self.fusion)


class TrainConfig(Section):
    """The training loop."""

    run: FolderName
    """Folder of the run. One that holds a run, or other files than job scripts and their logs, is refused, never
    overwritten."""
    recipe: Literal["auto", "finetune", "scratch"] = "auto"
    """Values of the options that are not given: ``finetune`` keeps what the weights know, ``scratch`` is for a new
    head. ``auto``: ``finetune`` if the weights' head scores a class of the data. A run's config.yaml has the values."""
    score_start: Literal["auto"] | bool = "auto"
    """Evaluate before the first step, as epoch 0: what training has to beat. ``auto``: if the weights' head scores a
    class of the data."""
    epochs: Annotated[int, Field(ge=1)] = 100
    """Passes over the training pairs, unless ``patience`` ends the run before."""
    batch: Annotated[int, Field(ge=-1)] = 16
    """Pairs per step, over all ranks. -1: as many as fit into the GPU's memory, measured before the run starts.
    0 is refused."""
    nominal_batch: Annotated[int, Field(ge=1)] = 64
    """Gradients are accumulated over this many pairs for one update."""
    imgsz: ImageSize = 640
    """Side of the square training samples in pixels; also a multiple of the model's largest stride."""
    seed: Annotated[int, Field(ge=0, le=_MAX_SEED)] = 0
    """Seed of the order of pairs, of their augmentation, and of initial values without ``init.seed``."""
    device: str = "auto"
    """``auto`` (CUDA if there is any, else the CPU), ``cpu``, ``cuda`` (a GPU per rank) or ``cuda:N``."""
    precision: Precision = "auto"
    """``auto``: bf16 on GPUs that have it, fp32 elsewhere."""
    compile: Literal["none", "model", "streams"] = "none"
    """``torch.compile`` for the whole model, or for each part (streams, fusion, trunk) separately."""
    overlap: bool = False
    """Compute both streams concurrently, each in its own CUDA stream; needs a GPU and streams that share no weights."""
    channels_last: bool = True
    """Memory order of the weights: channels last (NHWC) instead of first."""
    optimizer: Literal["auto", "sgd", "adamw", "musgd"] = "sgd"
    """SGD with Nesterov momentum, AdamW, or ultralytics' MuSGD with its shares for YOLO26 (Muon 0.2, SGD 1). ``auto``:
    SGD by the recipe ``finetune``; from scratch AdamW, or MuSGD for more than 10,000 updates, each with ultralytics'
    ``lr0``, ``momentum`` and ``warmup_bias_lr`` where they are not given."""
    lr0: Positive = 0.01
    """Learning rate that the schedule starts from; for AdamW 0.001 is usual."""
    lrf: Unit = 0.01
    """Final learning rate as a share of ``lr0``."""
    schedule: Literal["cosine", "linear"] = "cosine"
    """Curve on which the learning rate falls with every step, from ``lr0`` to ``lr0 * lrf``."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.937
    """Momentum of SGD and MuSGD, beta1 of AdamW."""
    weight_decay: NonNegative = 5e-4
    """Decay of weights, not of biases and norms, for updates of ``nominal_batch`` pairs; scaled for others."""
    warmup_epochs: NonNegative = 3.0
    """Epochs in which learning rates rise from 0, and the batches of an update from one."""
    warmup_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.8
    """Momentum at the start of the warm-up."""
    warmup_bias_lr: NonNegative = 0.1
    """Learning rate of biases at the start of the warm-up; with AdamW use ``lr0``."""
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9999
    """Share of the averaged weights (EMA) that an update keeps, once there were many updates."""
    ema_tau: Positive = 2000.0
    """Updates after which that share has risen from 0 to 63 % of ``ema_decay``."""
    keep_start: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the weights before training in the averaged ones, which are evaluated and saved."""
    clip_norm: NonNegative = 10.0
    """Maximum norm of all gradients; 0 disables clipping."""
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.03
    """Weight of a new batch in the running statistics of BatchNorm."""
    freeze_bn: bool = False
    """Keep the statistics of every BatchNorm as loaded; weights and biases are trained."""
    rates: RatesConfig = RatesConfig()
    freeze: tuple[str, ...] = ()
    """Shell patterns of parameter names that are not trained, for example ``rgb.layers.*``."""
    close_mosaic: Annotated[int, Field(ge=0)] = 10
    """Number of last epochs without mosaic."""
    multi_scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Each batch is resized by a random factor of 1 +- this."""
    val_loss: bool = False
    """Also compute the loss of the averaged weights in each evaluation: columns ``val/box`` and so on of
    ``results.csv``, and dashed curves."""
    patience: Annotated[int, Field(ge=0)] = 50
    """Stop at an evaluation that is this many epochs after AP last rose; 0: never."""
    val_every: Annotated[int, Field(ge=0)] = 1
    """Epochs between evaluations; the last epoch is always evaluated. 0: only the last, and the validation split may be
    without a box."""
    save_every: Annotated[int, Field(ge=0)] = 0
    """Steps between checkpoints, besides the one at the end of each epoch; 0: not by steps."""
    save_minutes: NonNegative = 10.0
    """Minutes between checkpoints; 0: not by time. Saving runs in the background."""
    keep: Annotated[int, Field(ge=1, le=100)] = 3
    """Number of newest checkpoints that are kept, so that a damaged one is not the only one."""
    nan_rollbacks: Annotated[int, Field(ge=0)] = 3
    """How often a run may return to its last checkpoint and skip the batch whose loss or gradients were not finite;
    after that, or at once with 0, it ends with an error."""
    watchdog_minutes: Annotated[NonNegative, Field(le=_YEAR_MINUTES)] = 15.0
    """A process without a step for so long writes its stack traces and exits, so that the job can be restarted; 0
    disables that."""
    check_ranks_every: Annotated[int, Field(ge=0)] = 500
    """Updates between comparisons of the weights of all ranks; the run ends if they differ. 0: never."""
    profile_steps: Annotated[int, Field(ge=0, le=1000)] = 0
    """Steps traced with torch.profiler, after a few warm-up steps, into the run's ``profile`` folder."""
    monitor_steps: Annotated[int, Field(ge=0)] = 100
    """Losses and gradient norms of this many first steps are written to ``first_steps.csv``, with warnings for
    anomalies; 0 disables that."""
    cache: Literal["auto", "none", "ram", "disk"] = "auto"
    """Keep every training pair decoded at training size (4 bytes per pixel, 8 for thermal images of more than 8 bits),
    shared by workers and ranks: in memory, or in a file below ``data.cache_dir``. Batches stay the same to the byte.
    ``auto``: in memory if they take less than a quarter of what is free, else on the disk if there is room, else a new
    run sets ``augment.mosaic_pool`` to the batch of one process, unless you set it."""
    augment_on: Literal["loader", "device"] = "loader"
    """Where mosaic, geometry and photometry run: in the loader's workers, or in batches on the training device, with
    the same draws and the same geometry within a pixel. ``device`` is for GPUs that wait for their loader."""
    decode: Literal["cpu", "nvjpeg"] = "cpu"
    """Decoder of JPEG pairs. ``nvjpeg``: on the GPU, through torchvision; needs ``augment_on: device`` and
    no cache."""
    sync_bn: bool = False
    """Compute batch statistics over all ranks."""
    loggers: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = ()
    """Also write each row of ``results.csv`` to ``tensorboard``, ``mlflow`` or ``wandb``, by default in the run's
    folder; each needs its package."""
    tensorboard: bool = False
    """Older name of ``loggers: [tensorboard]``."""
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()


class ValConfig(Section):
    """Evaluation. One metric: cocoapi's AP."""

    imgsz: ImageSize | None = None
    """None: the training size."""
    batch: Annotated[int, Field(ge=1)] = 16
    """Pairs per batch, on each rank."""
    conf: Unit = 0.001
    """A class of a box is a detection if it scores more than this."""
    iou: Unit = 0.7
    """IoU above which NMS drops the lower-scoring box; unused by end-to-end heads."""
    max_det: Annotated[int, Field(ge=1)] = 300
    """Number of detections of an image that are kept, best first."""
    letterbox: Literal["square", "rect"] = "rect"
    """``rect`` pads each image only to the next multiple of the largest stride (32 px, more with P6); ``square`` to the
    full size."""
    precision: Precision = "auto"
    """``auto``: bf16 on GPUs that have it, fp32 elsewhere. Boxes are always decoded in fp32."""
    blank: Annotated[tuple[Literal["rgb", "ir"], ...], BeforeValidator(_as_tuple)] = ()
    """``rgb``, ``ir`` or ``[rgb, ir]``: also evaluate with that camera's images black and report those metrics
    too; not during training."""
    metrics: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)] = ()
    """Further metrics in the report of ``val_dual.py``: names of ``yolofuse.METRICS``, which your own code fills."""
    backend: CocoBackend = "pycocotools"
    """Implementation of cocoapi's metrics: pycocotools, or faster-coco-eval (``faster``), in C++, equal to 1e-9."""


class Config(Section):
    """All options of one run."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    weights: WeightsConfig = WeightsConfig()
    init: InitConfig = InitConfig()
    train: TrainConfig
    val: ValConfig = ValConfig()

    @model_validator(mode="after")
    def _check_combinations(self) -> Config:
        if self.model.streams == "both" and self.model.cut == "input" and self.model.share:
            raise ValueError("model.share: cut 'input' has no streams to share; use share: false or another cut")
        if self.model.streams != "both" and self.train.augment.drop_camera:
            raise ValueError("train.augment.drop_camera: needs two cameras; with one, use 0")
        if self.train.batch == 0:
            raise ValueError("train.batch: must be at least 1, or -1 for as many as fit (got 0)")
        is_fused = self.model.streams == "both" and self.model.cut not in {"input", "decision"}
        if is_fused and self.init.fusion in {"rgb", "ir"} and part_name(self.model.fusion) == "add":
            raise ValueError(f"init.fusion: 'add' is always the average; for {self.init.fusion} use another fusion")
        if self.train.decode == "nvjpeg" and (self.train.augment_on != "device" or self.train.cache in {"ram", "disk"}):
            raise ValueError("train.decode: nvjpeg needs train.augment_on: device, and train.cache: auto or none")
        return self

    @property
    def val_imgsz(self) -> int:
        """Return the side that validation images are scaled to, in pixels."""
        return self.val.imgsz or self.train.imgsz

    @property
    def run_dir(self) -> Path:
        """Return the folder of the run."""
        return Path(self.train.run)
