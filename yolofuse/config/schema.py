"""Every option of a run, its default and its bounds. Nothing outside this folder holds a default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from yolofuse.config.field_types import ImageSize, NonNegative, Positive, Section, Unit
from yolofuse.config.weights_schema import InitConfig, WeightsConfig

Cut = Literal["input", "early", "mid", "late", "decision"] | Annotated[int, Field(ge=1)]
Streams = Literal["both", "rgb", "ir"]
MergeName = Literal["nms", "proben"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
CocoBackend = Literal["pycocotools", "faster"]


class DataConfig(Section):
    """Which pairs. ``descriptor`` is the data set's YAML; ``root`` overrides where its folders are looked for."""

    descriptor: str
    root: str | None = None
    train_split: str = "train"
    val_split: str = "val"
    workers: Annotated[int, Field(ge=0, le=64)] = 2
    cache_dir: str | None = None
    """Folder for the pairing's cache. None: a folder of the user's cache directory, never the data set."""
    verify: bool = True
    """Decode every image once before epoch 0 (cached by size and time), so that no truncated file stops epoch 37."""


class FusionConfig(Section):
    """A fusion block with options: the keyword arguments of its constructor, checked where models are built."""

    model_config = ConfigDict(extra="allow")

    name: str


def _without_options(fusion: str | FusionConfig) -> str | FusionConfig:
    """Return the plain name where a mapping gives no options, so that both spellings are the same config."""
    return fusion if isinstance(fusion, str) or fusion.model_extra else fusion.name


class ModelConfig(Section):
    """Which detector. ``cut``, ``share``, ``fusion`` and ``merge`` have no effect when only one stream is used."""

    base: str = "yolo11n"
    cut: Cut = "mid"
    streams: Streams = "both"
    share: bool = False
    """One set of stream weights for both modalities; IR is then repeated to three channels."""
    fusion: Annotated[str | FusionConfig, AfterValidator(_without_options)] = "concat"
    """A block of ``yolofuse.nn.FUSIONS``: its name, or ``{name: gated, reduction: 8}`` with options of its
    constructor."""
    merge: MergeName = "nms"
    """How the two detectors of ``cut: decision`` are merged."""
    norm: Literal["batch", "none"] = "batch"
    """``none`` leaves every BatchNorm out, to study initialisation; expect to train worse."""

    @property
    def fusion_name(self) -> str:
        """Name of the fusion block."""
        return self.fusion if isinstance(self.fusion, str) else self.fusion.name

    @property
    def fusion_options(self) -> dict[str, Any]:
        """Keyword arguments of the fusion block beside its channels."""
        return {} if isinstance(self.fusion, str) else dict(self.fusion.model_extra or {})

    @property
    def fusion_label(self) -> str:
        """Name and options of the fusion block for logs and tables: ``gated`` or ``gated(reduction=8)``."""
        options = ", ".join(f"{key}={value}" for key, value in self.fusion_options.items())
        return f"{self.fusion_name}({options})" if options else self.fusion_name


class AugmentConfig(Section):
    """Random changes of a training sample. Geometry is shared by both modalities; photometry is per modality."""

    mosaic: Unit = 1.0
    mosaic_pool: Annotated[int, Field(ge=0, le=1024)] = 0
    """0: a mosaic's partners come from the whole set. N: from the N neighbours in the epoch's random order, so that a
    worker decodes each pair once for several mosaics; best a divisor of the batch of one process."""
    degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    translate: Unit = 0.1
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.5
    shear: Annotated[float, Field(ge=0, lt=90)] = 0.0
    flip_lr: Unit = 0.5
    flip_ud: Unit = 0.0
    hsv_h: Unit = 0.015
    hsv_s: Unit = 0.7
    hsv_v: Unit = 0.4
    ir_gain: Unit = 0.2
    """IR is multiplied by 1 +- this."""
    ir_bias: Unit = 0.1
    """And shifted by +- this share of full scale."""
    ir_noise: Unit = 0.02
    """And given Gaussian noise of up to this share of full scale."""


class LossConfig(Section):
    """Gains of the loss terms, as ultralytics names them."""

    box: NonNegative = 7.5
    cls: NonNegative = 0.5
    dfl: NonNegative = 1.5


