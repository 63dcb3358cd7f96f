"""Serve the page: one process, this machine only, nothing kept."""

from __future__ import annotations

import base64
import json
import sys
import tempfile
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

import cv2

from yolofuse.data.images.decode import IMAGE_SUFFIXES
from yolofuse.data.images.read_pair import to_bytes
from yolofuse.errors import DataError, YolofuseError
from yolofuse.predict.model import Model
from yolofuse.types import Modality

MAX_REQUEST = 128 << 20
"""Bytes of a request, both images in base64."""
_LOWEST = 0.05
"""Score from which on detections are sent; the page's slider hides weaker ones without asking again."""
_SHOWN = 1280
"""Longest side of the images that are sent back, in pixels."""
_POLICY = (
    "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class PairServer(ThreadingHTTPServer):
    """Answers on the loopback address of this machine alone.

    Args:
        model: What detects.
        port: 0: a free one.
    """

    daemon_threads = True

    def __init__(self, model: Model, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.model = model
        self.lock = threading.Lock()  # one detection at a time: more would only share the processor

    @property
    def url(self) -> str:
        """Return the page's address."""
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a page that was closed before its answer came."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def detect(model: Model, request: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a request for the detections of a pair.

    Args:
        model: What detects.
        request: ``rgb`` and ``ir``: ``{"name": file name, "data": base64 of the file}``, or None for no image.

    Raises:
        DataError: If there is no image, or one can't be read.
    """
    with tempfile.TemporaryDirectory(prefix="yolofuse-") as folder:
        paths = {modality: _store(Path(folder), modality, request.get(modality)) for modality in ("rgb", "ir")}
        try:
            found = model.predict(paths["rgb"], paths["ir"], conf=_LOWEST)
            assert not isinstance(found, list)
            pixels = to_bytes(found.pixels())
        except DataError as error:  # by the names that the user knows
            raise DataError(str(error).replace(f"{folder}/", "")) from None
    factor = min(1.0, _SHOWN / max(pixels.shape[:2]))
    size_wh = (max(round(pixels.shape[1] * factor), 1), max(round(pixels.shape[0] * factor), 1))
    shown = cv2.resize(pixels, size_wh, interpolation=cv2.INTER_AREA) if factor < 1 else pixels
    rows = zip(found.boxes_xyxy.tolist(), found.scores.tolist(), found.class_ids.tolist(), strict=True)
    return {
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "rgb": None if found.record.missing == "rgb" else _jpeg(shown[..., 2::-1]),
        "ir": None if found.record.missing == "ir" else _jpeg(shown[..., 3]),
        "detections": [{"box": box, "score": score, "class": found.names[number]} for box, score, number in rows],
        "ms": found.ms,
    }


def _store(folder: Path, modality: Modality, image: Any) -> Path | None:
    """Write an image's bytes to a file, whose suffix alone comes from the request."""
    if image is None:
        return None
    try:
        name, data = str(image["name"]), base64.b64decode(image["data"], validate=True)
    except (TypeError, KeyError, ValueError):
        raise DataError(f"{modality}: needs a name and base64 data") from None
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise DataError(
            f"{modality}: {suffix or 'a file without suffix'}: known are {' '.join(sorted(IMAGE_SUFFIXES))}"
        )
    path = folder / f"{modality}{suffix}"
    path.write_bytes(data)
    return path


def _jpeg(image: Any) -> str:
    done, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert done
    return f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"


class _Handler(BaseHTTPRequestHandler):
    server: PairServer
    timeout = 60  # seconds that a silent client is waited for
    server_version = "yolofuse"
    sys_version = ""

    def do_GET(self) -> None:
        if not self._is_own_host():
            return
        if self.path == "/":
            page = (files("yolofuse.serve") / "page.html").read_bytes()
            self._send(HTTPStatus.OK, page, "text/html; charset=utf-8")
        elif self.path == "/model":
            config = self.server.model.loaded.config
            self._send_json(HTTPStatus.OK, {"names": self.server.model.names, "imgsz": config.val_imgsz})
        else:
            self._send_json(HTTPStatus.NOT_FOUND, {"error": f"nothing at {self.path[:80]}"})

    def do_POST(self) -> None:
        if not self._is_own_host():
            return
        length = self.headers.get("Content-Length", "")
        # Another site's page can't send this type without asking, and no answer allows it.
        if self.headers.get("Content-Type") != "application/json" or self.path != "/detect":
            self._send_json(HTTPStatus.BAD_REQUEST, {"error": "POST /detect takes application/json"})
        elif not length.isdecimal() or int(length) > MAX_REQUEST:
            self._send_json(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": f"too large; at most {MAX_REQUEST >> 20} MiB"}
            )
        else:
            self._answer(self.rfile.read(int(length)))

    def _answer(self, body: bytes) -> None:
        try:
            request = json.loads(body)
            if not isinstance(request, dict):
                raise DataError("the request must be a JSON object")
            with self.server.lock:
                answer = detect(self.server.model, request)
        except (ValueError, RecursionError):
            self._send_json(HTTPStatus.BAD_REQUEST, {"error": "the request is no JSON"})
        except YolofuseError as error:
            self._send_json(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        else:
            self._send_json(HTTPStatus.OK, answer)

    def _is_own_host(self) -> bool:
        """Refuse a request under another name of this machine: a page elsewhere may have pointed its own name here."""
        port = self.server.server_address[1]
        if self.headers.get("Host") in {f"127.0.0.1:{port}", f"localhost:{port}"}:
            return True
        self._send_json(HTTPStatus.FORBIDDEN, {"error": f"open {self.server.url}"})
        return False

    def _send_json(self, status: HTTPStatus, content: object) -> None:
        self._send(status, json.dumps(content).encode(), "application/json")

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Content-Security-Policy": _POLICY,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            "Referrer-Policy": "no-referrer",
        }
        for name, value in headers.items():
            self.send_header(name, value)
        if status is not HTTPStatus.OK:
            self.send_header("Connection", "close")  # what is left of a refused request is not read as another
            self.close_connection = True
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a request is no event."""
