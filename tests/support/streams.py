"""Serve a live stream of bar codes on this machine."""

from __future__ import annotations

import itertools
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

import av

from tests.support.videos import bar_code, encode, encode_h264
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
        self.port = self._listener.getsockname()[1]
        self.clients = 0
        self._closed = threading.Event()
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

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
            self._stream_to(client, lasts_s)

    def _stream_to(self, client: socket.socket, lasts_s: float) -> None:
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


class RtspServer(StreamServer):
    """Send the same as an RTSP camera: H.264 in RTP packets, within the RTSP connection."""

    @property
    def url(self) -> str:
        return f"rtsp://viewer:secret@127.0.0.1:{self.port}/camera"

    def _stream_to(self, client: socket.socket, lasts_s: float) -> None:
        with client.makefile("rwb", buffering=0) as stream:
            while (method := self._answer(stream)) != "PLAY":
                if not method:
                    return
            sequence = itertools.count()
            for pts, packet in encode_h264(self._frames(lasts_s)):
                units = [unit for unit in re.split(rb"\x00\x00\x00?\x01", packet) if unit]
                for unit in units:
                    is_last = (unit is units[-1]) << 7
                    header = struct.pack(">BBHII", 0x80, 96 | is_last, next(sequence) & 0xFFFF, pts & 0xFFFFFFFF, 1)
                    stream.write(struct.pack(">cBH", b"$", 0, len(header) + len(unit)) + header + unit)

    @staticmethod
    def _answer(stream: socket.SocketIO) -> str:
        """Answer a request; return its method, or nothing at the end of the connection."""
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            if not (read := stream.read(1)):
                return ""
            request += read
        lines = request.decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:] if line)
        method, body = lines[0].split()[0], ""
        reply = ["RTSP/1.0 200 OK", f"CSeq: {fields['CSeq']}", "Session: 1"]
        if method == "OPTIONS":
            reply.append("Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN")
        elif method == "DESCRIBE":
            body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
            reply += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        elif method == "SETUP":
            reply.append(f"Transport: {fields['Transport']}")
        stream.write("\r\n".join([*reply, "", body]).encode())
        return method
