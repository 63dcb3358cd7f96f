"""The local page: what it answers, whom it refuses, and what a person sees in a real browser."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.pairs import make_pairs
from tests.support.predict_models import random_model
from yolofuse.cli import serve as serve_cli
from yolofuse.predict.model import Model
from yolofuse.serve import server as page_server
from yolofuse.serve.server import PairServer
from yolofuse.types import Detections

CHROMIUM = Path("/usr/bin/chromium")
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return random_model(tmp_path_factory.mktemp("serve"))


@pytest.fixture
def server(model: Model, monkeypatch: pytest.MonkeyPatch) -> Iterator[PairServer]:
    monkeypatch.setattr(page_server, "_LOWEST", 1e-7)
    with PairServer(model, 0) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join(10)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    make_pairs(tmp_path, 1, 1)
    return tmp_path / "rgb/val/val_000.png", tmp_path / "ir/val/val_000.png"


def ask(
    server: PairServer, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
) -> tuple[int, Any, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=60)
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request(method, path, content, JSON if headers is None else headers)
    response = connection.getresponse()
    text = response.read()
    is_json = response.headers["Content-Type"] == "application/json"
    return response.status, json.loads(text) if is_json else text.decode(), dict(response.headers)


def image(file: Path) -> dict[str, str]:
    return {"name": file.name, "data": base64.b64encode(file.read_bytes()).decode()}


def test_detect__answers_what_predict_finds(server: PairServer, model: Model, pair: tuple[Path, Path]) -> None:
    status, answer, _ = ask(server, "POST", "/detect", {"rgb": image(pair[0]), "ir": image(pair[1])})
    found = model.predict(*pair, conf=1e-7)
    assert isinstance(found, Detections)
    assert status == 200
    assert (answer["width"], answer["height"]) == (96, 64)
    assert [row["score"] for row in answer["detections"]] == found.scores.tolist()
    np.testing.assert_array_equal([row["box"] for row in answer["detections"]], found.boxes_xyxy)
    assert answer["rgb"].startswith("data:image/jpeg;base64,")


def test_detect__of_one_camera_has_no_picture_of_the_other(server: PairServer, pair: tuple[Path, Path]) -> None:
    status, answer, _ = ask(server, "POST", "/detect", {"rgb": None, "ir": image(pair[1])})
    assert status == 200
    assert answer["rgb"] is None
    assert answer["ir"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"rgb": None, "ir": None}, "give rgb, ir, or both"),
        ({"rgb": {"name": "a.png", "data": "%%"}}, "rgb: needs a name and base64 data"),
        ({"rgb": {"name": "a.png", "data": "\u00e9"}}, "rgb: needs a name and base64 data"),
        ({"rgb": {"name": "a.png", "data": ""}}, "rgb.png: can't be decoded"),
        ({"ir": {"name": "../../a.sh", "data": ""}}, "ir: .sh: known are"),
        ([], "must be a JSON object"),
        (b"{", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
    ],
)
def test_detect__tells_what_is_wrong(server: PairServer, body: object, told: str) -> None:
    status, answer, _ = ask(server, "POST", "/detect", body)
    assert status == 400
    assert told in answer["error"]
    assert "/tmp" not in answer["error"]


def test_server__refuses_other_names_types_and_sizes(server: PairServer) -> None:
    assert ask(server, "GET", "/", headers={"Host": "evil.example"})[0] == 403
    assert ask(server, "POST", "/detect", {}, {**JSON, "Host": "evil.example"})[0] == 403
    assert ask(server, "POST", "/detect", {}, {"Content-Type": "text/plain"})[0] == 400
    assert ask(server, "POST", "/detect", b"", {**JSON, "Content-Length": str(page_server.MAX_REQUEST + 1)})[0] == 413
    assert ask(server, "GET", "/../../etc/passwd")[0] == 404
    assert server.server_address[0] == "127.0.0.1"


def test_server__says_nothing_of_a_page_that_was_closed(
    server: PairServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = threading.Event()
    close = server.shutdown_request

    def closed(request: Any) -> None:
        close(request)
        done.set()

    monkeypatch.setattr(server, "shutdown_request", closed)
    monkeypatch.setattr(page_server, "detect", lambda *_: {"rgb": "x" * (8 << 20)})
    with socket.create_connection(("127.0.0.1", server.server_address[1])) as page:
        head = (
            f"POST /detect HTTP/1.1\r\nHost: {server.url[7:-1]}\r\nContent-Type: application/json\r\nContent-Length: 2"
        )
        page.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        page.sendall(f"{head}\r\n\r\n{{}}".encode())
    assert done.wait(10)
    assert capsys.readouterr().err == ""


def test_page__may_load_nothing_from_elsewhere(server: PairServer) -> None:
    status, text, headers = ask(server, "GET", "/")
    assert status == 200
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "http://" not in text
    assert "https://" not in text


def test_command__names_a_port_that_is_taken(
    server: PairServer, model: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("yolofuse.predict.load.load", lambda *_: model)
    assert serve_cli.main(["--weights", ".", "--port", str(server.server_address[1])]) == 2
    assert "give another one, or 0" in capsys.readouterr().err
    assert serve_cli.main(["--weights", "none"]) == 2
    assert "--weights: none: no such file" in capsys.readouterr().err


@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs Debian's chromium")
def test_page__shows_boxes_in_a_browser(server: PairServer, model: Model, pair: tuple[Path, Path]) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
    problems: list[str] = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        page = browser.new_page()
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(server.url)
        page.set_input_files("#file-rgb", pair[0])
        page.set_input_files("#file-ir", pair[1])
        page.evaluate("document.getElementById('conf').min = 0")  # random weights score low
        page.evaluate("e => (e.value = 0, e.dispatchEvent(new Event('input')))", page.query_selector("#conf"))
        page.locator("#found tbody tr").nth(10).wait_for(timeout=60_000)
        assert page.locator("canvas").count() == 2
        page.evaluate("e => (e.value = 0.95, e.dispatchEvent(new Event('input')))", page.query_selector("#conf"))
        assert page.locator("#found tbody tr").count() == 0
        page.uncheck("#use-rgb")
        page.uncheck("#use-ir")
        page.locator("#message", has_text="at least one").wait_for()
        page.set_input_files("#file-rgb", {"name": "no.png", "mimeType": "image/png", "buffer": b"no"})
        page.check("#use-rgb")
        page.locator("#message.error").wait_for(timeout=60_000)
        assert "rgb.png: can't be decoded" in page.inner_text("#message")
        browser.close()
    assert [text for text in problems if "400" not in text] == []  # the browser logs the refused image
