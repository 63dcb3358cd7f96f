"""Define a pair of frames, and turn decoded frames into arrays."""

from __future__ import annotations

import itertools
import statistics
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from typing_extensions import Self

from yolofuse.errors import ConfigError
from yolofuse.extras import install_line
from yolofuse.types import ByteArray, PixelArray

if TYPE_CHECKING:
    from collections.abc import Mapping

    import av
    from av.buffer import Buffer

_RECENT = 31  # frames; their median is robust against single gaps


class Closing(ABC):
    """Close at the end of a ``with`` block."""

    @abstractmethod
    def close(self) -> None:
        """Give up what is held open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class FramePair:
    """Two frames of one moment.

    Attributes:
        rgb: uint8 (H, W, 3): R, G, B.
        ir: uint8 (h, w) in full range, or uint16 (h, w), the counts as stored.
        time_s: Presentation time of the visible frame in seconds.
        gap_s: Time of the thermal frame minus that of the visible one.
        index: Number of the pair, counted from 0.
        ir_as_rgb: The thermal frame as R, G, B, of the first pair: has it colour, cameras are exchanged. Else None.
    """

    rgb: ByteArray
    ir: PixelArray
    time_s: float
    gap_s: float
    index: int
    ir_as_rgb: ByteArray | None = None


@dataclass(slots=True)
class PairCounts:
    """Count frames that got a partner and frames that got none."""

    paired: int = 0
    skipped_rgb: int = 0
    skipped_ir: int = 0


class Turn(NamedTuple):
    """How stored pixels become upright: transpose them, then step through rows and columns forwards or backwards."""

    transposed: bool = False
    rows: int = 1
    columns: int = 1


class TimedFrame(NamedTuple):
    """A decoded frame, whose pixels are converted only if it finds a partner."""

    time_s: float
    frame: av.VideoFrame
    turn: Turn = Turn()


class FrameInterval:
    """Measure the time between frames: the median of the last 31, so that dropped frames do not count."""

    def __init__(self, first_s: float) -> None:
        self.seconds = first_s
        self._times: deque[float] = deque(maxlen=_RECENT + 1)

    def update(self, time_s: float) -> None:
        """Add the time of a frame, in seconds."""
        self._times.append(time_s)
        if len(self._times) > _RECENT // 2:
            self.seconds = median_interval(list(self._times))


def median_interval(times_s: list[float]) -> float:
    """Return the median difference of two or more increasing times, in seconds; a millisecond at least."""
    return max(statistics.median(later - earlier for earlier, later in itertools.pairwise(times_s)), 0.001)


def import_av() -> ModuleType:
    """Import PyAV.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise ConfigError(f"video needs PyAV ({error}); {install_line('video')}") from None
    return av


def rgb_pixels(timed: TimedFrame) -> ByteArray:
    """Return a frame upright as R, G, B.

    Shapes:
        -> uint8 (H, W, 3)
    """
    return np.asarray(_upright(timed.frame.to_ndarray(format="rgb24"), timed.turn), np.uint8)


def ir_pixels(timed: TimedFrame) -> PixelArray:
    """Return a frame upright as one channel: deep grey formats as stored, all others as 8 bits in full range.

    Shapes:
        -> uint8 or uint16 (h, w)
    """
    stored = timed.frame.format
    is_deep = stored.name.startswith("gray") and not stored.name.startswith("grayf") and stored.components[0].bits > 8
    pixels = _upright(timed.frame.to_ndarray(format=None if is_deep else "gray"), timed.turn)
    return np.asarray(pixels, np.uint16) if is_deep else np.asarray(pixels, np.uint8)


def turn_of(frame: av.VideoFrame) -> Turn:
    """Return how a video that is stored turned or mirrored is shown, by its display matrix; quarter turns only.

    Ask one frame of a video: one that was asked is not freed before Python's garbage collector runs.
    """
    side_data = cast("Mapping[str, Buffer]", frame.side_data)  # PyAV declares it as something else
    if "DISPLAYMATRIX" not in side_data:
        return Turn()
    matrix = np.frombuffer(bytes(side_data["DISPLAYMATRIX"]), np.int32).reshape(3, 3)
    (a, b), (c, d) = np.sign(matrix[:2, :2]).tolist()  # x' = ax + cy, y' = bx + dy
    if a == d == 0 and b and c:
        return Turn(True, b, c)
    return Turn(False, d, a) if b == c == 0 and a and d else Turn()  # a skew view: as stored


def _upright(pixels: np.ndarray, turn: Turn) -> np.ndarray:
    pixels = pixels.swapaxes(0, 1) if turn.transposed else pixels
    return np.ascontiguousarray(pixels[:: turn.rows, :: turn.columns])
