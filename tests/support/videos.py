"""Draw small videos whose frames carry their time as a bar code."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import IO, cast

import av
import numpy as np

from yolofuse.types import ByteArray, PixelArray

SIZE_HW = (32, 160)
BITS = 20  # milliseconds, up to 17 minutes
TIME_BASE = Fraction(1, 90_000)
_FAST = {"preset": "ultrafast", "tune": "zerolatency"}


def bar_code(time_s: float) -> ByteArray:
    """Return a frame (H, W) with a time in milliseconds as white and black bars."""
    bits = round(time_s * 1000) >> np.arange(BITS) & 1
    return np.broadcast_to(np.repeat(bits * 220 + 16, SIZE_HW[1] // BITS), SIZE_HW).astype(np.uint8)


def read_bar_code(image: PixelArray) -> float:
    """Return the time in seconds that a frame (H, W) or (H, W, 3) carries."""
    grey = image if image.ndim == 2 else image[..., 1]
    bars = grey[8:24].reshape(16, BITS, -1)[..., 2:-2].mean((0, 2))
    return float((bars > np.iinfo(image.dtype).max / 2) @ (1 << np.arange(BITS))) / 1000


def times(fps: float, seconds: float, start_s: float = 0.0) -> list[float]:
    return [start_s + index / fps for index in range(round(seconds * fps))]


def encode(
    target: str | Path | IO[bytes] | socket.SocketIO,
    frames: Iterable[tuple[float, PixelArray]],
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    container: str | None = None,
    matrix: list[int] | None = None,
    options: Mapping[str, str] | None = None,
) -> None:
    """Write frames (H, W) or (H, W, 3) with their times in seconds."""
    file = str(target) if isinstance(target, Path) else target
    with av.open(file, "w", format=container, options={"flush_packets": "1", **(options or {})}) as output:
        stream: av.VideoStream | None = None
        for time_s, image in frames:
            if stream is None:
                fast = _FAST if codec == "libx264" else {}
                stream = cast(av.VideoStream, output.add_stream(codec, rate=25, options=fast))
                stream.height, stream.width, stream.pix_fmt = *image.shape[:2], pix_fmt
                stream.codec_context.time_base, stream.codec_context.gop_size = TIME_BASE, 25
                if matrix:
                    stream.set_display_matrix(matrix)
            source = "rgb24" if image.ndim == 3 else "gray16le" if image.dtype == np.uint16 else "gray"
            frame = av.VideoFrame.from_ndarray(image.copy(), format=source).reformat(format=pix_fmt)
            frame.pts, frame.time_base = round(time_s / TIME_BASE), TIME_BASE
            output.mux(stream.encode(frame))
        if stream is not None:
            output.mux(stream.encode(None))


def coded(shown_s: Iterable[float], clock_s: float = 0.0) -> Iterator[tuple[float, ByteArray]]:
    """Yield frames for the times of a file, that carry the time of a common clock, ``clock_s`` later."""
    return ((time_s, bar_code(time_s + clock_s)) for time_s in shown_s)


def encode_h264(frames: Iterable[tuple[float, PixelArray]]) -> Iterator[tuple[int, bytes]]:
    """Yield the H.264 packets of grey frames (H, W), with their times in units of ``TIME_BASE``."""
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width = SIZE_HW
    encoder.pix_fmt, encoder.time_base, encoder.framerate, encoder.gop_size = "yuv420p", TIME_BASE, Fraction(25), 25
    encoder.options = _FAST
    for time_s, image in frames:
        frame = av.VideoFrame.from_ndarray(image.copy(), format="gray").reformat(format="yuv420p")
        frame.pts, frame.time_base = round(time_s / TIME_BASE), TIME_BASE
        for packet in encoder.encode(frame):
            yield round(time_s / TIME_BASE), bytes(packet)
