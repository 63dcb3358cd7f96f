"""The line that installs an extra, for each place that yolofuse may come from."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import pytest

from yolofuse import extras


@pytest.mark.parametrize(
    ("recorded", "line"),
    [
        (None, "pip install 'yolofuse[x]'"),
        ({"url": "https://somewhere/yolofuse.whl"}, "pip install 'yolofuse[x]'"),
        ({"url": "file:///my%20work/dist/yolofuse-1.whl"}, "pip install '/my work/dist/yolofuse-1.whl[x]'"),
        ({"url": "file:///src/yolofuse", "dir_info": {"editable": True}}, "pip install -e '/src/yolofuse[x]'"),
        ({"url": "file:///src/yolofuse", "dir_info": {}}, "pip install '/src/yolofuse[x]'"),
    ],
)
def test_install_line(recorded: object, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = None if recorded is None else json.dumps(recorded)
    monkeypatch.setattr(extras, "distribution", lambda name: SimpleNamespace(read_text=lambda file: text))
    assert extras.install_line("x") == line


def test_install_line__from_a_folder_that_was_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(extras, "distribution", missing)
    assert extras.install_line("x") == "pip install 'yolofuse[x]'"