class TrainConfig(Section):
    """The loop."""

    run: str
    """Folder that the run writes to. A used one is refused, never overwritten."""
    epochs: Annotated[int, Field(ge=1)] = 100
    batch: Annotated[int, Field(ge=-1)] = 16
    """Pairs per step, over all ranks. -1: as many as fit into the GPU's memory, found before the run begins."""
    nominal_batch: Annotated[int, Field(ge=1)] = 64
    """Gradients accumulate until this many pairs were seen."""
    imgsz: ImageSize = 640
    seed: Annotated[int, Field(ge=0)] = 0
    device: str = "auto"
    precision: Precision = "auto"
    """``auto``: bf16 on GPUs that have it, fp32 elsewhere."""
    compile: Literal["none", "model", "streams"] = "none"
    """``torch.compile`` for the whole model, or for each of its parts (streams, fusion, trunk) on its own."""
    overlap: bool = False
    """On CUDA: compute both streams side by side, each in a CUDA stream of its own."""
    channels_last: bool = True
    optimizer: Literal["sgd", "adamw", "musgd"] = "sgd"
    lr0: Positive = 0.01
    lrf: Unit = 0.01
    """Last learning rate as a share of ``lr0``."""
    schedule: Literal["cosine", "linear"] = "cosine"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.937
    """Also beta1 of AdamW."""
    weight_decay: NonNegative = 5e-4
    warmup_epochs: NonNegative = 3.0
    warmup_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.8
    warmup_bias_lr: NonNegative = 0.1
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9999
    ema_tau: Positive = 2000.0
    clip_norm: NonNegative = 10.0
    """Largest norm of all gradients; 0 switches clipping off."""
    bn_momentum: Annotated[float, Field(gt=0, le=1)] = 0.03
    freeze: tuple[str, ...] = ()
    """Shell patterns of parameter names that stay as they are, for example ``rgb.layers.*``."""
    close_mosaic: Annotated[int, Field(ge=0)] = 10
    """Mosaic is off for this many last epochs."""
    multi_scale: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Each batch is resized by a factor drawn from 1 +- this."""
    patience: Annotated[int, Field(ge=0)] = 50
    """Stop after this many epochs without a better AP; 0 never stops early."""
    val_every: Annotated[int, Field(ge=0)] = 1
    """Evaluate every this many epochs, and always after the last; 0 only after the last."""
    save_every: Annotated[int, Field(ge=0)] = 0
    """Save a checkpoint every this many steps too; 0 not by steps. Each epoch's end is saved anyway."""
    save_minutes: NonNegative = 10.0
    """And after this many minutes without one; 0 not by time. Saving runs beside training."""
    keep: Annotated[int, Field(ge=1, le=100)] = 3
    """How many of the newest checkpoints stay, so that a damaged one is not the only one."""
    nan_rollbacks: Annotated[int, Field(ge=0)] = 3
    """How often a run may go back to its last checkpoint and leave out the batch whose loss or gradients were not
    finite; then, or with 0 at once, it ends with an error."""
    watchdog_minutes: NonNegative = 15.0
    """A process that makes no step for so long writes down where it hangs and ends, so that the job can be restarted; 0
    switches that off."""
    check_ranks_every: Annotated[int, Field(ge=0)] = 500
    """Compare the weights of all ranks every this many updates, and end where they differ; 0 never."""
    profile_steps: Annotated[int, Field(ge=0, le=1000)] = 0
    """Trace this many steps with torch.profiler, after a few to warm up, into the run's ``profile`` folder."""
    monitor_steps: Annotated[int, Field(ge=0)] = 100
    """Losses and gradient norms of this many first steps go to ``first_steps.csv``, with warnings where they look
    wrong; 0 switches that off."""
    cache: Literal["none", "ram", "disk"] = "none"
    """Keep every training pair decoded at training size (4 bytes per pixel, 8 for thermal images of more than 8 bits),
    shared by workers and ranks: in memory, or in a file below ``data.cache_dir``. Changes no byte of a batch."""
    augment_on: Literal["loader", "device"] = "loader"
    """Where mosaic, geometry and colours are made: by the loader's processes, or in batches on the training device,
    with the same draws and the same geometry within a pixel. The device is for GPUs that wait for their loader."""
    decode: Literal["cpu", "nvjpeg"] = "cpu"
    """Who decodes JPEG pairs. ``nvjpeg``: the GPU, through torchvision; needs ``augment_on: device``."""
    sync_bn: bool = False
    """Batch statistics over all ranks."""
    tensorboard: bool = False
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()


class ValConfig(Section):
    """How a model is judged. One metric: cocoapi's."""

    imgsz: ImageSize | None = None
    """None: the training size."""
    batch: Annotated[int, Field(ge=1)] = 16
    conf: Unit = 0.001
    iou: Unit = 0.7
    """Overlap from which NMS drops the weaker box; unused by end-to-end heads."""
    max_det: Annotated[int, Field(ge=1)] = 300
    letterbox: Literal["square", "rect"] = "rect"
    """``rect`` pads each image only to the next multiple of 32; ``square`` to the full size."""
    precision: Precision = "auto"
    """``auto``: bf16 on GPUs that have it, fp32 elsewhere. Boxes are always decoded in fp32."""
    backend: CocoBackend = "pycocotools"
    """Who computes cocoapi's figures: pycocotools, or faster-coco-eval (``faster``), in C++, equal to 1e-9."""


class Config(Section):
    """One run, whole."""

    data: DataConfig
    model: ModelConfig = ModelConfig()
    weights: WeightsConfig = WeightsConfig()
    init: InitConfig = InitConfig()
    train: TrainConfig
    val: ValConfig = ValConfig()

    @model_validator(mode="after")
    def _agree(self) -> Config:
        if self.model.streams == "both" and self.model.cut == "input" and self.model.share:
            raise ValueError("model.share: cut 'input' has no streams to share; use share: false or another cut")
        if self.train.batch == 0:
            raise ValueError("train.batch: must be at least 1, or -1 for as many as fit (got 0)")
        is_fused = self.model.streams == "both" and self.model.cut not in {"input", "decision"}
        if is_fused and self.init.fusion in {"rgb", "ir"} and self.model.fusion_name == "add":
            raise ValueError(f"init.fusion: 'add' is always the average; for {self.init.fusion} take another fusion")
        if self.train.decode == "nvjpeg" and (self.train.augment_on != "device" or self.train.cache != "none"):
            raise ValueError("train.decode: nvjpeg goes with train.augment_on: device and train.cache: none")
        return self

    @property
    def val_imgsz(self) -> int:
        """Side that validation images are scaled to, in pixels."""
        return self.val.imgsz or self.train.imgsz

    @property
    def run_dir(self) -> Path:
        """Folder of the run."""
        return Path(self.train.run)
