"""Serve a live stream of bar codes on this machine."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

import av

from tests.support.videos import bar_code, encode
from yolofuse.types import ByteArray

CLOCK_S = 1000.0  # bar codes carry the monotonic clock modulo this


class StreamServer:
    """Send MPEG-TS over TCP, one client after the other; frames carry the monotonic time at which they were drawn.

    Args:
        fps: Frames a second.
        cuts_s: Seconds after which the first connections are closed; later ones run until :meth:`close`.
        stall: Whether a cut is a silence instead.
        first_s: Time of the first frame of a connection, as of a camera that was running before.
    """

    def __init__(self, fps: float, cuts_s: Sequence[float] = (), stall: bool = False, first_s: float = 0.0) -> None:
        self._fps, self._cuts_s, self._stall, self._first_s = fps, list(cuts_s), stall, first_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self.clients = 0
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> StreamServer:
        return self

    def __exit__(self, *error: object) -> None:
        self._closed.set()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _serve(self) -> None:
        while not self._closed.is_set():
            with suppress(TimeoutError):
                client, _ = self._listener.accept()
                lasts_s = self._cuts_s[self.clients] if self.clients < len(self._cuts_s) else float("inf")
                self.clients += 1
                thread = threading.Thread(target=self._send, args=(client, lasts_s), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _send(self, client: socket.socket, lasts_s: float) -> None:
        with client, suppress(OSError, av.FFmpegError):
            client.settimeout(None)
            with client.makefile("wb", buffering=0) as stream:
                encode(stream, self._frames(lasts_s), container="mpegts")

    def _frames(self, lasts_s: float) -> Iterator[tuple[float, ByteArray]]:
        start_s, index = time.monotonic(), 0
        while index / self._fps < lasts_s and not self._closed.is_set():
            time.sleep(max(0.0, start_s + index / self._fps - time.monotonic()))
            yield self._first_s + index / self._fps, bar_code((start_s + index / self._fps) % CLOCK_S)
            index += 1
        if self._stall:
            self._closed.wait()
