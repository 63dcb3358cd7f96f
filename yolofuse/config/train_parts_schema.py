"""Define the parts of the ``train`` section: augmentation, gains of the loss, learning rates by part of the model."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from yolofuse.config.field_types import NonNegative, Part, Positive, Section, Unit

MAX_POOL = 1024


class AugmentConfig(Section):
    """Random augmentation of a training sample. Geometry is shared by both modalities; photometry is per modality."""

    mosaic: Unit = 1.0
    """Probability that a sample is a mosaic of four pairs."""
    mosaic_pool: Annotated[int, Field(ge=0, le=MAX_POOL)] = 0
    """0: the other pairs of a mosaic come from the whole set. N: from N neighbours in the epoch's random order, so that
    a worker decodes each pair once for several mosaics; best a divisor of the batch of one process."""
    degrees: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Rotation by up to +- this many degrees."""
    translate: Unit = 0.1
    """Shift by up to +- this share of the sample's side, along each axis."""
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Size is multiplied by a factor of 1 +- this."""
    shear: Annotated[float, Field(ge=0, lt=90)] = 0.0
    """Shear by up to +- this many degrees, along each axis."""
    perspective: Annotated[float, Field(ge=0, le=0.001)] = 0.0
    """Tilt by up to +- this for each pixel from the centre of a sample of 640 px, along each axis; not with
    ``train.augment_on: device``."""
    flip_lr: Unit = 0.5
    """Probability of mirroring left and right."""
    flip_ud: Unit = 0.0
    """Probability of mirroring up and down."""
    mixup: Unit = 0.0
    """Probability that a sample is a blend with another one, while mosaics are made; not with ``train.augment_on:
    device``."""
    cutmix: Unit = 0.0
    """Probability that a rectangle of a sample is another one's, while mosaics are made; not with
    ``train.augment_on: device``."""
    hsv_h: Unit = 0.015
    """Hue of RGB is rotated by up to +- this share of a turn."""
    hsv_s: Unit = 0.7
    """Saturation of RGB is multiplied by a factor of 1 +- this."""
    hsv_v: Unit = 0.4
    """Brightness of RGB is multiplied by a factor of 1 +- this."""
    ir_gain: Unit = 0.2
    """IR is multiplied by a factor of 1 +- this."""
    ir_bias: Unit = 0.1
    """IR is shifted by up to +- this share of full scale."""
    ir_noise: Unit = 0.02
    """Standard deviation of Gaussian noise on IR, up to this share of full scale."""
    drop_camera: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the samples in which the image of one camera, either one, is black: the detector then works without
    it."""
    extra: tuple[Part, ...] = ()
    """Further changes of a sample, names of ``yolofuse.AUGMENTATIONS``, which your own code fills, before those of
    colours and thermal gain; not with ``train.augment_on: device``."""


class LossConfig(Section):
    """Gains of the loss terms, as ultralytics and YOLOv5 name them."""

    box: NonNegative | None = None
    """Gain of the boxes' IoU loss. None: 7.5, or 0.05 with an anchor head."""
    cls: NonNegative = 0.5
    """Gain of the class loss; with an anchor head it is for 80 classes, and scaled to yours."""
    dfl: NonNegative = 1.5
    """Gain of the distribution focal loss, or of the L1 loss of heads without it (YOLO26); unused by an anchor head."""
    obj: NonNegative = 1.0
    """Gain of the objectness loss; used by an anchor head alone."""
    extra: tuple[Part, ...] = ()
    """Further terms, names of ``yolofuse.LOSS_TERMS``, which your own code fills."""

    def box_of(self, head: Literal["dfl", "anchors"]) -> float:
        """Return the gain of the boxes for a kind of head."""
        return {"dfl": 7.5, "anchors": 0.05}[head] if self.box is None else self.box


class RatesConfig(Section):
    """Learning rate of each part of the model, as a share of the schedule's."""

    streams: Positive = 1.0
    """The layers before the cut; of ``cut: decision`` all but the heads."""
    fusion: Positive = 1.0
    """The fusion blocks."""
    trunk: Positive = 1.0
    """The layers after the cut without the head; of a single-stream model all but the head."""
    head: Positive = 1.0
    """The detection heads."""
