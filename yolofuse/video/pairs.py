"""Pair the frames of two video files by their presentation times."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path

from yolofuse.errors import DataError
from yolofuse.video.frames import Closing, FramePair, PairCounts, TimedFrame, ir_pixels, rgb_pixels
from yolofuse.video.reader import VideoReader

_ROUNDING_S = 1e-6  # of times that are fractions


class VideoPairs(Closing, Iterator[FramePair]):
    """Iterate over the pairs of two recordings, flat in memory; close it, or use it in a ``with`` block.

    A frame's partner is the nearest frame of the other recording, at most half the time between frames of the slower
    one away. Each frame is used at most once, so that the slower recording sets the number of pairs; all others are
    skipped and counted. What follows the end of the shorter recording is not read.

    Attributes:
        counts: Frames paired and skipped until now.

    Raises:
        DataError: While iterating, if a file is damaged, after all pairs before that place; or if the recordings do
            not overlap.
    """

    def __init__(self, rgb: str | Path, ir: str | Path, offset_s: float = 0.0) -> None:
        """Open both files.

        Args:
            rgb: Video of the visible camera.
            ir: Video of the thermal camera.
            offset_s: What is added to the times of ``ir``, in seconds, such as :func:`estimate_offset` returns.
        """
        self._rgb, self._ir = VideoReader(rgb), VideoReader(ir)
        if self._rgb.path.samefile(self._ir.path):
            self._rgb.close()
            self._ir.close()
            raise DataError(f"rgb and ir are one file, {rgb}; each camera needs its own")
        self._offset_s = offset_s
        self._counts = PairCounts()
        self._pairs = self._iterate()

    def __next__(self) -> FramePair:
        return next(self._pairs)

    @property
    def counts(self) -> PairCounts:
        """Return the frames paired and skipped until now."""
        counts = self._counts
        return PairCounts(counts.paired, counts.skipped_rgb + self._rgb.skipped, counts.skipped_ir + self._ir.skipped)

    @property
    def fps(self) -> float:
        """Return pairs a second: the frame rate of the slower recording."""
        return min(self._rgb.fps, self._ir.fps)

    def close(self) -> None:
        """Close both files."""
        self._pairs.close()
        self._rgb.close()
        self._ir.close()

    def _iterate(self) -> Generator[FramePair, None, None]:
        rgb = _Lookahead(iter(self._rgb))
        ir = _Lookahead(frame._replace(time_s=frame.time_s + self._offset_s) for frame in self._ir)
        for first, second in _match_nearest(rgb, ir, lambda: 0.5 / self.fps, self._counts):
            yield FramePair(
                rgb_pixels(first),
                ir_pixels(second),
                first.time_s,
                second.time_s - first.time_s,
                self._counts.paired - 1,
                rgb_pixels(second) if self._counts.paired == 1 else None,
            )
        if not self._counts.paired:
            raise DataError(
                f"{self._rgb.path} ({rgb.span}) and {self._ir.path} ({ir.span}) do not overlap in time; "
                "set the offset between them"
            )


class _Lookahead:
    """Hold the current and the next frame; an error beyond the current frame waits until that frame was used."""

    def __init__(self, frames: Iterator[TimedFrame]) -> None:
        self.now: TimedFrame | None = None
        self.next: TimedFrame | None = None
        self._frames = frames
        self._error: DataError | None = None
        self._times: tuple[float, float] | None = None
        self.advance()
        self.advance()

    def advance(self) -> None:
        self.now = self.next
        if self.now is None and self._error is not None:
            raise self._error
        if self.now is not None:
            self._times = (self._times or self.now)[0], self.now.time_s
        try:
            self.next = next(self._frames, None) if self._error is None else None
        except DataError as error:
            self.next, self._error = None, error

    @property
    def span(self) -> str:
        """Return the times read until now, as text."""
        return "no frame" if self._times is None else "{:.3f} to {:.3f} s".format(*self._times)


def _match_nearest(
    rgb: _Lookahead, ir: _Lookahead, max_gap_s: Callable[[], float], counts: PairCounts
) -> Iterator[tuple[TimedFrame, TimedFrame]]:
    """Yield frames that are each other's nearest among the unused ones, in the order of time; count the others."""
    while rgb.now is not None and ir.now is not None:
        gap_s = abs(rgb.now.time_s - ir.now.time_s)
        rgb_first = rgb.now.time_s < ir.now.time_s
        if rgb.next is not None and abs(rgb.next.time_s - ir.now.time_s) < gap_s:
            skip_rgb = True
        elif ir.next is not None and abs(ir.next.time_s - rgb.now.time_s) < gap_s:
            skip_rgb = False
        elif gap_s <= max_gap_s() + _ROUNDING_S:
            counts.paired += 1
            yield rgb.now, ir.now
            rgb.advance()
            ir.advance()
            continue
        else:
            skip_rgb = rgb_first
        if skip_rgb:
            counts.skipped_rgb += 1
            rgb.advance()
        else:
            counts.skipped_ir += 1
            ir.advance()
